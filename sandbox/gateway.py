"""The sandbox payment gateway: a program of its own, as a real gateway is.

For development and tests; it takes no real money. Merchant calls and test controls are signed
(`sandbox_wire`); the payer's page is open, as a cashier's page is.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from activities.gateways.payment import RefundState
from activities.gateways.sandbox_payment import utc_now
from activities.gateways.sandbox_wire import (
    BillAnswer,
    PaymentAnswer,
    PrepayAnswer,
    PrepayQuestion,
    RefundAnswer,
    RefundMode,
    RefundQuestion,
    Signer,
)
from sandbox.controls import Controls, RefundPlan
from sandbox.courier import RETRY_DELAYS, Courier, courier_http
from sandbox.guard import Guard
from sandbox.merchant import Merchant
from sandbox.page import page_router
from sandbox.refusal import Refusal
from sandbox.store import Store, StoreError

SECRET = "HOSPITAL_SANDBOX_GATEWAY_SECRET"  # noqa: S105 - the name of the variable, not its value

Clock = Callable[[], datetime]
Times = Annotated[int, Query(ge=1, le=20)]
Delay = Annotated[timedelta, Query(ge=timedelta(0), le=timedelta(days=1))]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayOptions:
    """`public_url` is how payers reach the page; None: as the merchant reached us."""

    secret: str = field(repr=False)
    public_url: str | None = None
    controls: bool = True
    refund_delay: timedelta = timedelta(seconds=1)
    retry_delays: tuple[timedelta, ...] = RETRY_DELAYS
    clock: Clock = utc_now


def create_app(store: Store, options: GatewayOptions) -> FastAPI:
    """The ASGI app over an open store, which stays the caller's to close."""
    signer, controls = Signer(options.secret), Controls(store)
    courier = Courier(
        store, signer, courier_http(), options.clock, options.retry_delays, asyncio.Event()
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        carrying = asyncio.create_task(courier.run())
        async with courier.http:
            yield
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(merchant_router(store, controls, courier.wake, options))
    app.include_router(page_router(store, options.clock, courier.wake))
    if options.controls:
        app.include_router(control_router(controls, courier.wake, options.clock))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        await asyncio.to_thread(controls.outage, options.clock())  # the file answers
        return {"status": "ok"}

    app.add_middleware(Guard, signer=signer, store=store, clock=options.clock)
    _speak_in_codes(app)
    return app


def merchant_router(
    store: Store, controls: Controls, wake: Callable[[], None], options: GatewayOptions
) -> APIRouter:
    merchant, clock = Merchant(store, options.refund_delay), options.clock

    async def in_service() -> None:
        if await asyncio.to_thread(controls.outage, clock()):
            raise Refusal(503, "outage")

    router = APIRouter(prefix="/v1", dependencies=[Depends(in_service)])

    @router.post("/payments")
    async def prepay(question: PrepayQuestion, request: Request) -> PrepayAnswer:
        gateway_no = await asyncio.to_thread(merchant.prepay, question, clock())
        base = (options.public_url or str(request.base_url)).rstrip("/")
        return PrepayAnswer(pay_url=f"{base}/pay/{question.payment_no}", gateway_no=gateway_no)

    @router.get("/payments/{payment_no}")
    async def query(payment_no: str) -> PaymentAnswer:
        return await asyncio.to_thread(merchant.query, payment_no, clock())

    @router.post("/payments/{payment_no}/close")
    async def close(payment_no: str) -> PaymentAnswer:
        return await asyncio.to_thread(merchant.close, payment_no, clock())

    @router.post("/refunds")
    async def refund(question: RefundQuestion) -> RefundAnswer:
        answer = await asyncio.to_thread(merchant.refund, question, clock())
        wake()
        return answer

    @router.get("/refunds/{refund_no}")
    async def query_refund(refund_no: str) -> RefundAnswer:
        return await asyncio.to_thread(merchant.query_refund, refund_no)

    @router.get("/bill")
    async def bill(since: AwareDatetime, until: AwareDatetime) -> BillAnswer:
        return await asyncio.to_thread(merchant.bill, since, until)

    return router


def control_router(controls: Controls, wake: Callable[[], None], clock: Clock) -> APIRouter:
    router = APIRouter(prefix="/control")

    @router.post("/payments/{payment_no}/pay")
    async def pay(
        payment_no: str,
        times: Times = 1,
        delay: Delay = timedelta(0),
        fail: bool = False,
        callback: bool = True,
    ) -> PaymentAnswer:
        def work() -> PaymentAnswer:
            return controls.pay(
                payment_no, clock(), times=times, delay=delay, fail=fail, callback=callback
            )

        answer = await asyncio.to_thread(work)
        wake()
        return answer

    @router.post("/refunds")
    async def plan_refunds(
        mode: RefundMode, times: Times = 1, delay: Delay | None = None, callback: bool = True
    ) -> dict[str, str]:
        plan = RefundPlan(mode, delay, times if callback else 0)
        await asyncio.to_thread(controls.plan_refunds, plan)
        return {"mode": mode}

    @router.post("/refunds/{refund_no}/settle")
    async def settle(refund_no: str, outcome: Literal["succeeded", "failed"]) -> RefundAnswer:
        answer = await asyncio.to_thread(
            controls.settle_refund, refund_no, RefundState(outcome), clock()
        )
        wake()
        return answer

    @router.post("/outage")
    async def outage(seconds: Annotated[float, Query(ge=0, le=86400)]) -> dict[str, float]:
        until = clock() + timedelta(seconds=seconds)
        await asyncio.to_thread(controls.begin_outage, until)
        return {"seconds": seconds}

    return router


def _speak_in_codes(app: FastAPI) -> None:
    """Every refusal is `{"code": …}`: no stack trace, no echo of what was sent."""

    def says(status: int, code: str) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def answer(_: Request, error: Exception) -> Response:
            if status >= 500:
                log.error("%s: %s", code, error)
            return JSONResponse({"code": code}, status)

        return answer

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)  # noqa: S101 - registered for it alone
        return JSONResponse({"code": error.code}, error.status)

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        return JSONResponse({"code": code}, error.status_code)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, says(422, "invalid_request"))
    app.add_exception_handler(StoreError, says(503, "storage_unavailable"))
    app.add_exception_handler(sqlite3.Error, says(503, "storage_unavailable"))
    app.add_exception_handler(Exception, says(500, "internal"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--port", type=int, required=True, help="0 takes any free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--public-url", help="how payers reach the page, behind a proxy")


def main(args: argparse.Namespace) -> int:
    """Serve until told to stop. 1 with one clear line when it cannot start.

    On another bind than loopback the test controls do not exist.
    """
    try:
        options = GatewayOptions(
            secret=os.environ.get(SECRET, ""),
            public_url=args.public_url,
            controls=_is_loopback(args.host),
        )
        with contextlib.closing(_listen(args.host, args.port)) as listener:
            return _serve(args, options, listener)
    except (ValueError, OSError, OverflowError, StoreError) as e:
        print(f"sandbox gateway: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _serve(args: argparse.Namespace, options: GatewayOptions, listener: socket.socket) -> int:
    with contextlib.closing(Store(args.db)) as store:
        app = create_app(store, options)
        host, port = listener.getsockname()[:2]
        print(f"sandbox gateway on http://{host}:{port}", flush=True)
        config = uvicorn.Config(
            app, access_log=False, log_level="warning", timeout_graceful_shutdown=3
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    # Bound here, not by uvicorn, so that a port in use is one clear line.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)  # before the address is told: whoever reads it may call at once
    except OSError as e:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {e.strerror or e}") from e
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
