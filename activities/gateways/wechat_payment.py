"""The channels `wechat_native` (the payer scans a code) and `wechat_jsapi` (the payer is in our
mini program or official account): WeChat Pay v3 behind the payment port.

WeChat binds a number to the way it was opened for, so each way is a channel of its own; both are
one merchant's. What it says of a refusal is mostly text for people. Where the port promises a word,
the facts are asked for, and texts are a last resort.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from wechatpayv3.async_ import WeChatPayType

from activities.gateways.payment import (
    CURRENCY,
    BadCallback,
    Bill,
    EventKind,
    GatewayEvent,
    GatewayPayment,
    GatewayRefund,
    GatewayRefused,
    GatewayUnavailable,
    Payer,
    PaymentState,
    Prepay,
    RefundState,
    to_fen,
    to_yuan,
)
from activities.gateways.wechat_bill import BEIJING, read_bill, unpacked
from activities.gateways.wechat_wire import (
    BillAnswer,
    Callback,
    Clock,
    JsapiAnswer,
    NativeAnswer,
    Nothing,
    Refund,
    RefundNews,
    Transaction,
    WechatPay,
    WechatRefused,
    utc_now,
)


class Trade(StrEnum):
    """WeChat's word for the way of paying (交易类型)."""

    NATIVE = "NATIVE"
    JSAPI = "JSAPI"


PAYMENT_STATES = {
    "SUCCESS": PaymentState.PAID,
    "REFUND": PaymentState.PAID,  # some or all of it went back
    "NOTPAY": PaymentState.PENDING,
    "USERPAYING": PaymentState.PENDING,
    "ACCEPT": PaymentState.PENDING,
    "PAYERROR": PaymentState.PENDING,
    "CLOSED": PaymentState.CLOSED,
    "REVOKED": PaymentState.CLOSED,
}
# ABNORMAL: the payer's card takes nothing back. A person mends it in WeChat's merchant platform;
# the same money cannot be asked for under a new number.
REFUND_STATES = {
    "PROCESSING": RefundState.PENDING,
    "SUCCESS": RefundState.SUCCEEDED,
    "CLOSED": RefundState.FAILED,
    "ABNORMAL": RefundState.FAILED,
}
UNKNOWN_NUMBER = frozenset({"ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"})
NUMBER_IN_USE = frozenset(
    {"OUT_TRADE_NO_USED", "INVALID_REQUEST", "ORDERPAID", "ORDER_PAID", "ORDER_CLOSED"}
)
# After these a query tells how it stands; so it does when a close was taken.
NOT_CLOSED = UNKNOWN_NUMBER | NUMBER_IN_USE | {"USERPAYING", "USER_PAYING", "TRADE_ERROR"}
REFUND_REFUSALS = {
    "TRADE_OVERDUE": "too_late",  # a year after the payment
    "USER_ACCOUNT_ABNORMAL": "payer_gone",
}
MORE_THAN_PAID = re.compile("大于|超过|超出|可退|全额退款")
SHOWN_TO_PAYER = {"appointment": "预约挂号"}
BILL_IS_OUT = time(10)  # the next day, in Beijing
LONGEST = 10_000_000_000  # fen; the sandbox gateway's limit too

_PAYMENT_NO = re.compile(r"[A-Za-z0-9_-]{1,32}")
_REFUND_NO = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

Model = TypeVar("Model", bound=BaseModel)


