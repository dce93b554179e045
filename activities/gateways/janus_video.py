"""Rooms of Janus' videoroom plugin, by the `message_plugin` request of its admin API.

One HTTP request does one thing: no session and no handle that could be lost in between. The admin
API stays inside the house; clients reach the WebSocket transport alone.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import httpx

from activities.gateways.video import NoSuchRoom, VideoUnavailable

PLUGIN = "janus.plugin.videoroom"
PUBLISHERS = 16  # who may be seen at once; a remote consultation has several doctors
BITRATE = 1_500_000  # bits a second, of one camera
PATIENCE = 3.0  # seconds for one request: somebody waits for the answer
NO_SUCH_ROOM, ROOM_EXISTS = 426, 427
NO_SUCH_FEED = 428


class _Refused(Exception):
    """The plugin's own number of an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class JanusVideo:
    """A VideoGateway. `admin_key` is what the plugin wants to see before it makes a room."""

    def __init__(
        self, url: str, admin_secret: str, admin_key: str, *, patience: float = PATIENCE
    ) -> None:
        self._url = url
        self._admin_secret = admin_secret
        self._admin_key = admin_key
        self._patience = patience
        self._http = httpx.AsyncClient(timeout=patience, trust_env=False)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ensure(self, number: int, secret: str, tokens: Sequence[str]) -> None:
        if not tokens:
            raise ValueError("a room without tokens would let everybody in")
        try:
            await self._allow(number, secret, tokens)
        except NoSuchRoom:
            if not await self._create(number, secret, tokens):  # somebody else was first
                await self._allow(number, secret, tokens)

    async def allow(self, number: int, secret: str, token: str) -> None:
        await self._allow(number, secret, [token])

    async def participants(self, number: int) -> frozenset[str]:
        return frozenset(
            one["display"] for one in await self._listed(number) if isinstance(one["display"], str)
        )

    async def kick(self, number: int, secret: str, display: str) -> None:
        try:
            sitting = await self._listed(number)
        except NoSuchRoom:
            return
        for one in sitting:
            if one["display"] == display:
                await self._kick(number, secret, one["id"])

    async def destroy(self, number: int, secret: str) -> None:
        try:
            await self._room({"request": "destroy", "room": number, "secret": secret})
        except NoSuchRoom:
            return

    async def _allow(self, number: int, secret: str, tokens: Sequence[str]) -> None:
        wanted = {"request": "allowed", "action": "add", "allowed": list(tokens)}
        await self._room({**wanted, "room": number, "secret": secret})

    async def _create(self, number: int, secret: str, tokens: Sequence[str]) -> bool:
        """False when it is there already."""
        request = {
            "request": "create",
            "admin_key": self._admin_key,
            "room": number,
            "secret": secret,
            "allowed": list(tokens),
            "description": "",  # the plugin would write the number there
            "permanent": False,
            "is_private": True,
            # Without it whoever learns the numbers could watch without a token.
            "require_pvtid": True,
            "publishers": PUBLISHERS,
            "bitrate": BITRATE,
            "record": False,
            "lock_record": True,
        }
        try:
            await self._ask(request)
        except _Refused as refused:
            if refused.number == ROOM_EXISTS:
                return False
            raise VideoUnavailable(f"janus:{refused.number}") from None
        return True

    async def _listed(self, number: int) -> list[dict[str, Any]]:
        answer = await self._room({"request": "listparticipants", "room": number})
        try:
            return [{"id": p["id"], "display": p.get("display")} for p in answer["participants"]]
        except (KeyError, TypeError, AttributeError):
            raise VideoUnavailable("janus:malformed") from None

    async def _kick(self, number: int, secret: str, id: int) -> None:
        try:
            await self._ask({"request": "kick", "room": number, "secret": secret, "id": id})
        except _Refused as refused:
            if refused.number not in (NO_SUCH_ROOM, NO_SUCH_FEED):  # gone by themselves meanwhile
                raise VideoUnavailable(f"janus:{refused.number}") from None

    async def _room(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._ask(request)
        except _Refused as refused:
            code = f"janus:{refused.number}"
            if refused.number == NO_SUCH_ROOM:
                raise NoSuchRoom(code) from None
            raise VideoUnavailable(code) from None

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The plugin's answer. Raises _Refused when it is an error, VideoUnavailable when there is
        none that can be understood."""
        message = {
            "janus": "message_plugin",
            "transaction": secrets.token_hex(8),
            "admin_secret": self._admin_secret,
            "plugin": PLUGIN,
            "request": request,
        }
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._http.post(self._url, json=message)
            document = answer.json()
            if document["janus"] == "error":
                raise VideoUnavailable(f"janus:{int(document['error']['code'])}")
            response: dict[str, Any] = document["response"]
            refused = int(response.get("error_code", 0))
        except (httpx.HTTPError, TimeoutError):
            raise VideoUnavailable("janus:away") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise VideoUnavailable("janus:malformed") from None
        if refused:
            raise _Refused(refused)
        return response
