"""A real sandbox gateway and a real merchant's inbox, on free loopback ports, in the test's loop.

    async with sandbox_gateway(tmp_path / "gateway.db") as gateway, callback_inbox() as inbox:
        payments = gateway.payments(inbox.url)      # the port
        await payments.prepay("P1", ...)
        await gateway.controls.pay("P1", times=2)   # what the payer does
        await inbox.events(payments, 2)             # verified callbacks, in order of arrival

Opened again over the same file, the gateway has been restarted.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from activities.gateways.payment import GatewayEvent, PaymentGateway
from activities.gateways.sandbox_payment import (
    Clock,
    SandboxControls,
    SandboxMerchant,
    SandboxPaymentGateway,
    sandbox_http,
    utc_now,
)
from sandbox.gateway import GatewayOptions, create_app
from sandbox.store import Store

SECRET = "a-secret-for-tests-only"
ZONE = ZoneInfo("Asia/Shanghai")
FAST = GatewayOptions(
    secret=SECRET,
    refund_delay=timedelta(0),
    retry_delays=(timedelta(seconds=0.02),) * 10,
)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # Ctrl-C belongs to pytest

    async def main_loop(self) -> None:
        await self.ending.wait()  # uvicorn's own looks ten times a second, and a test would wait


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Its base URL, once it answers."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        server = _Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            if serving.done():
                await serving
                raise RuntimeError("the server ended before it began")
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.ending.set()
            await serving


@dataclass(frozen=True)
class RunningGateway:
    url: str
    http: httpx.AsyncClient
    controls: SandboxControls
    store: Store

    def payments(
        self, notify_url: str, *, secret: str = SECRET, clock: Clock = utc_now
    ) -> SandboxPaymentGateway:
        merchant = SandboxMerchant(self.url, secret, notify_url, ZONE)
        return SandboxPaymentGateway(merchant, self.http, clock)


@contextlib.asynccontextmanager
async def sandbox_gateway(
    db: Path, options: GatewayOptions = FAST, port: int = 0
) -> AsyncIterator[RunningGateway]:
    """Its file is made when missing; `with_options(clock=…)` gives it another time."""
    with contextlib.closing(Store(db)) as store:
        async with serve(create_app(store, options), port) as url, sandbox_http() as http:
            yield RunningGateway(url, http, SandboxControls(url, SECRET, http), store)


@dataclass(frozen=True)
class Callback:
    headers: dict[str, str]
    body: bytes


@dataclass
class Inbox:
    """A merchant's notify route. `answers` are the statuses to give, then 204 for ever."""

    url: str = ""
    received: list[Callback] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.release()

    def hold(self) -> None:
        """Take what comes, and answer nothing until `release`."""
        self._answering.clear()

    def release(self) -> None:
        self._answering.set()

    async def callbacks(self, count: int, within: float = 5) -> list[Callback]:
        """Wait until so many have arrived; TimeoutError otherwise."""

        async def enough() -> None:
            async with self._news:
                await self._news.wait_for(lambda: len(self.received) >= count)

        await asyncio.wait_for(enough(), within)
        return list(self.received)

    async def events(self, payments: PaymentGateway, count: int) -> list[GatewayEvent]:
        return [payments.parse_callback(c.headers, c.body) for c in await self.callbacks(count)]

    async def take(self, request: Request) -> Response:
        callback = Callback(dict(request.headers), await request.body())
        async with self._news:
            self.received.append(callback)
            self._news.notify_all()
        await self._answering.wait()
        return Response(status_code=self.answers.popleft() if self.answers else 204)


@contextlib.asynccontextmanager
async def callback_inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    route = Route("/{path:path}", inbox.take, methods=["POST"])
    async with serve(Starlette(routes=[route])) as url:
        inbox.url = f"{url}/payments/notify/sandbox"
        yield inbox


def with_options(**changes: object) -> GatewayOptions:
    return replace(FAST, **changes)  # type: ignore[arg-type]
