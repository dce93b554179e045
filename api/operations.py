"""What operators do to any order: audited, with a reason, through the order's own workflow."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query, Request

from api.appointments import COMMANDED, keep_note, order_command
from api.commands import Command
from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.idempotency import Once
from api.orders import appointment_order
from api.problems import Problem, prefers_english
from api.rescheduling import SLOT
from api.schemas.appointment import AppointmentOrder, ExtendOrder, OperatorReason
from api.schemas.base import Page
from api.schemas.operations import OpenKind, OpenOrder, ReassignOrder
from api.schemas.paging import InPages
from api.steps import of_order
from db.appointment import Appointment, find_order
from db.resume import resume
from db.waiting import WantedOrders, list_open_orders
from domain.access import Action, Caller, Capacity, Role
from domain.message import Language
from workflows.commands import Command as ByPerson
from workflows.commands import Extend, Reschedule

router = APIRouter(prefix="/ops/orders", tags=["operations"])

OrderNo = Annotated[str, Path(alias="orderNo", min_length=1, max_length=64)]


@router.get(
    "",
    summary="What every open order waits for",
    responses=refusals("not_authenticated", "forbidden", "invalid", "unavailable"),
)
async def get_open_orders(
    request: Request,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    paging: InPages,
    kind: OpenKind | None = None,
    status: Annotated[str | None, Query(max_length=32)] = None,
    waiting_for: Annotated[str | None, Query(alias="waitingFor", max_length=32)] = None,
    overdue: Annotated[bool, Query(description="only those whose time is past")] = False,
) -> Page[OpenOrder]:
    """The soonest due first: for whom it waits, since when, and what happens by itself next and
    when. What waits for staff is in `GET /work-items`."""
    require(caller, Action.OVERSEE)
    policy, zone = context.config.policies.payment, context.config.hospital.time_zone
    found, total = await list_open_orders(
        connection,
        WantedOrders(
            hospital_id=context.hospital_id,
            zone=zone,
            settle_grace=f"{policy.settle_grace.total_seconds()} s",
            refund_retry_for=f"{policy.refund_retry_for.total_seconds()} s",
            kind=kind,
            status=status,
            waiting_for=waiting_for,
            overdue=overdue,
            page=paging.page,
            size=paging.size,
        ),
    )
    language = Language.EN if prefers_english(request) else Language.ZH
    items = [
        OpenOrder(
            **asdict(order),
            next_step_text=of_order(order.next_step, order.due, language, ZoneInfo(zone)),
            workflow_id=_workflow_of(order.kind, order.order_no),
        )
        for order in found
    ]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


def _workflow_of(kind: str, number: str) -> str | None:
    return None if kind == "refund" else f"{kind}/{number}"  # a refund lives in its payment's


@router.post(
    "/{orderNo}/reassign",
    summary="Move an order to another slot or doctor",
    response_model=AppointmentOrder,
    responses=SLOT,
)
async def reassign(
    order_no: OrderNo, wanted: ReassignOrder, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """At the same price, also after the patient's own deadline. The patient is told."""
    order = await _order(context, caller, order_no)
    arg = Reschedule(ByPerson(Capacity.OPERATOR, caller.account_id), wanted.schedule_id)
    command = Command("appointment", order_no, Action.REASSIGN_ORDER, "reschedule", arg)
    return await order_command(context, caller, order.id, command, once, wanted.reason)


@router.post(
    "/{orderNo}/retry",
    summary="Begin the lost workflows of an order again",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "invalid", "idempotency_mismatch",
        "unavailable",
    ),
)  # fmt: skip
async def retry(
    order_no: OrderNo, wanted: OperatorReason, caller: CurrentCaller, context: InContext, once: Once
) -> AppointmentOrder:
    """From their rows: the order's own if it is open, and those of its payments and refunds that
    are not finished. What runs is left alone, so a repeat does no harm."""
    order = await _order(context, caller, order_no)
    async with context.engine.begin() as connection:
        if await once.answered(connection) is None:
            await keep_note(
                context, connection, caller, Capacity.OPERATOR, order, Action.RETRY, wanted.reason
            )
            await resume(connection, order_no)
            await once.remember(connection, order_no)
    context.doorbell.ring()
    return appointment_order(context, order)


@router.post(
    "/{orderNo}/extend",
    summary="Give an unpaid order more time",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def extend(
    order_no: OrderNo, wanted: ExtendOrder, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """From its present deadline, at the latest until the slot begins."""
    order = await _order(context, caller, order_no)
    later = order.pay_by + timedelta(minutes=wanted.minutes)
    arg = Extend(ByPerson(Capacity.OPERATOR, caller.account_id), min(later, order.starts_at))
    command = Command("appointment", order_no, Action.EXTEND, "extend", arg)
    return await order_command(context, caller, order.id, command, once, wanted.reason)


@router.post(
    "/{orderNo}/cancel-and-refund",
    summary="Cancel an order and return all that was paid",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def cancel_and_refund(
    order_no: OrderNo, wanted: OperatorReason, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    order = await _order(context, caller, order_no)
    arg = ByPerson(Capacity.OPERATOR, caller.account_id)
    command = Command("appointment", order_no, Action.CANCEL_AND_REFUND, "cancel", arg)
    return await order_command(context, caller, order.id, command, once, wanted.reason)


async def _order(context: Context, caller: Caller, order_no: str) -> Appointment:
    """Problem `forbidden` for anybody but operators, whether or not there is such an order."""
    if Role.OPERATOR not in caller.roles:
        raise Problem("forbidden")
    async with context.engine.connect() as connection:
        order = await find_order(connection, context.hospital_id, order_no)
    if order is None:
        raise Problem("not_found")
    return order
