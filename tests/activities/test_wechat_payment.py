"""WeChat Pay's client: what it asks and signs, refusals in its words, and the bill."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.responses import Response

from activities.gateways.payment import (
    BadCallback,
    BadLine,
    Bill,
    BillKind,
    GatewayError,
    GatewayRefused,
    GatewayUnavailable,
    Payer,
    PaymentGateway,
    PaymentState,
    RefundState,
)
from activities.gateways.sandbox_wire import RefundMode
from activities.gateways.wechat_bill import BEIJING
from activities.gateways.wechat_payment import Trade, WechatPaymentGateway
from activities.gateways.wechat_wire import WechatPay
from tests.support.gateway import Inbox, callback_inbox
from tests.support.wechat_bill import PAID, RETURNED, a_bill
from tests.support.wechat_keys import (
    APIV3_KEY,
    DAY,
    Platform,
    a_merchant,
    an_event,
    certificate,
    forger,
    platform,
    private_pem,
    rsa_key,
    sealed,
    serial_of,
)
from tests.support.wechat_server import Refusal, WechatServer, wechat_server, yesterday

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
NOTIFY = "https://hospital.example/api/hospital/payments/notify/wechat_native"
P1, R1, YUAN_50 = "P260302AAAA", "R260302AAAA", Decimal("50.00")
SOON = datetime.now(UTC) + timedelta(minutes=15)
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"


def port(now: datetime = NOW, **changes: Any) -> PaymentGateway:
    """Without a server."""
    wechat = WechatPay(a_merchant(**changes), httpx.AsyncClient(), lambda: now)
    return WechatPaymentGateway(wechat, Trade.NATIVE, NOTIFY, lambda: now)


# Questions and answers


@pytest.fixture
async def wechat() -> AsyncIterator[WechatServer]:
    async with wechat_server() as server:
        yield server


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with callback_inbox() as inbox:
        yield inbox


@pytest.fixture
def native(wechat: WechatServer, inbox: Inbox) -> PaymentGateway:
    return wechat.payments(Trade.NATIVE, inbox.url)


@pytest.fixture
def jsapi(wechat: WechatServer, inbox: Inbox) -> PaymentGateway:
    return wechat.payments(Trade.JSAPI, inbox.url)


async def opened(payments: PaymentGateway, payer: Payer | None = None, **changes: Any) -> Any:
    asked: dict[str, Any] = {
        "amount": YUAN_50,
        "description": "appointment",
        "expires_at": SOON,
        "payer": payer,
    }
    return await payments.prepay(P1, **(asked | changes))


async def back(payments: PaymentGateway, amount: str = "50.00") -> Any:
    return await payments.refund(
        R1, payment_no=P1, amount=Decimal(amount), total=YUAN_50, reason="order_closed"
    )


async def failed(call: Any, kind: type[GatewayError]) -> str:
    with pytest.raises(kind) as failure:
        await call
    return failure.value.code


async def test_a_code_to_scan(wechat: WechatServer, native: PaymentGateway) -> None:
    prepay = await opened(native)
    assert prepay.pay_url.startswith("weixin://wxpay/")
    assert prepay.pay_params is None
    (_, path, asked) = wechat.requests[0]
    assert path == "/v3/pay/transactions/native"
    assert asked["description"] == "预约挂号"
    assert asked["time_expire"].endswith("+08:00")
    assert "payer" not in asked


async def test_parameters_for_the_mini_program(wechat: WechatServer, jsapi: PaymentGateway) -> None:
    prepay = await opened(jsapi, Payer(OPENID))
    params = prepay.pay_params
    assert prepay.pay_url is None
    assert set(params) == {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"}
    assert params["package"] == f"prepay_id={prepay.gateway_no}"
    message = "".join(f"{params[n]}\n" for n in ("appId", "timeStamp", "nonceStr", "package"))
    signature = base64.b64decode(params["paySign"])
    key = rsa_key("merchant").public_key()
    key.verify(signature, message.encode(), PKCS1v15(), SHA256())
    again = await opened(jsapi, Payer(OPENID))
    assert again.gateway_no == prepay.gateway_no
    assert wechat.requests[0][2]["payer"] == {"openid": OPENID}


async def test_who_pays_must_be_one_of_ours(jsapi: PaymentGateway, wechat: WechatServer) -> None:
    assert jsapi.needs_payer
    assert await failed(opened(jsapi), GatewayRefused) == "bad_payer"
    assert await failed(opened(jsapi, Payer("nobody")), GatewayRefused) == "bad_payer"
    wechat.next_answers.append(Refusal(400, "OPENID_MISMATCH", "openid和appid不匹配"))
    assert await failed(opened(jsapi, Payer(OPENID)), GatewayRefused) == "bad_payer"


async def test_a_number_belongs_to_the_way_it_was_opened_for(
    native: PaymentGateway, jsapi: PaymentGateway
) -> None:
    await opened(native)
    assert await failed(opened(jsapi, Payer(OPENID)), GatewayRefused) == "out_trade_no_used"


async def test_a_number_that_is_paid_or_closed_cannot_be_opened_again(
    wechat: WechatServer, native: PaymentGateway
) -> None:
    await opened(native)
    await native.close(P1)
    assert await failed(opened(native), GatewayRefused) == "already_closed"
    await wechat.pay(P1, callback=False)
    assert await failed(opened(native), GatewayRefused) == "already_paid"


async def test_a_payment_past_its_time_is_closed(
    wechat: WechatServer, native: PaymentGateway
) -> None:
    await opened(native)
    wechat.orders[P1].asked["time_expire"] = "2026-03-02T09:30:00+08:00"
    assert (await native.query(P1)).state is PaymentState.CLOSED


async def test_a_close_while_somebody_types_a_password_is_tried_again(
    wechat: WechatServer, native: PaymentGateway
) -> None:
    await opened(native)
    wechat.next_answers.append(Refusal(400, "USERPAYING", "用户支付中"))
    assert await failed(native.close(P1), GatewayUnavailable) == "not_closed"


async def test_money_that_went_back_in_part_is_still_paid(
    wechat: WechatServer, native: PaymentGateway
) -> None:
    await opened(native)
    paid = await wechat.pay(P1, callback=False)
    await back(native, "20.00")
    assert wechat.orders[P1].state == "REFUND"
    assert await native.query(P1) == paid


async def test_the_payer_is_not_shown_our_reason(
    wechat: WechatServer, native: PaymentGateway
) -> None:
    await opened(native)
    await wechat.pay(P1, callback=False)
    await back(native)
    assert "order_closed" not in json.dumps(wechat.requests)


async def test_an_abnormal_refund_failed(wechat: WechatServer, native: PaymentGateway) -> None:
    await opened(native)
    await wechat.pay(P1, callback=False)
    await wechat.refunds(RefundMode.PENDING)
    assert (await back(native)).state is RefundState.PENDING
    await wechat.settle_refund(R1, RefundState.FAILED, "ABNORMAL")
    assert (await native.query_refund(R1)).state is RefundState.FAILED


@pytest.mark.parametrize(
    ("refusal", "kind", "code"),
    [
        (Refusal(403, "NOT_ENOUGH", "基本账户余额不足"), GatewayUnavailable, "not_enough"),
        (Refusal(403, "BIZERR_NEED_RETRY", "请重试"), GatewayUnavailable, "bizerr_need_retry"),
        (Refusal(429, "FREQUENCY_LIMITED", "频率超限"), GatewayUnavailable, "status_429"),
        (Refusal(500, "SYSTEM_ERROR", "系统超时"), GatewayUnavailable, "status_500"),
        (Refusal(400, "TRADE_OVERDUE", "订单已经超过退款期限"), GatewayRefused, "too_late"),
        (Refusal(403, "USER_ACCOUNT_ABNORMAL", "帐号注销"), GatewayRefused, "payer_gone"),
        (Refusal(400, "INVALID_REQUEST", "订单已全额退款"), GatewayRefused, "refund_exceeds_paid"),
        (Refusal(400, "INVALID_REQUEST", "另有原因"), GatewayRefused, "invalid_request"),
        (Refusal(401, "SIGN_ERROR", "签名错误"), GatewayRefused, "sign_error"),
        (Refusal(403, "NO_AUTH", "商户无权限"), GatewayRefused, "no_auth"),
        (Refusal(404, "MCH_NOT_EXISTS", "商户号不存在"), GatewayRefused, "mch_not_exists"),
        (Refusal(400, "a word with spaces"), GatewayUnavailable, "bad_answer"),
    ],
)
async def test_each_refusal_of_a_refund_is_retryable_or_final(
    wechat: WechatServer,
    native: PaymentGateway,
    refusal: Refusal,
    kind: type[GatewayError],
    code: str,
) -> None:
    await opened(native)
    await wechat.pay(P1, callback=False)
    wechat.next_answers.append(refusal)
    assert await failed(back(native), kind) == code


def unsigned(document: Any, **headers: str) -> Response:
    return Response(json.dumps(document), 200, headers, "application/json")


def signed_by(who: Platform, document: Any) -> Response:
    content = json.dumps(document).encode()
    return Response(content, 200, who.headers(content), "application/json")


@pytest.mark.parametrize(
    "answer",
    [
        unsigned,
        lambda told: signed_by(forger(), told),
        lambda told: signed_by(replace(platform(), serial="4F" * 20), told),
        lambda told: signed_by(replace(platform(), serial="no number"), told),
        lambda told: signed_by(platform(), told | {"trade_state": "SOMETHING"}),
        lambda told: signed_by(platform(), told | {"out_trade_no": "P260302ZZZZ"}),
        lambda told: signed_by(platform(), told | {"amount": None}),
        lambda told: signed_by(platform(), []),
        lambda told: Response("<html>", 200, platform().headers(b"<html>"), "text/html"),
        lambda told: Response("<html>", 404, None, "text/html"),
        lambda told: Response("<html>", 302, {"location": "/elsewhere"}, "text/html"),
    ],
)
async def test_an_answer_that_is_not_wechats_tells_nothing(
    wechat: WechatServer, native: PaymentGateway, answer: Callable[[Any], Response]
) -> None:
    await opened(native)
    await wechat.pay(P1, callback=False)
    wechat.next_answers.append(answer(wechat.orders[P1].told()))
    assert await failed(native.query(P1), GatewayUnavailable) == "bad_answer"


async def test_a_new_platform_certificate_is_learnt_from_wechat(
    wechat: WechatServer, inbox: Inbox
) -> None:
    """Sealed with our APIv3 key, so nobody else can hand us one."""
    old, new = (certificate(rsa_key("platform")) for _ in range(2))
    wechat.certificates = [
        {
            "serial_no": serial_of(new),
            "effective_time": new.not_valid_before_utc.isoformat(),
            "expire_time": new.not_valid_after_utc.isoformat(),
            "encrypt_certificate": sealed(new.public_bytes(Encoding.PEM).decode(), "certificate"),
        }
    ]
    wechat.signs = Platform(rsa_key("platform"), serial_of(new))
    payments = wechat.payments(Trade.NATIVE, inbox.url, public_key=None, certificates=(old,))
    await opened(payments)
    await wechat.pay(P1)
    (event,) = await inbox.events(payments, 1)
    assert event.payment_no == P1


async def test_a_number_nobody_knows_does_not_make_us_forget_the_good_ones(
    wechat: WechatServer, inbox: Inbox
) -> None:
    good = certificate(rsa_key("platform"))
    payments = wechat.payments(Trade.NATIVE, inbox.url, public_key=None, certificates=(good,))
    wechat.signs = Platform(rsa_key("forger"), "4F" * 20)
    assert await failed(opened(payments), GatewayUnavailable) == "bad_answer"
    body = an_event("COUPON.USE", "{}")
    headers = Platform(rsa_key("platform"), serial_of(good)).headers(body)
    with pytest.raises(BadCallback, match="unknown_event"):  # so it was believed
        payments.parse_callback(headers, body)


async def test_another_merchants_key_is_refused_for_good(
    wechat: WechatServer, inbox: Inbox
) -> None:
    payments = wechat.payments(Trade.NATIVE, inbox.url, private_key=private_pem(rsa_key("forger")))
    assert await failed(payments.query(P1), GatewayRefused) == "sign_error"


async def test_a_gateway_that_is_down_or_slow_is_unavailable() -> None:
    assert await failed(port().query(P1), GatewayUnavailable) == "connection"

    def never(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        slow = WechatPaymentGateway(WechatPay(a_merchant(), http), Trade.NATIVE, NOTIFY)
        assert await failed(slow.query(P1), GatewayUnavailable) == "timeout"


async def test_secrets_and_payers_are_never_shown() -> None:
    merchant = a_merchant()
    shown = repr(merchant) + repr(Payer(OPENID))
    assert APIV3_KEY not in shown
    assert "PRIVATE KEY" not in shown
    assert OPENID not in shown
    with pytest.raises(ValueError, match="a key of WeChat Pay cannot be read") as failure:
        WechatPay(replace(merchant, private_key="hidden"), httpx.AsyncClient())
    assert "hidden" not in str(failure.value)
    with pytest.raises(ValueError, match="nothing to verify"):
        WechatPay(replace(merchant, public_key=None), httpx.AsyncClient())


# The bill


async def test_the_bill_of_a_day(wechat: WechatServer, native: PaymentGateway) -> None:
    day = yesterday() - DAY
    wechat.bills[day.isoformat()] = a_bill(PAID, PAID | {"订单金额": "?"}, RETURNED)
    bill = await native.bill(day)
    assert [line.kind for line in bill.lines] == [BillKind.PAYMENT, BillKind.REFUND]
    assert bill.bad == (BadLine(3, "bad_amount"),)


async def test_a_day_without_a_statement_is_an_empty_bill(native: PaymentGateway) -> None:
    assert await native.bill(yesterday() - DAY) == Bill()


async def test_a_bill_that_is_not_out_yet(wechat: WechatServer, native: PaymentGateway) -> None:
    day = yesterday() - DAY
    wechat.bills[day.isoformat()] = Refusal(400, "STATEMENT_CREATING", "账单正在生成中")
    assert await failed(native.bill(day), GatewayUnavailable) == "statement_creating"
    morning = datetime(2026, 3, 3, 9, 59, tzinfo=BEIJING)
    assert await failed(port(morning).bill(NOW.date()), GatewayUnavailable) == "bill_not_out"
    ten = port(morning + timedelta(minutes=1))
    assert await failed(ten.bill(NOW.date()), GatewayUnavailable) == "connection"


async def test_a_bill_that_was_changed_on_its_way(
    wechat: WechatServer, native: PaymentGateway
) -> None:
    day = (yesterday() - DAY).isoformat()
    told = {
        "hash_type": "SHA1",
        "hash_value": "0" * 40,
        "download_url": f"https://api.mch.weixin.qq.com/v3/billdownload/file?token={day}",
    }
    wechat.bills[day] = a_bill(PAID)
    for changed, why in (
        ({}, "bad_bill_hash"),
        ({"download_url": "https://elsewhere.example/file"}, "bad_answer"),
        ({"hash_type": "MD5"}, "bad_answer"),
    ):
        wechat.next_answers.append(signed_by(platform(), told | changed))
        assert await failed(native.bill(yesterday() - DAY), GatewayUnavailable) == why
