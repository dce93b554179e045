"""Server-sent events (text/event-stream), without a task group and a timer for each stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import orjson
from fastapi import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from api.listeners import Heard, Listener

SEND_WITHIN = 60  # seconds; who takes nothing for so long is gone
HEARTBEAT = b":\n\n"
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx passes each event on at once
}


def event(name: str, data: Any, id: str | None = None) -> bytes:
    """JSON has no line breaks, so one `data:` line is enough."""
    lines = b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data)
    return lines + (b"\nid: " + id.encode() if id else b"") + b"\n\n"


class EventStream(Response):
    """Ends when its listener does, when the client goes, or when it takes nothing any more."""

    media_type = "text/event-stream"

    def __init__(
        self,
        listening: AbstractContextManager[Listener],
        encode: Callable[[Heard], bytes],
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._listening = listening
        self._encode = encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._listening as listener:
            watching = asyncio.create_task(_watch(receive, listener))
            try:
                await send(
                    {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                )
                # So that a proxy and the browser see that it is open.
                await self._send(send, HEARTBEAT)
                with suppress(SQLAlchemyError):  # the client comes again, and goes on from there
                    async for part in self._parts(listener.told()):
                        await self._send(send, part)
                await self._send(send, b"", more=False)
            except (TimeoutError, OSError):
                return
            finally:
                watching.cancel()

    async def _parts(self, told: AsyncIterator[Heard]) -> AsyncIterator[bytes]:
        async for heard in told:
            yield self._encode(heard)

    async def _send(self, send: Send, part: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_WITHIN):
            await send({"type": "http.response.body", "body": part, "more_body": more})


async def _watch(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()
