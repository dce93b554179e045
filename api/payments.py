"""Paying an order, and what the gateway calls back."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import structlog
from fastapi import Path, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from activities.gateways.payment import (
    BadCallback,
    BadSignature,
    EventKind,
    GatewayError,
    GatewayEvent,
    GatewayRefused,
    Payer,
    PaymentGateway,
)
from activities.lifecycles import NoLifecycle
from api.commands import FINISH_WITHIN, allow
from api.context import Context, CurrentCaller, InContext, Transaction
from api.documented import refusals
from api.fields import today_at
from api.forgeries import note_forgery
from api.idempotency import Once, OnceOnly
from api.problems import KINDS, Problem, answer
from api.routing import Router
from api.schemas.base import Schema
from api.schemas.payment import NewPayment, Payment, Refund
from api.schemas.payment import Payer as NewPayer
from db.outbox import promise, receive
from db.payable import lock_payable
from db.payment import (
    Payment as PaymentRecord,
)
from db.payment import (
    find_payment,
    keep_pay_url,
    open_payment,
    owner_of,
    refunds_of,
)
from domain.access import APPOINTMENT, CONSULTATION, Action, Caller, Stake
from domain.order import NumberPrefix, OrderKind, kind_of, new_number
from domain.payment import PaymentStatus, Settlement

log = structlog.get_logger(__name__)
router = Router(prefix="/payments", tags=["payments"])

PayParams = Mapping[str, str] | None
RULES = {OrderKind.APPOINTMENT: APPOINTMENT, OrderKind.CONSULTATION: CONSULTATION}

# What the payment's workflow hears of an event.
MONEY = ("amount", "at", "transaction_id")
REFUND = ("refund_no",)


@router.post(
    "",
    status_code=201,
    summary="Pay an order",
    responses={
        200: {"description": "The order's payment that is open already", "model": Payment},
        **refusals(
            "not_authenticated", "forbidden", "not_found", "not_payable", "channel_unavailable",
            "payment_refused", "invalid", "idempotency_mismatch", "try_again", "unavailable",
        ),
    },
)  # fmt: skip
async def pay(
    new: NewPayment, caller: CurrentCaller, context: InContext, once: Once, response: Response
) -> Payment:
    """Opens a payment at the gateway and says where to pay (`payUrl`), or what the payer's app
    hands to WeChat (`payParams`). While one is open on this channel, it comes back. One that is
    open on another, or that ran out while the order was given more time, is closed first, and a new
    one opened; if it was paid, that one comes back."""
    try:
        payment, made = await _opened(context, caller, new, once)
    except _InTheWay as other:
        await _settle(context, other.payment_no)
        try:
            payment, made = await _opened(context, caller, new, once, settled=other.payment_no)
        except _InTheWay:  # somebody asks for the other channel at the same time
            raise Problem("try_again") from None
    context.doorbell.ring()
    payment, params = await _prepaid(context, payment, new.payer)
    if not made:
        response.status_code = 200
    async with context.engine.connect() as connection:
        return await _shown(connection, payment, params)


class _InTheWay(Exception):
    """The order has an open payment that is of no use: opened for another way of paying, or one
    that nobody can pay at the gateway any more. What was begun for this request is rolled back."""

    def __init__(self, payment_no: str) -> None:
        super().__init__(payment_no)
        self.payment_no = payment_no


async def _opened(
    context: Context,
    caller: Caller,
    new: NewPayment,
    once: OnceOnly,
    settled: str | None = None,
) -> tuple[PaymentRecord, bool]:
    """The order's payment, and whether it is this request's. `settled`: one that was just asked
    to settle; if money was in it, it is the answer."""
    async with context.engine.begin() as connection:
        earlier = await once.answered(connection)
        if earlier is not None:
            return await _found(connection, earlier), True
        payment, made = None, False
        if settled is not None:
            standing = await _found(connection, settled)
            payment = standing if standing.status is PaymentStatus.PAID else None
        if payment is None:
            payment, made = await _open(context, connection, caller, new)
        if not made and _in_the_way(payment, new.channel):
            raise _InTheWay(payment.payment_no)
        await once.remember(connection, payment.payment_no)
        return payment, made


def _in_the_way(payment: PaymentRecord, channel: str) -> bool:
    """Of an order that may still be paid: its own deadline is what a payment is opened with."""
    useless = payment.channel != channel or payment.expires_at <= datetime.now(UTC)
    return payment.status is PaymentStatus.PENDING and useless


async def _settle(context: Context, payment_no: str) -> None:
    """Have the payment's own workflow close it, or find that it was paid: two codes for one order
    are never good at once. Problem `try_again` while its gateway does not answer."""
    asking = context.lifecycles.ask(
        "payment", payment_no, "settle_or_close", result=Settlement, update_id="in_the_way"
    )
    try:
        await asyncio.wait_for(asking, FINISH_WITHIN.total_seconds())
    except NoLifecycle:  # over already
        return
    except (TimeoutError, RPCError, RuntimeError, WorkflowUpdateRPCTimeoutOrCancelledError):
        raise Problem("try_again", retry_after=2) from None


async def _open(
    context: Context, connection: AsyncConnection, caller: Caller, new: NewPayment
) -> tuple[PaymentRecord, bool]:
    order = await lock_payable(connection, context.hospital_id, new.order_no)
    if order is None:
        raise Problem("not_found")
    allow(caller, RULES[order.kind], Action.PAY, Stake(order.account_id, order.doctor_id))
    if not order.payable:
        raise Problem("not_payable", orderStatus=order.status)
    if new.channel not in context.config.policies.payment.channels:
        raise Problem("channel_unavailable")
    if (gateway := context.payments.get(new.channel)) is None:
        raise Problem("channel_unavailable")
    if gateway.needs_payer and new.payer is None:
        raise Problem.of_field("payer", "is needed for this channel")
    return await open_payment(
        connection,
        hospital_id=context.hospital_id,
        account_id=caller.account_id,
        payment_no=new_number(NumberPrefix.PAYMENT, today_at(context.config.hospital)),
        order_no=order.order_no,
        amount=order.price,
        channel=new.channel,
        expires_at=order.pay_by,
    )


async def _prepaid(
    context: Context, payment: PaymentRecord, payer: NewPayer | None
) -> tuple[PaymentRecord, PayParams]:
    """With what to pay by. The row stands first, so that no money comes for an unknown payment; a
    request that died before this is made good by the next one. One that was closed meanwhile is
    not offered again. Where the payer must be named, nothing is kept: the gateway is asked again,
    with who it is this time."""
    if payment.pay_url is not None or payment.status is not PaymentStatus.PENDING:
        return payment, None
    gateway = context.payments.get(payment.channel)
    if gateway is None:
        raise Problem("channel_unavailable")
    try:
        prepay = await gateway.prepay(
            payment.payment_no,
            amount=payment.amount,
            description=kind_of(payment.order_no) or "order",
            expires_at=payment.expires_at,
            payer=Payer(payer.openid) if payer else None,
        )
    except GatewayError as error:
        log.warning("prepay_failed", payment_no=payment.payment_no, reason=error.code)
        if error.code == "bad_payer":
            raise Problem.of_field("payer.openid", "is not a payer of this app") from None
        if isinstance(error, GatewayRefused):
            raise Problem("payment_refused") from None
        raise Problem("unavailable", retry_after=2) from None
    if prepay.pay_url is None:
        return payment, prepay.pay_params
    async with context.engine.begin() as connection:
        await keep_pay_url(connection, payment.payment_no, prepay.pay_url)
        return await _found(connection, payment.payment_no), None


@router.get(
    "/{paymentNo}", summary="One payment", responses=refusals("not_authenticated", "not_found")
)
async def get_payment(
    payment_no: Annotated[str, Path(alias="paymentNo", max_length=64)],
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
) -> Payment:
    if await owner_of(connection, context.hospital_id, payment_no) != caller.account_id:
        raise Problem("not_found")
    return await _shown(connection, await _found(connection, payment_no))


class CallbackAnswer(Schema):
    code: Literal["SUCCESS", "FAIL"]
    message: str | None = None


def _refused_either_way(*codes: str) -> dict[int | str, dict[str, Any]]:
    """As a problem document, and in WeChat's form."""
    documented = refusals(*codes)
    schema = {"$ref": "#/components/schemas/CallbackAnswer"}
    for one in documented.values():
        one["content"]["application/json"] = {"schema": schema}
    return documented


