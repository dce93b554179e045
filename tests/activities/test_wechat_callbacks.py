"""WeChat Pay's callbacks: forged, stale, by an old certificate, or true and senseless."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509

from activities.gateways.payment import (
    BadCallback,
    BadSignature,
    EventKind,
    PaymentGateway,
)
from activities.gateways.wechat_payment import Trade, WechatPaymentGateway
from activities.gateways.wechat_wire import WechatPay
from tests.support.wechat_keys import (
    DAY,
    MCHID,
    Platform,
    a_merchant,
    an_event,
    certificate,
    forger,
    platform,
    rsa_key,
    serial_of,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
NOTIFY = "https://hospital.example/api/hospital/payments/notify/wechat_native"
P1, R1 = "P260302AAAA", "R260302AAAA"
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"

MONEY: dict[str, Any] = {
    "mchid": MCHID,
    "out_trade_no": P1,
    "transaction_id": "4200001111202603020000000001",
    "trade_type": "NATIVE",
    "trade_state": "SUCCESS",
    "success_time": "2026-03-02T09:29:58+08:00",
    "payer": {"openid": OPENID},
    "amount": {"total": 5000, "payer_total": 4500, "currency": "CNY", "payer_currency": "CNY"},
}
RETURN: dict[str, Any] = {
    "mchid": MCHID,
    "out_trade_no": P1,
    "transaction_id": "4200001111202603020000000001",
    "out_refund_no": R1,
    "refund_id": "50000000002026030200000000001",
    "refund_status": "SUCCESS",
    "success_time": "2026-03-02T09:29:59+08:00",
    "amount": {"total": 5000, "refund": 2000, "payer_total": 5000, "payer_refund": 2000},
}


def port(now: datetime = NOW, **changes: Any) -> PaymentGateway:
    wechat = WechatPay(a_merchant(**changes), httpx.AsyncClient(), lambda: now)
    return WechatPaymentGateway(wechat, Trade.NATIVE, NOTIFY, lambda: now)


def signed(
    resource: dict[str, Any] | str = MONEY,
    event_type: str = "TRANSACTION.SUCCESS",
    by: Platform | None = None,
    at: datetime = NOW,
) -> tuple[dict[str, str], bytes]:
    body = an_event(event_type, resource)
    return (by or platform()).headers(body, at), body


async def test_a_true_callback_is_read() -> None:
    headers, body = signed()
    event = port().parse_callback({k.title(): v for k, v in headers.items()}, body)
    assert (event.event_id, event.kind) == ("EV-2018022511223320873", EventKind.PAYMENT_SUCCEEDED)
    assert (event.payment_no, event.refund_no, str(event.amount)) == (P1, None, "50.00")
    assert event.at == NOW - timedelta(seconds=2)
    assert event.transaction_id == MONEY["transaction_id"]
    assert event == port().parse_callback(headers, body), "a repeat reads the same"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("SUCCESS", EventKind.REFUND_SUCCEEDED),
        ("CLOSED", EventKind.REFUND_FAILED),
        ("ABNORMAL", EventKind.REFUND_FAILED),
    ],
)
async def test_news_of_a_refund_is_read(status: str, kind: EventKind) -> None:
    told = RETURN | {"refund_status": status}
    if status != "SUCCESS":
        del told["success_time"]
    event = port().parse_callback(*signed(told, f"REFUND.{status}"))
    assert (event.kind, event.refund_no, str(event.amount)) == (kind, R1, "20.00")
    assert abs(event.at - NOW) <= timedelta(seconds=1)


def other(headers: dict[str, str], name: str, value: str) -> dict[str, str]:
    return headers | {f"wechatpay-{name}": value}


@pytest.mark.parametrize(
    ("callback", "why"),
    [
        (lambda: signed(by=forger()), "forged"),
        (lambda: (signed()[0], signed(MONEY | {"out_trade_no": "P2"})[1]), "forged"),
        (lambda: (signed()[0], b""), "forged"),
        (lambda: (signed()[0], b"\xff"), "forged"),
        (lambda: (other(signed()[0], "nonce", "0" * 32), signed()[1]), "forged"),
        (lambda: (other(signed()[0], "signature", "签"), signed()[1]), "forged"),
        (lambda: (other(signed()[0], "signature", "AAAA"), signed()[1]), "forged"),
        (lambda: (other(signed()[0], "signature-type", "HMAC"), signed()[1]), "forged"),
        (
            lambda: (other(signed()[0], "signature", "WECHATPAY/SIGNTEST/AAAA"), signed()[1]),
            "sign_test",
        ),
        (lambda: ({}, signed()[1]), "not_signed"),
        (lambda: (other(signed()[0], "serial", ""), signed()[1]), "not_signed"),
        (lambda: (other(signed()[0], "timestamp", "soon"), signed()[1]), "not_signed"),
        (lambda: (other(signed()[0], "timestamp", "١٢"), signed()[1]), "not_signed"),
        (lambda: signed(at=NOW - timedelta(minutes=5, seconds=1)), "stale"),
        (lambda: signed(at=NOW + timedelta(minutes=5, seconds=1)), "stale"),
        (lambda: (other(signed()[0], "serial", "PUB_KEY_ID_9"), signed()[1]), "unknown_serial"),
        (lambda: (other(signed()[0], "serial", "4F" * 20), signed()[1]), "unknown_serial"),
    ],
)
async def test_a_forged_or_stale_callback_is_refused(callback: Callable[[], Any], why: str) -> None:
    with pytest.raises(BadSignature) as refusal:
        port().parse_callback(*callback())
    assert refusal.value.code == why


@pytest.mark.parametrize(
    ("resource", "event_type"),
    [
        ("{garbage", "TRANSACTION.SUCCESS"),
        ("[]", "TRANSACTION.SUCCESS"),
        ("{}", "TRANSACTION.SUCCESS"),
        (MONEY, "COUPON.USE"),
        (MONEY, "REFUND.SUCCESS"),
        (MONEY | {"mchid": "1900000110"}, "TRANSACTION.SUCCESS"),
        (MONEY | {"trade_state": "NOTPAY"}, "TRANSACTION.SUCCESS"),
        (MONEY | {"trade_state": "SOMETHING"}, "TRANSACTION.SUCCESS"),
        (MONEY | {"transaction_id": None}, "TRANSACTION.SUCCESS"),
        (MONEY | {"success_time": "2026-03-02T09:29:58"}, "TRANSACTION.SUCCESS"),
        (MONEY | {"amount": {"total": 50.5, "currency": "CNY"}}, "TRANSACTION.SUCCESS"),
        (MONEY | {"amount": {"total": 5000, "currency": "HKD"}}, "TRANSACTION.SUCCESS"),
        (RETURN, "TRANSACTION.SUCCESS"),
        (RETURN | {"mchid": "1900000110"}, "REFUND.SUCCESS"),
        (RETURN | {"refund_status": "PROCESSING"}, "REFUND.SUCCESS"),
    ],
)
async def test_a_signed_callback_that_makes_no_sense_is_refused(
    resource: dict[str, Any] | str, event_type: str
) -> None:
    with pytest.raises(BadCallback):
        port().parse_callback(*signed(resource, event_type))


async def test_a_signed_callback_that_does_not_open_is_refused() -> None:
    """Sealed with another APIv3 key, or not sealed at all."""
    for body in (b"{}", b"[]", b"null", an_event("TRANSACTION.SUCCESS", MONEY)):
        with pytest.raises(BadCallback, match="not_opened"):
            port(apiv3_key="b" * 32).parse_callback(platform().headers(body, NOW), body)


# Platform certificates, the older way


def certified(*found: x509.Certificate, now: datetime | None = None) -> PaymentGateway:
    return port(now or datetime.now(UTC), public_key=None, certificates=found)


def by(found: x509.Certificate, at: datetime | None = None) -> tuple[dict[str, str], bytes]:
    who = Platform(rsa_key("platform"), serial_of(found))
    return signed(by=who, at=at or datetime.now(UTC))


async def test_a_platform_certificate_is_believed_while_it_is_valid() -> None:
    good = certificate(rsa_key("platform"))
    assert certified(good).parse_callback(*by(good)).payment_no == P1


async def test_an_old_certificate_is_refused() -> None:
    """Even one that was good when the process began."""
    now = datetime.now(UTC)
    good = certificate(rsa_key("platform"))
    ended = certificate(rsa_key("platform"), begins=now - 400 * DAY, ends=now - DAY)
    later = now + 366 * DAY
    for known, when in (((good, ended), now), ((good,), later)):
        with pytest.raises(BadSignature) as refusal:
            certified(*known, now=when).parse_callback(*by(known[-1], when))
        assert refusal.value.code == "expired_certificate"
    with pytest.raises(BadSignature) as refusal:
        certified(good).parse_callback(*by(ended))
    assert refusal.value.code == "unknown_serial"


async def test_somebody_elses_certificate_under_a_known_number_is_forged() -> None:
    good = certificate(rsa_key("platform"))
    headers, body = signed(by=Platform(rsa_key("forger"), serial_of(good)), at=datetime.now(UTC))
    with pytest.raises(BadSignature) as refusal:
        certified(good).parse_callback(headers, body)
    assert refusal.value.code == "forged"


async def test_a_merchant_who_moves_to_the_public_key_believes_both() -> None:
    good = certificate(rsa_key("platform"))
    moving = port(datetime.now(UTC), certificates=(good,))
    assert moving.parse_callback(*by(good)) == moving.parse_callback(*signed(at=datetime.now(UTC)))
