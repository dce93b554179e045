"""Who may come in: bodies of bounded size, signed by the merchant but for the payer's page."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activities.gateways.payment import BadSignature
from activities.gateways.sandbox_wire import MAX_AGE_SECONDS, Signer
from sandbox.store import Store, StoreError, stamp

MAX_BODY = 64 * 1024
UNSIGNED = ("/pay/", "/healthz")


class Guard:
    """Before any route, so that none can be forgotten and none reads an unsigned body."""

    def __init__(
        self, app: ASGIApp, signer: Signer, store: Store, clock: Callable[[], datetime]
    ) -> None:
        self.app, self.signer, self.store, self.clock = app, signer, store, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await _body(Request(scope, receive))
        except ClientDisconnect:
            return
        refusal = (413, "too_large") if body is None else await self._refusal(scope, body)
        if refusal:
            status, code = refusal
            await JSONResponse({"code": code}, status)(scope, receive, send)
            return
        await self.app(scope, _again(body or b"", receive), send)

    async def _refusal(self, scope: Scope, body: bytes) -> tuple[int, str] | None:
        if scope["path"].startswith(UNSIGNED):
            return None
        request, now = Request(scope), self.clock()
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        try:
            nonce = self.signer.verify(request.headers, scope["method"], path, body, now)
            if not await asyncio.to_thread(self._first_use, nonce, now):
                raise BadSignature("repeated")
        except BadSignature:
            return 401, "bad_signature"
        except (sqlite3.Error, StoreError):
            return 503, "storage_unavailable"
        return None

    def _first_use(self, nonce: str, now: datetime) -> bool:
        # A signature lives at most twice its age: it may be made that much ahead of our clock.
        old = stamp(now - timedelta(seconds=2 * MAX_AGE_SECONDS))
        with self.store.transaction() as db:
            db.execute("DELETE FROM nonce WHERE at < ?", (old,))
            used = db.execute(
                "INSERT INTO nonce (nonce, at) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (nonce, stamp(now)),
            )
            return used.rowcount == 1


async def _body(request: Request) -> bytes | None:
    """None when it is too large; what comes after the limit is not read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
