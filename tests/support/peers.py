"""WebRTC peers: what a browser does in a video room, as far as the house notices it.

`docs/video.md` tells clients to do what `Peer` does.
"""

import asyncio
import json
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PLUGIN = "janus.plugin.videoroom"
PATIENCE = 20.0  # seconds for one answer

Message = dict[str, Any]


class Refused(Exception):
    """What the plugin answered instead."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Peer:
    """Somebody in front of a camera. `session` is the answer of `video-session`."""

    session: Message
    frames: Counter[str] = field(default_factory=Counter)  # received, by audio or video
    private_id: int = 0
    own_feed: int = 0

    async def __aenter__(self) -> Self:
        self._socket: ClientConnection = await connect(
            self.session["server"],
            subprotocols=["janus-protocol"],  # type: ignore[list-item]
            proxy=None,
        )
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._feeds: asyncio.Queue[int] = asyncio.Queue()
        self._connections: list[RTCPeerConnection] = []
        self._news = asyncio.Event()
        self._tasks = [asyncio.create_task(self._hear())]
        self._janus = (await self._say({"janus": "create"}))["data"]["id"]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            await connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()

    async def join(self) -> None:
        """Come into the room. Raises Refused."""
        self._own = await self._attach()
        joined = await self._plugin(
            self._own,
            {
                "request": "join",
                "ptype": "publisher",
                "room": self.session["room"],
                "token": self.session["token"],
                "display": self.session["display"],
            },
        )
        self.private_id, self.own_feed = joined["private_id"], joined["id"]
        for one in joined["publishers"]:
            self._feeds.put_nowait(one["id"])

    async def publish(self) -> None:
        """Show picture and sound of our own."""
        connection = self._connection()
        connection.addTrack(AudioStreamTrack())
        connection.addTrack(VideoStreamTrack())
        await connection.setLocalDescription(await connection.createOffer())
        jsep = await self._negotiate(self._own, {"request": "publish"}, connection)
        await connection.setRemoteDescription(RTCSessionDescription(jsep["sdp"], jsep["type"]))

    async def watch(self) -> None:
        """Look at the next other one who shows something."""
        feed = await asyncio.wait_for(self._feeds.get(), PATIENCE)
        handle = await self._attach()
        offer = await self.subscribe(handle, feed, self.private_id)
        connection = self._connection()
        connection.on("track", self._count)
        await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
        await connection.setLocalDescription(await connection.createAnswer())
        await self._negotiate(handle, {"request": "start"}, connection)

    async def subscribe(self, handle: int, feed: int, private_id: int) -> Message:
        """Janus' offer. Raises Refused."""
        body = {
            "request": "join",
            "ptype": "subscriber",
            "room": self.session["room"],
            "streams": [{"feed": feed}],
            "private_id": private_id,
        }
        answer = await self._send(handle, {"body": body})
        jsep: Message = answer["jsep"]
        return jsep

    async def attach(self) -> int:
        return await self._attach()

    async def sees_and_hears(self, frames: int) -> None:
        """Wait until that many frames of picture and of sound have come in."""
        async with asyncio.timeout(PATIENCE):
            while min(self.frames["audio"], self.frames["video"]) < frames:
                self._news.clear()
                await self._news.wait()

    def candidates(self) -> list[tuple[str, int]]:
        """Where Janus said that it may be reached: address and port."""
        told = "\n".join(one.remoteDescription.sdp for one in self._connections)
        found = re.findall(r"^a=candidate:\S+ \d+ \S+ \d+ (\S+) (\d+)", told, re.MULTILINE)
        return [(address, int(port)) for address, port in found]

    def _connection(self) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.append(connection)
        return connection

    def _count(self, track: Any) -> None:
        async def take() -> None:
            try:
                while True:
                    await track.recv()
                    self.frames[track.kind] += 1
                    self._news.set()
            except MediaStreamError:
                return

        self._tasks.append(asyncio.create_task(take()))

    async def _attach(self) -> int:
        attached = await self._say({"janus": "attach", "plugin": PLUGIN})
        handle: int = attached["data"]["id"]
        return handle

    async def _negotiate(
        self, handle: int, body: Message, connection: RTCPeerConnection
    ) -> Message:
        ours = connection.localDescription
        jsep = {"type": ours.type, "sdp": ours.sdp}
        answer = await self._send(handle, {"body": body, "jsep": jsep})
        theirs: Message = answer.get("jsep", {})
        return theirs

    async def _plugin(self, handle: int, body: Message) -> Message:
        data: Message = (await self._send(handle, {"body": body}))["plugindata"]["data"]
        return data

    async def _send(self, handle: int, content: Message) -> Message:
        answer = await self._say({"janus": "message", "handle_id": handle, **content})
        data = answer["plugindata"]["data"]
        if "error_code" in data:
            raise Refused(data["error_code"])
        return answer

    async def _say(self, message: Message) -> Message:
        transaction = secrets.token_hex(6)
        self._answers[transaction] = asyncio.get_running_loop().create_future()
        if hasattr(self, "_janus"):
            message = {**message, "session_id": self._janus}
        await self._socket.send(json.dumps({**message, "transaction": transaction}))
        return await asyncio.wait_for(self._answers[transaction], PATIENCE)

    async def _hear(self) -> None:
        try:
            async for text in self._socket:
                self._understand(json.loads(text))
        except ConnectionClosed:
            return

    def _understand(self, message: Message) -> None:
        if message["janus"] == "ack":  # the answer itself is still to come
            return
        answer = self._answers.pop(message.get("transaction", ""), None)
        if answer is not None:
            answer.set_result(message)
            return
        data = message.get("plugindata", {}).get("data", {})
        for one in data.get("publishers", []):
            self._feeds.put_nowait(one["id"])