@router.post(
    "/notify/{channel}",
    summary="What the gateway calls back",
    response_model=CallbackAnswer,
    response_model_exclude_none=True,
    responses=_refused_either_way("bad_signature", "malformed") | refusals("not_found"),
)
async def notify(
    channel: Annotated[str, Path(max_length=64)], request: Request, context: InContext
) -> Any:
    """Verified, kept by its event id, then relayed. A repeat is told `SUCCESS` and changes
    nothing. WeChat is refused in its own form, `{"code": "FAIL", "message": …}`."""
    gateway = context.payments.get(channel)
    if gateway is None:
        raise Problem("not_found")
    body = await request.body()
    try:
        event = gateway.parse_callback(request.headers, body)
    except BadSignature as error:
        await note_forgery(context, request, channel, error.code)
        return _refused(request, gateway, "bad_signature")
    except BadCallback as error:
        log.error("callback_not_understood", channel=channel, reason=error.code)
        return _refused(request, gateway, "malformed")
    async with context.engine.begin() as connection:
        await _take_down(connection, channel, event)
    context.doorbell.ring()
    return {"code": "SUCCESS"}


def _refused(request: Request, gateway: PaymentGateway, code: str) -> Response:
    """The status is the problem's either way."""
    if not gateway.refused_in_own_form:
        return answer(request, Problem(code))
    kind = KINDS[code]
    return JSONResponse({"code": "FAIL", "message": kind.zh}, kind.status)


