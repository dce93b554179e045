"""The sandbox channel's client: forged and odd messages, and every way a gateway can be away."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from activities.gateways.payment import (
    BadCallback,
    BadLine,
    BadSignature,
    EventKind,
    GatewayRefused,
    GatewayUnavailable,
    PaymentGateway,
    to_fen,
    to_yuan,
)
from activities.gateways.sandbox_payment import SandboxMerchant, SandboxPaymentGateway, sandbox_http
from activities.gateways.sandbox_wire import NONCE, SIGNATURE, TIMESTAMP, Signer
from tests.support.gateway import SECRET, ZONE

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
NOTIFY = "https://hospital.example/api/payments/notify/sandbox?from=sandbox"
PATH = "/api/payments/notify/sandbox?from=sandbox"
EVENT = {
    "event_id": "E1",
    "kind": "payment_succeeded",
    "payment_no": "P1",
    "refund_no": None,
    "amount": 1250,
    "at": "2026-03-02T01:29:58.5Z",
    "transaction_id": "T1",
}


def client(http: httpx.AsyncClient, now: datetime = NOW) -> SandboxPaymentGateway:
    merchant = SandboxMerchant("http://127.0.0.1:9", SECRET, NOTIFY, ZONE)
    gateway: PaymentGateway = SandboxPaymentGateway(merchant, http, lambda: now)
    assert isinstance(gateway, SandboxPaymentGateway)
    return gateway


@pytest.fixture
async def gateway():
    async with sandbox_http() as http:
        yield client(http)


def signed(event, path=PATH, secret=SECRET, at=NOW):
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return Signer(secret).headers("POST", path, body, at), body


async def test_a_true_callback_is_read(gateway):
    headers, body = signed(EVENT)
    event = gateway.parse_callback({k.title(): v for k, v in headers.items()}, body)
    assert (event.event_id, event.kind) == ("E1", EventKind.PAYMENT_SUCCEEDED)
    assert str(event.amount) == "12.50"
    assert event.at == datetime(2026, 3, 2, 1, 29, 58, 500000, tzinfo=UTC)


async def test_a_repeat_reads_the_same(gateway):
    callback = signed(EVENT)
    assert gateway.parse_callback(*callback) == gateway.parse_callback(*callback)


@pytest.mark.parametrize(
    ("callback", "why"),
    [
        (lambda: signed(EVENT, secret="some-other-secret-16"), "forged"),
        (lambda: signed(EVENT, path="/another"), "forged"),
        (lambda: (signed(EVENT)[0], json.dumps({**EVENT, "amount": 1}).encode()), "forged"),
        (lambda: (signed(EVENT)[0] | {NONCE: "0" * 32}, signed(EVENT)[1]), "forged"),
        (lambda: (signed(EVENT)[0] | {SIGNATURE: "号"}, signed(EVENT)[1]), "forged"),
        (lambda: (signed(EVENT)[0] | {TIMESTAMP: "soon"}, signed(EVENT)[1]), "not_signed"),
        (lambda: ({}, signed(EVENT)[1]), "not_signed"),
        (lambda: signed(EVENT, at=NOW - timedelta(minutes=5, seconds=1)), "stale"),
        (lambda: signed(EVENT, at=NOW + timedelta(minutes=5, seconds=1)), "stale"),
    ],
)
async def test_a_forged_or_stale_callback_is_refused(gateway, callback: Callable, why):
    with pytest.raises(BadSignature) as refusal:
        gateway.parse_callback(*callback())
    assert refusal.value.code == why


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"{garbage",
        b"\xff",
        b"[]",
        {**EVENT, "amount": 0},
        {**EVENT, "amount": 12.5},
        {**EVENT, "kind": "payment_imagined"},
        {**EVENT, "at": "2026-03-02T01:29:58"},
        {**EVENT, "refund_no": "R1"},
        {**EVENT, "kind": "refund_succeeded"},
    ],
)
async def test_a_signed_callback_that_makes_no_sense_is_refused(gateway, event):
    with pytest.raises(BadCallback):
        gateway.parse_callback(*signed(event))


def test_the_signature_is_the_documented_one():
    # Computed by openssl: printf 'GET\n/v1/bill?a=b\n1772415000\n<nonce>\n{}' | openssl dgst …
    signer = Signer("0123456789abcdef")
    headers = {
        TIMESTAMP: "1772415000",
        NONCE: "00112233445566778899aabbccddeeff",
        SIGNATURE: "22efd89e3cb94044b57ccc0df994a2ca966ec5f0dd9c48cdb0b52bba6942ee31",
    }
    assert signer.verify(headers, "GET", "/v1/bill?a=b", b"{}", NOW) == headers[NONCE]


def test_a_secret_is_never_shown():
    shown = repr(Signer(SECRET)) + repr(SandboxMerchant("http://x", SECRET, NOTIFY, ZONE))
    assert SECRET not in shown


async def test_a_gateway_that_is_down_is_unavailable(gateway):
    with pytest.raises(GatewayUnavailable) as failure:
        await gateway.query("P1")
    assert failure.value.code == "connection"


def timing_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (timing_out, GatewayUnavailable, "timeout"),
        (lambda _: httpx.Response(502, text="<html>"), GatewayUnavailable, "status_502"),
        (lambda _: httpx.Response(429), GatewayUnavailable, "status_429"),
        (lambda _: httpx.Response(200, text="<html>"), GatewayUnavailable, "bad_answer"),
        (lambda _: httpx.Response(200, json={"state": "new"}), GatewayUnavailable, "bad_answer"),
        (lambda _: httpx.Response(302), GatewayUnavailable, "bad_answer"),
        (lambda _: httpx.Response(409, json={"code": "not_paid"}), GatewayRefused, "not_paid"),
    ],
)
async def test_each_answer_is_retryable_or_final(answer, error, code):
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        with pytest.raises(error) as failure:
            await client(http).query("P1")
    assert failure.value.code == code


async def test_the_day_of_a_bill_is_the_hospitals():
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, json={"lines": []})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        await client(http).bill(NOW.astimezone(ZONE).date())
    assert asked == [{"since": "2026-03-02T00:00:00+08:00", "until": "2026-03-03T00:00:00+08:00"}]


async def test_a_line_of_the_bill_that_cannot_be_read_is_named():
    line = {"kind": "payment", "payment_no": "P1", "amount": 1250, "at": "2026-03-02T01:00:00Z",
            "transaction_id": "T1"}  # fmt: skip
    lines = [line, line | {"amount": "a lot"}, "nothing", line | {"payment_no": "P2"}]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"lines": lines})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        bill = await client(http).bill(NOW.date())
    assert [line.payment_no for line in bill.lines] == ["P1", "P2"]
    assert bill.bad == (BadLine(2, "unreadable"), BadLine(3, "unreadable"))


def test_money_is_whole_in_fen_and_comes_back_with_two_places():
    assert to_fen(Decimal("12.5")) == 1250
    assert str(to_yuan(1250)) == "12.50"
    assert to_yuan(to_fen(Decimal("99999999.99"))) == Decimal("99999999.99")


@pytest.mark.parametrize("amount", ["1.001", "1.0000000000000000000000000000000001", "-0.01", "0"])
def test_money_that_is_not_whole_in_fen_is_refused(amount):
    with pytest.raises(GatewayRefused):
        to_fen(Decimal(amount))
