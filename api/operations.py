"""What operators do to any order: audited, with a reason, through the order's own workflow."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Path, Query, Request

from api.appointment_orders import APPOINTMENTS
from api.cases import CONSULTATIONS
from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.gates import refuse_doctor_who_takes_nobody
from api.idempotency import Once, OnceOnly
from api.orders import COMMANDED, Asked, Orders, keep_note
from api.problems import Problem, prefers_english
from api.rescheduling import SLOT
from api.routing import Router
from api.schemas.appointment import AppointmentOrder, ExtendOrder, OperatorReason
from api.schemas.base import Page
from api.schemas.consultation import ConsultationOrder
from api.schemas.operations import OpenKind, OpenOrder, ReassignOrder, RetriedOrder
from api.schemas.paging import InPages
from api.steps import of_order
from api.words import audit_with_words
from db.appointment import Appointment
from db.catalogue import find_doctor
from db.consultation import PROGRESS, Consultation
from db.resume import resume, resume_one
from db.waiting import WantedOrders, find_other, list_open_orders
from domain.access import Action, Caller, Capacity, Role
from domain.consultation.changes import deadline_of
from domain.message import Language
from domain.order import OrderKind, kind_of
from workflows.commands import Command as ByPerson
from workflows.commands import Extend, Reassigned, Reschedule

router = Router(prefix="/ops/orders", tags=["operations"])

AnyOrder = AppointmentOrder | ConsultationOrder
KINDS: dict[OrderKind, Orders[Any]] = {
    OrderKind.APPOINTMENT: APPOINTMENTS,
    OrderKind.CONSULTATION: CONSULTATIONS,
}
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
    summary="Move an appointment to another slot, a consultation to another doctor",
    response_model=AnyOrder,
    responses=SLOT | refusals("doctor_unavailable"),
)
async def reassign(
    order_no: OrderNo, wanted: ReassignOrder, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """At the same price, also after the patient's own deadline. The patient is told. A consultation
    that waits for a doctor by name waits for this one."""
    order = await _order(context, caller, order_no, Action.REASSIGN_ORDER)
    by = ByPerson(Capacity.OPERATOR, caller.account_id)
    if isinstance(order, Consultation):
        if wanted.doctor_id is None:
            raise Problem.of_field("doctorId", "Field required")
        async with context.engine.connect() as connection:
            if await find_doctor(connection, context.hospital_id, wanted.doctor_id) is None:
                raise Problem("not_found")
            await refuse_doctor_who_takes_nobody(context, connection, wanted.doctor_id)
        to_doctor = Reassigned(by, wanted.doctor_id)
        return await _ask(
            context, caller, order, Action.REASSIGN_ORDER, "reassign", to_doctor, once,
            wanted.reason,
        )  # fmt: skip
    if wanted.schedule_id is None:
        raise Problem.of_field("scheduleId", "Field required")
    to_slot = Reschedule(by, wanted.schedule_id)
    return await _ask(
        context, caller, order, Action.REASSIGN_ORDER, "reschedule", to_slot, once, wanted.reason
    )


@router.post(
    "/{orderNo}/retry",
    summary="Begin the lost workflows of an order, a payment, a refund or a stop again",
    response_model=AnyOrder | RetriedOrder,
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "invalid", "idempotency_mismatch",
        "unavailable",
    ),
)  # fmt: skip
async def retry(
    order_no: OrderNo, wanted: OperatorReason, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """From their rows: the order's own if it is open, and those of its payments and refunds that
    are not finished. What runs is left alone, so a repeat does no harm."""
    if kind_of(order_no) is None:
        return await _retry_other(context, caller, order_no, wanted.reason, once)
    order = await _order(context, caller, order_no, Action.RETRY)
    async with context.engine.begin() as connection:
        if await once.answered(connection) is None:
            await keep_note(
                context, connection, caller, Capacity.OPERATOR, order, Action.RETRY, wanted.reason
            )
            await resume(connection, order_no)
            await once.remember(connection, order_no)
    context.doorbell.ring()
    return _orders(order_no).show(context, caller, order, Capacity.OPERATOR)


async def _retry_other(
    context: Context, caller: Caller, number: str, reason: str, once: OnceOnly
) -> RetriedOrder:
    """What is listed and is no order of a patient's."""
    if Role.OPERATOR not in caller.roles:
        raise Problem("forbidden")
    async with context.engine.begin() as connection:
        found = await find_other(connection, context.hospital_id, number)
        if found is None:
            raise Problem("not_found")
        if await once.answered(connection) is None:
            await audit_with_words(context, connection, caller, Action.RETRY, number, reason)
            await resume_one(connection, found.workflow_id)
            await once.remember(connection, number)
    context.doorbell.ring()
    return RetriedOrder(**asdict(found), order_no=number)


@router.post(
    "/{orderNo}/extend",
    summary="Give an order more time for what it waits for",
    response_model=AnyOrder,
    responses=COMMANDED,
)
async def extend(
    order_no: OrderNo, wanted: ExtendOrder, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """From its present deadline. An appointment to be paid: at the latest until the slot begins."""
    order = await _order(context, caller, order_no, Action.EXTEND)
    more = timedelta(minutes=wanted.minutes)
    if isinstance(order, Consultation):
        until = deadline_of(PROGRESS.validate_python(order.progress)) + more
    else:
        until = min(order.pay_by + more, order.starts_at)
    arg = Extend(ByPerson(Capacity.OPERATOR, caller.account_id), until)
    return await _ask(context, caller, order, Action.EXTEND, "extend", arg, once, wanted.reason)


@router.post(
    "/{orderNo}/cancel-and-refund",
    summary="Cancel an order and return all that was paid",
    response_model=AnyOrder,
    responses=COMMANDED,
)
async def cancel_and_refund(
    order_no: OrderNo, wanted: OperatorReason, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    order = await _order(context, caller, order_no, Action.CANCEL_AND_REFUND)
    arg = ByPerson(Capacity.OPERATOR, caller.account_id)
    return await _ask(
        context, caller, order, Action.CANCEL_AND_REFUND, "cancel", arg, once, wanted.reason
    )


async def _ask(
    context: Context,
    caller: Caller,
    order: Appointment | Consultation,
    action: Action,
    update: str,
    arg: object,
    once: OnceOnly,
    reason: str,
) -> Any:
    """`reason` is kept sealed in the audit."""
    asked = Asked(action, update, arg)
    orders = _orders(order.order_no)
    return await orders.ask(context, caller, order, Capacity.OPERATOR, asked, once, reason)


async def _order(
    context: Context, caller: Caller, order_no: str, action: Action
) -> Appointment | Consultation:
    """Problem `forbidden` for anybody but operators, whether or not there is such an order."""
    if Role.OPERATOR not in caller.roles:
        raise Problem("forbidden")
    orders = _orders(order_no)
    async with context.engine.begin() as connection:
        order: Appointment | Consultation | None = await orders.find_by_number(
            connection, context.hospital_id, order_no
        )
        if order is None:
            raise Problem("not_found")
        await orders.note_reading(connection, caller, Capacity.OPERATOR, order, action)
    return order


def _orders(order_no: str) -> Orders[Any]:
    kind = kind_of(order_no)
    if kind is None:
        raise Problem("not_found")
    return KINDS[kind]