async def _take_down(connection: AsyncConnection, channel: str, event: GatewayEvent) -> None:
    content = {
        "amount": str(event.amount),
        "at": event.at.isoformat(),
        "transaction_id": event.transaction_id,
        "refund_no": event.refund_no,
    }
    new = await receive(
        connection,
        source=channel,
        event_id=event.event_id,
        subject=event.payment_no,
        kind=event.kind,
        content=content,
    )
    payment = await find_payment(connection, event.payment_no)
    if payment is None or payment.channel != channel:
        log.error("news_of_unknown_payment", channel=channel, payment_no=event.payment_no)
        return
    if not new:
        return
    paid = event.kind is EventKind.PAYMENT_SUCCEEDED
    await promise(
        connection,
        stream=payment.order_no,
        workflow="payment",
        subject=event.payment_no,
        signal="money_taken" if paid else "refund_finished",
        args={name: content[name] for name in (MONEY if paid else REFUND)},
    )


async def _found(connection: AsyncConnection, payment_no: str) -> PaymentRecord:
    payment = await find_payment(connection, payment_no)
    if payment is None:
        raise Problem("not_found")
    return payment


async def _shown(
    connection: AsyncConnection, payment: PaymentRecord, params: PayParams = None
) -> Payment:
    refunds = await refunds_of(connection, payment.payment_no)
    return Payment(
        payment_no=payment.payment_no,
        order_no=payment.order_no,
        amount=payment.amount,
        channel=payment.channel,
        status=payment.status,
        pay_url=payment.pay_url,
        pay_params=None if params is None else dict(params),
        expires_at=payment.expires_at,
        refunds=[Refund.model_validate(refund) for refund in refunds],
    )
