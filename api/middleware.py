"""Around every request: a size limit, a request id, a duration, and the last word on faults."""

import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem, answer
from runtime.metrics import Metrics

MAX_BODY = 1024 * 1024  # bytes
AROUND_A_FILE = 64 * 1024  # bytes of a multipart body that are not the file's


@dataclass(frozen=True)
class Larger:
    """Paths that take files: their limit, and what is said above it."""

    paths: re.Pattern[str]
    limit: int
    code: str = "file_too_large"


class BodyLimit:
    """413 before a large body is read whole, whatever its Content-Length claims."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY, larger: Sequence[Larger] = ()) -> None:
        self.app = app
        self.limit = limit
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        limit, code = self._limit_of(scope["path"])
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if length.isdigit() and int(length) > limit:
            await answer(Request(scope), Problem(code))(scope, receive, send)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                if code != "too_large":
                    raise Problem(code)  # those routes read for themselves
                raise HTTPException(413)  # FastAPI passes this one on, and no other, while reading
            return message

        await self.app(scope, limited, send)

    def _limit_of(self, path: str) -> tuple[int, str]:
        for one in self.larger:
            if one.paths.fullmatch(path):
                return one.limit, one.code
        return self.limit, "too_large"


class Observed:
    """Names the request, measures it, and binds both to the logs."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begun, ended = time.perf_counter(), None
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if headers.get("content-type", "").startswith("text/event-stream"):
                    ended = time.perf_counter()  # answered, however long it then goes on
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            route = scope.get("route")
            self.metrics.http(
                route=getattr(route, "path", "unmatched"),
                method=scope["method"],
                status=status,
                seconds=(ended or time.perf_counter()) - begun,
            )
            structlog.contextvars.unbind_contextvars("request_id")
