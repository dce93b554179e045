"""The sandbox channel: real HTTP to the sandbox gateway, and the controls that tests pull."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
from pydantic import BaseModel, ValidationError

from activities.gateways.payment import (
    CURRENCY,
    BadCallback,
    BadLine,
    Bill,
    BillLine,
    EventKind,
    GatewayEvent,
    GatewayPayment,
    GatewayRefund,
    GatewayRefused,
    GatewayUnavailable,
    Payer,
    Prepay,
    RefundState,
    to_fen,
    to_yuan,
)
from activities.gateways.sandbox_wire import (
    BillLineAnswer,
    DoneAnswer,
    EventBody,
    PaymentAnswer,
    PrepayAnswer,
    PrepayQuestion,
    RawBillAnswer,
    RefundAnswer,
    RefundMode,
    RefundQuestion,
    RefusalAnswer,
    Signer,
)

_NUMBER = re.compile(r"[A-Za-z0-9_-]{1,64}")

Clock = Callable[[], datetime]
Model = TypeVar("Model", bound=BaseModel)


def utc_now() -> datetime:
    return datetime.now(UTC)


def sandbox_http() -> httpx.AsyncClient:
    """The connection pool for both classes below; whoever opens it closes it.

    Proxies of the environment are left out: the sandbox is near, and they would see the traffic.
    """
    return httpx.AsyncClient(timeout=httpx.Timeout(10, connect=3), trust_env=False)


@dataclass(frozen=True)
class SandboxMerchant:
    """Who we are to the sandbox gateway.

    `notify_url` is where it posts its callbacks, as it sees us; the signature covers its path.
    `zone` says which instants belong to a day of the bill.
    """

    base_url: str
    secret: str = field(repr=False)
    notify_url: str
    zone: ZoneInfo


@dataclass(frozen=True)
class _SignedHttp:
    base_url: str
    signer: Signer
    http: httpx.AsyncClient
    clock: Clock

    async def ask(
        self,
        answer: type[Model],
        method: str,
        path: str,
        body: BaseModel | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Model:
        response = await self._send(method, path, body, params)
        if response.status_code >= 500 or response.status_code == 429:
            raise GatewayUnavailable(f"status_{response.status_code}")
        try:
            if response.is_success:
                return answer.model_validate_json(response.content)
            raise GatewayRefused(RefusalAnswer.model_validate_json(response.content).code)
        except ValidationError:
            # Some other server on that port, or half an answer: nothing is known.
            raise GatewayUnavailable("bad_answer") from None

    async def _send(
        self, method: str, path: str, body: BaseModel | None, params: Mapping[str, str] | None
    ) -> httpx.Response:
        content = body.model_dump_json().encode() if body else b""
        url = httpx.URL(self.base_url.rstrip("/") + path, params=params)
        signed = self.signer.headers(method, url.raw_path.decode(), content, self.clock())
        headers = {**signed, "content-type": "application/json"}
        try:
            return await self.http.request(method, url, content=content, headers=headers)
        except httpx.TimeoutException:
            raise GatewayUnavailable("timeout") from None
        except httpx.RequestError:
            raise GatewayUnavailable("connection") from None


class SandboxPaymentGateway:
    """The port `PaymentGateway` for the channel `sandbox`."""

    channel = "sandbox"
    needs_payer = False
    refused_in_own_form = False

    def __init__(
        self, merchant: SandboxMerchant, http: httpx.AsyncClient, clock: Clock = utc_now
    ) -> None:
        self._merchant, self._clock = merchant, clock
        self.bill_zone = merchant.zone
        self._signer = Signer(merchant.secret)
        self._gateway = _SignedHttp(merchant.base_url, self._signer, http, clock)

    async def prepay(
        self,
        payment_no: str,
        *,
        amount: Decimal,
        description: str,
        expires_at: datetime,
        payer: Payer | None = None,
    ) -> Prepay:
        question = _question(
            PrepayQuestion,
            payment_no=payment_no,
            amount=to_fen(amount),
            currency=CURRENCY,
            description=description,
            expires_at=expires_at,
            notify_url=self._merchant.notify_url,
        )
        answer = await self._gateway.ask(PrepayAnswer, "POST", "/v1/payments", question)
        return Prepay(answer.pay_url, answer.gateway_no)

    async def query(self, payment_no: str) -> GatewayPayment:
        path = f"/v1/payments/{_segment(payment_no)}"
        return _payment(await self._gateway.ask(PaymentAnswer, "GET", path))

    async def close(self, payment_no: str) -> GatewayPayment:
        path = f"/v1/payments/{_segment(payment_no)}/close"
        return _payment(await self._gateway.ask(PaymentAnswer, "POST", path))

    async def refund(
        self, refund_no: str, *, payment_no: str, amount: Decimal, total: Decimal, reason: str
    ) -> GatewayRefund:
        question = _question(
            RefundQuestion,
            refund_no=refund_no,
            payment_no=payment_no,
            amount=to_fen(amount),
            total=to_fen(total),
            reason=reason,
        )
        return _refund(await self._gateway.ask(RefundAnswer, "POST", "/v1/refunds", question))

    async def query_refund(self, refund_no: str) -> GatewayRefund:
        path = f"/v1/refunds/{_segment(refund_no)}"
        return _refund(await self._gateway.ask(RefundAnswer, "GET", path))

    def parse_callback(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        # The path that the gateway was told, not the one a proxy made of it.
        path = callback_path(self._merchant.notify_url)
        self._signer.verify(headers, "POST", path, body, self._clock())
        try:
            event = EventBody.model_validate_json(body)
        except ValidationError:
            raise BadCallback("bad_body") from None
        if (event.kind is EventKind.PAYMENT_SUCCEEDED) is not (event.refund_no is None):
            raise BadCallback("refund_no_does_not_fit")
        return GatewayEvent(
            event_id=event.event_id,
            kind=event.kind,
            payment_no=event.payment_no,
            refund_no=event.refund_no,
            amount=to_yuan(event.amount),
            at=event.at,
            transaction_id=event.transaction_id,
        )

    async def bill(self, day: date) -> Bill:
        since, until = (
            datetime.combine(d, time(), self._merchant.zone) for d in (day, day + timedelta(days=1))
        )
        params = {"since": since.isoformat(), "until": until.isoformat()}
        answer = await self._gateway.ask(RawBillAnswer, "GET", "/v1/bill", params=params)
        lines, bad = [], []
        for number, raw in enumerate(answer.lines, 1):
            try:
                lines.append(_bill_line(BillLineAnswer.model_validate(raw)))
            except ValidationError:
                bad.append(BadLine(number, "unreadable"))
        return Bill(tuple(lines), tuple(bad))


class SandboxControls:
    """What a payer, a bank and bad luck would do. For the development route and for tests."""

    def __init__(
        self, base_url: str, secret: str, http: httpx.AsyncClient, clock: Clock = utc_now
    ) -> None:
        self._gateway = _SignedHttp(base_url, Signer(secret), http, clock)

    async def pay(
        self,
        payment_no: str,
        *,
        times: int = 1,
        delay: timedelta = timedelta(0),
        fail: bool = False,
        callback: bool = True,
    ) -> GatewayPayment:
        """The payer pays, even when the payment was closed. Money is taken at once, and once.

        `times`: how often the one event is sent; `delay`: how much later; `callback=False`: never;
        `fail`: the payer's bank refuses, nothing is taken and nothing is sent.
        GatewayRefused `unknown_payment`.
        """
        path = f"/control/payments/{_segment(payment_no)}/pay"
        params = {
            "times": str(times),
            "delay": _iso(delay),
            "fail": _flag(fail),
            "callback": _flag(callback),
        }
        return _payment(await self._gateway.ask(PaymentAnswer, "POST", path, params=params))

    async def refunds(
        self,
        mode: RefundMode,
        *,
        times: int = 1,
        delay: timedelta | None = None,
        callback: bool = True,
    ) -> None:
        """What becomes of the refunds asked for from now on.

        `delay`: from the asking to the end (None: as the gateway was started).
        """
        params = {"mode": mode.value, "times": str(times), "callback": _flag(callback)}
        if delay is not None:
            params["delay"] = _iso(delay)
        await self._gateway.ask(DoneAnswer, "POST", "/control/refunds", params=params)

    async def settle_refund(self, refund_no: str, outcome: RefundState) -> GatewayRefund:
        """End a pending refund; `outcome` is SUCCEEDED or FAILED.

        GatewayRefused `unknown_refund`, `already_settled` (otherwise than asked).
        """
        path = f"/control/refunds/{_segment(refund_no)}/settle"
        params = {"outcome": outcome.value}
        return _refund(await self._gateway.ask(RefundAnswer, "POST", path, params=params))

    async def outage(self, duration: timedelta) -> None:
        """Every merchant call is answered 503 for so long; zero ends it."""
        params = {"seconds": str(duration.total_seconds())}
        await self._gateway.ask(DoneAnswer, "POST", "/control/outage", params=params)


def callback_path(notify_url: str) -> str:
    """What the signature of a callback covers of its URL: path and query."""
    parts = urlsplit(notify_url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _question(model: type[Model], **fields: Any) -> Model:
    try:
        return model(**fields)
    except ValidationError:
        # The gateway would refuse it too; its text would hold the values, this one does not.
        raise GatewayRefused("invalid_request") from None


def _payment(answer: PaymentAnswer) -> GatewayPayment:
    return GatewayPayment(
        payment_no=answer.payment_no,
        state=answer.state,
        amount=None if answer.amount is None else to_yuan(answer.amount),
        paid_at=answer.paid_at,
        transaction_id=answer.transaction_id,
    )


def _refund(answer: RefundAnswer) -> GatewayRefund:
    return GatewayRefund(
        refund_no=answer.refund_no,
        state=answer.state,
        payment_no=answer.payment_no,
        amount=None if answer.amount is None else to_yuan(answer.amount),
        finished_at=answer.finished_at,
        gateway_refund_no=answer.gateway_refund_no,
    )


def _bill_line(line: BillLineAnswer) -> BillLine:
    return BillLine(
        kind=line.kind,
        payment_no=line.payment_no,
        refund_no=line.refund_no,
        amount=to_yuan(line.amount),
        at=line.at,
        transaction_id=line.transaction_id,
    )


def _segment(number: str) -> str:
    # No number of ours has another letter, and a path is no place to find out.
    if not _NUMBER.fullmatch(number):
        raise GatewayRefused("invalid_request")
    return number


def _iso(duration: timedelta) -> str:
    return f"PT{duration.total_seconds():f}S"


def _flag(value: bool) -> str:
    return "true" if value else "false"