class WechatPaymentGateway:
    """The port `PaymentGateway` for one way of paying.

    `notify_url` is this channel's own: https, without a query.
    """

    def __init__(
        self, wechat: WechatPay, trade: Trade, notify_url: str, clock: Clock = utc_now
    ) -> None:
        self.channel = f"wechat_{trade.lower()}"
        self.needs_payer = trade is Trade.JSAPI
        self.refused_in_own_form = True
        self.bill_zone = BEIJING
        self._wechat, self._trade, self._clock = wechat, trade, clock
        self._notify_url = notify_url

    async def prepay(
        self,
        payment_no: str,
        *,
        amount: Decimal,
        description: str,
        expires_at: datetime,
        payer: Payer | None = None,
    ) -> Prepay:
        if not _CODE.fullmatch(description):
            raise GatewayRefused("invalid_request")
        if expires_at <= self._clock():
            raise GatewayRefused("already_expired")
        if self.needs_payer and payer is None:
            raise GatewayRefused("bad_payer")
        question = {
            "description": SHOWN_TO_PAYER.get(description, "医院订单"),
            "out_trade_no": _checked(_PAYMENT_NO, payment_no),
            "amount": {"total": _fen(amount), "currency": CURRENCY},
            "time_expire": expires_at.astimezone(BEIJING).isoformat(timespec="seconds"),
            "notify_url": self._notify_url,
        }
        try:
            return await self._opened(question, payer)
        except WechatRefused as refused:
            why = await self._why_no_prepay(payment_no, amount, refused)
            raise GatewayRefused(why) from None

    async def _opened(self, question: dict[str, Any], payer: Payer | None) -> Prepay:
        pay = self._wechat.sdk.pay
        if self._trade is Trade.NATIVE or payer is None:
            call = pay(**question, pay_type=WeChatPayType.NATIVE)
            return Prepay((await self._wechat.ask(NativeAnswer, call)).code_url)
        who = {"openid": payer.openid}
        call = pay(**question, payer=who, pay_type=WeChatPayType.JSAPI)
        prepay_id = (await self._wechat.ask(JsapiAnswer, call)).prepay_id
        return Prepay(None, prepay_id, self._pay_params(prepay_id))

    def _pay_params(self, prepay_id: str) -> dict[str, str]:
        """What `wx.requestPayment` and `WeixinJSBridge` take, signed as ours."""
        appid, at = self._wechat.merchant.appid, str(int(self._clock().timestamp()))
        nonce, package = secrets.token_hex(16), f"prepay_id={prepay_id}"
        signed = self._wechat.sdk.sign([appid, at, nonce, package])
        return {
            "appId": appid,
            "timeStamp": at,
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": signed,
        }

    async def _why_no_prepay(self, payment_no: str, amount: Decimal, refused: WechatRefused) -> str:
        if "openid" in refused.words.lower() or refused.wechat_code == "OPENID_MISMATCH":
            return "bad_payer"
        if refused.wechat_code not in NUMBER_IN_USE:
            return refused.code
        known = await self.query(payment_no)
        if known.amount not in (None, amount):
            return "amount_differs"
        return {PaymentState.PAID: "already_paid", PaymentState.CLOSED: "already_closed"}.get(
            known.state, refused.code
        )

    async def query(self, payment_no: str) -> GatewayPayment:
        call = self._wechat.sdk.query(out_trade_no=_checked(_PAYMENT_NO, payment_no))
        try:
            answer = await self._wechat.ask(Transaction, call)
        except WechatRefused as refused:
            if refused.wechat_code in UNKNOWN_NUMBER:
                return GatewayPayment(payment_no, PaymentState.UNKNOWN)
            raise
        return _payment(payment_no, answer)

    async def close(self, payment_no: str) -> GatewayPayment:
        call = self._wechat.sdk.close(_checked(_PAYMENT_NO, payment_no))
        try:
            await self._wechat.ask(Nothing, call)
        except WechatRefused as refused:
            if refused.wechat_code not in NOT_CLOSED:
                raise
        # The close says nothing of money; and some are refused though nobody can pay any more.
        standing = await self.query(payment_no)
        if standing.state is PaymentState.PENDING:
            raise GatewayUnavailable("not_closed")
        return standing

    async def refund(
        self, refund_no: str, *, payment_no: str, amount: Decimal, total: Decimal, reason: str
    ) -> GatewayRefund:
        # `reason` stays here: WeChat would show our code to the payer.
        call = self._wechat.sdk.refund(
            out_refund_no=_checked(_REFUND_NO, refund_no),
            out_trade_no=_checked(_PAYMENT_NO, payment_no),
            amount={"refund": _fen(amount), "total": _fen(total), "currency": CURRENCY},
            notify_url=self._notify_url,
        )
        try:
            return _refund(await self._wechat.ask(Refund, call))
        except WechatRefused as refused:
            earlier = await self.query_refund(refund_no)
            if earlier.state is not RefundState.UNKNOWN:
                if (earlier.payment_no, earlier.amount) != (payment_no, amount):
                    raise GatewayRefused("refund_differs") from None
                return earlier
            why = await self._why_no_refund(payment_no, total, refused)
            raise GatewayRefused(why) from None

    async def _why_no_refund(self, payment_no: str, total: Decimal, refused: WechatRefused) -> str:
        if refused.wechat_code in REFUND_REFUSALS:
            return REFUND_REFUSALS[refused.wechat_code]
        if refused.wechat_code not in NUMBER_IN_USE | UNKNOWN_NUMBER | {"PARAM_ERROR"}:
            return refused.code
        known = await self.query(payment_no)
        if known.state is PaymentState.UNKNOWN:
            return "unknown_payment"
        if known.state is not PaymentState.PAID:
            return "not_paid"
        if known.amount != total:
            return "total_differs"
        return "refund_exceeds_paid" if MORE_THAN_PAID.search(refused.words) else refused.code

    async def query_refund(self, refund_no: str) -> GatewayRefund:
        call = self._wechat.sdk.query_refund(_checked(_REFUND_NO, refund_no))
        try:
            return _refund(await self._wechat.ask(Refund, call))
        except WechatRefused as refused:
            if refused.wechat_code in UNKNOWN_NUMBER:
                return GatewayRefund(refund_no, RefundState.UNKNOWN)
            raise

    def parse_callback(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        callback = self._wechat.open_callback(headers, body)
        if callback.event_type == "TRANSACTION.SUCCESS":
            return self._money_taken(callback)
        if callback.event_type.startswith("REFUND."):
            return self._refund_ended(callback)
        raise BadCallback("unknown_event")

    def _money_taken(self, callback: Callback) -> GatewayEvent:
        told = _read(Transaction, callback)
        self._ours(told.mchid)
        known = _payment_told(told)
        if known is None or known.state is not PaymentState.PAID:
            raise BadCallback("not_paid")
        if known.amount is None or known.paid_at is None or known.transaction_id is None:
            raise BadCallback("bad_body")
        return GatewayEvent(
            event_id=callback.event_id,
            kind=EventKind.PAYMENT_SUCCEEDED,
            payment_no=known.payment_no,
            refund_no=None,
            amount=known.amount,
            at=known.paid_at,
            transaction_id=known.transaction_id,
        )

    def _refund_ended(self, callback: Callback) -> GatewayEvent:
        told = _read(RefundNews, callback)
        self._ours(told.mchid)
        kind = {
            RefundState.SUCCEEDED: EventKind.REFUND_SUCCEEDED,
            RefundState.FAILED: EventKind.REFUND_FAILED,
        }.get(REFUND_STATES.get(told.refund_status, RefundState.UNKNOWN))
        if kind is None:
            raise BadCallback("unknown_event")
        return GatewayEvent(
            event_id=callback.event_id,
            kind=kind,
            payment_no=told.out_trade_no,
            refund_no=told.out_refund_no,
            amount=to_yuan(told.amount.refund),
            at=told.success_time or callback.created_at,
            transaction_id=told.transaction_id,
        )

    def _ours(self, mchid: str) -> None:
        if mchid != self._wechat.merchant.mchid:
            raise BadCallback("other_merchant")

    async def bill(self, day: date) -> Bill:
        out = datetime.combine(day + timedelta(days=1), BILL_IS_OUT, BEIJING)
        if self._clock() < out:
            raise GatewayUnavailable("bill_not_out")
        call = self._wechat.sdk.trade_bill(day.isoformat(), "ALL", "GZIP")
        try:
            answer = await self._wechat.ask(BillAnswer, call)
        except WechatRefused as refused:
            if refused.wechat_code == "NO_STATEMENT_EXIST":
                return Bill()
            raise
        file = await self._wechat.download(answer.download_url)
        # A large merchant's day is many megabytes: not in the loop that others wait for.
        return await asyncio.to_thread(
            lambda: read_bill(unpacked(file, answer.hash_value), self._trade)
        )


def _payment(payment_no: str, told: Transaction) -> GatewayPayment:
    known = _payment_told(told)
    if known is None or known.payment_no != payment_no:
        raise GatewayUnavailable("bad_answer")
    return known


def _payment_told(told: Transaction) -> GatewayPayment | None:
    """None when it makes no sense."""
    state = PAYMENT_STATES.get(told.trade_state)
    if state is None or (told.amount and told.amount.currency != CURRENCY):
        return None
    paid = state is PaymentState.PAID
    if paid and not (told.amount and told.success_time and told.transaction_id):
        return None
    return GatewayPayment(
        payment_no=told.out_trade_no,
        state=state,
        amount=to_yuan(told.amount.total) if told.amount else None,
        paid_at=told.success_time if paid else None,
        transaction_id=told.transaction_id if paid else None,
    )


def _refund(told: Refund) -> GatewayRefund:
    state = REFUND_STATES.get(told.status)
    if state is None:
        raise GatewayUnavailable("bad_answer")
    return GatewayRefund(
        refund_no=told.out_refund_no,
        state=state,
        payment_no=told.out_trade_no,
        amount=to_yuan(told.amount.refund),
        finished_at=told.success_time,
        gateway_refund_no=told.refund_id,
    )


def _read(model: type[Model], callback: Callback) -> Model:
    try:
        return model.model_validate(callback.resource)
    except ValidationError:
        raise BadCallback("bad_body") from None


def _fen(amount: Decimal) -> int:
    fen = to_fen(amount)
    if fen > LONGEST:
        raise GatewayRefused("bad_amount")
    return fen


def _checked(pattern: re.Pattern[str], number: str) -> str:
    # No number of ours has another letter, and a path is no place to find out.
    if not pattern.fullmatch(number):
        raise GatewayRefused("invalid_request")
    return number
