"""Booking (预约挂号) and keeping an appointment. A route is one message."""

import datetime as dt
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection

from api.appointment_orders import APPOINTMENTS, appointment_order, is_paid
from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.fields import today_at
from api.idempotency import Once, OnceOnly
from api.orders import COMMANDED, Asked, timeline_entry
from api.problems import Problem
from api.routing import Router
from api.schemas.appointment import AppointmentOrder, NewAppointment, Note, TimelineEntry
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from api.schemas.queue import PlaceInQueue
from db.account import (
    hold_patient,
    sealing_key_of_patient,
)
from db.appointment import (
    Appointment,
    OrderFilter,
    book,
    list_appointments,
    place_in_queue,
)
from db.appointment import NewAppointment as NewRow
from db.base import driver_of
from db.journal import read_timeline
from domain.access import Action, Caller, Capacity, Role, office
from domain.appointment import AppointmentStatus
from domain.order import NumberPrefix, new_number
from workflows.commands import Command as WorkflowCommand

router = Router(prefix="/appointments", tags=["appointments"])

NOT_FOUND = frozenset({"patient_unknown", "schedule_unknown"})
SEEN = refusals("not_authenticated", "not_found")


@router.post(
    "",
    status_code=201,
    summary="Book a source of a slot",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "invalid", "slot_full", "slot_begun",
        "schedule_unavailable", "not_open_yet", "not_offered", "already_booked", "daily_limit",
        "suspended", "booking_refused", "idempotency_mismatch", "unavailable",
    ),
)  # fmt: skip
async def book_appointment(
    new: NewAppointment, caller: CurrentCaller, context: InContext, once: Once
) -> AppointmentOrder:
    """Take one source and hold it until `payBy`. It is paid by `POST /payments`."""
    require(caller, Action.BOOK)
    if new.patient_id is not None and new.symptoms is None:
        # The common way is one statement, which is its own transaction.
        row = _row(context, caller, new, once, new.patient_id)
        async with context.direct.connection() as driver:
            code, order = await book(driver, row, context.booking_rules)
        made = _made(context, code, order)
    else:
        async with context.engine.begin() as connection:
            patient_id, held = await _patient(context, connection, caller, new)
            symptoms = await _seal_symptoms(context, connection, caller, patient_id, new.symptoms)
            row = _row(context, caller, new, once, patient_id, held=held, symptoms=symptoms)
            code, order = await book(await driver_of(connection), row, context.booking_rules)
            made = _made(context, code, order)  # a refusal undoes the person too
    context.doorbell.ring()
    return appointment_order(context, made)


def _row(
    context: Context,
    caller: Caller,
    new: NewAppointment,
    once: OnceOnly,
    patient_id: int,
    *,
    held: bool = True,
    symptoms: bytes | None = None,
) -> NewRow:
    return NewRow(
        hospital_id=context.hospital_id,
        account_id=caller.account_id,
        schedule_id=new.schedule_id,
        patient_id=patient_id,
        held=held,
        order_no=new_number(NumberPrefix.APPOINTMENT, today_at(context.config.hospital)),
        symptoms=symptoms,
        key=once.key,
        body_hash=once.body_hash if once.key else None,
    )


def _made(context: Context, code: str, order: Appointment | None) -> Appointment:
    """The order that was made, or the one made before under this key. Problem for a refusal."""
    context.metrics.booking(code)
    if order is None:
        raise Problem("not_found" if code in NOT_FOUND else code)
    return order


async def _patient(
    context: Context, connection: AsyncConnection, caller: Caller, new: NewAppointment
) -> tuple[int, bool]:
    """The person to book for, and whether the account held them before this request."""
    if new.patient_id is not None:
        return new.patient_id, True
    if new.patient_info is None:
        raise Problem.of_field("patientInfo", "give either patientInfo or patientId")
    person = new.patient_info.person(today_at(context.config.hospital))
    held = await hold_patient(
        connection, context.keyring, context.hospital_id, caller.account_id, person
    )
    if not held.same_name:
        raise Problem.of_field(
            "patientInfo.name", "you hold a person with this ID number under another name"
        )
    return held.id, not held.created


async def _seal_symptoms(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    patient_id: int,
    symptoms: str | None,
) -> bytes | None:
    if symptoms is None:
        return None
    key = await sealing_key_of_patient(connection, context.keyring, caller.account_id, patient_id)
    if key is None:
        raise Problem("not_found")
    return key.key.seal({"symptoms": symptoms})


# Looking


@router.get("", summary="List appointments", responses=refusals("invalid", "not_authenticated"))
async def get_appointments(
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    paging: InPages,
    status: AppointmentStatus | None = None,
    date: Annotated[dt.date | None, Query(description="of the visit")] = None,
    mine: Annotated[bool, Query(description="Also for staff: one's own, as a patient.")] = False,
) -> Page[AppointmentOrder]:
    """A patient's own; a doctor's patients; everything for operators and nurses. Newest first."""
    account_id, doctor_id, capacity = _scope(caller, mine=mine)
    wanted = OrderFilter(
        hospital_id=context.hospital_id,
        account_id=account_id,
        doctor_id=doctor_id,
        status=status,
        date=date,
        page=paging.page,
        size=paging.size,
    )
    orders, total = await list_appointments(connection, wanted)
    for order in orders:
        await APPOINTMENTS.note_reading(connection, caller, capacity, order, "list")
    items = [appointment_order(context, order) for order in orders]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


def _scope(caller: Caller, *, mine: bool) -> tuple[int | None, int | None, Capacity]:
    if mine:
        return caller.account_id, None, Capacity.OWNER
    if caller.roles & {Role.OPERATOR, Role.NURSE}:
        return None, None, office(caller)
    if caller.doctor_id is not None:
        return None, caller.doctor_id, Capacity.ITS_DOCTOR
    return caller.account_id, None, Capacity.OWNER


@router.get("/{id}", summary="One appointment", responses=SEEN)
async def get_appointment(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> AppointmentOrder:
    order, capacity = await APPOINTMENTS.allowed(context, connection, caller, id, Action.SEE)
    await APPOINTMENTS.note_reading(connection, caller, capacity, order, "read")
    return appointment_order(context, order)


@router.get("/{id}/timeline", summary="What happened to it, oldest first", responses=SEEN)
async def get_timeline(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> list[TimelineEntry]:
    order, capacity = await APPOINTMENTS.allowed(context, connection, caller, id, Action.SEE)
    await APPOINTMENTS.note_reading(connection, caller, capacity, order, "timeline")
    return [timeline_entry(move) for move in await read_timeline(connection, order.order_no)]


@router.get("/{id}/queue", summary="Where the patient stands in the queue", responses=SEEN)
async def get_place(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> PlaceInQueue:
    """Light enough to be asked every few seconds."""
    order, capacity = await APPOINTMENTS.allowed(context, connection, caller, id, Action.SEE)
    await APPOINTMENTS.note_reading(connection, caller, capacity, order, "queue")
    place = await place_in_queue(connection, order.id)
    return PlaceInQueue.model_validate(
        vars(place) | {"queue_number": order.queue_number if is_paid(order) else None}
    )


# Commands


@router.post(
    "/{id}/cancel",
    summary="Cancel; free until the deadline",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def cancel(
    id: Id, caller: CurrentCaller, context: InContext, once: Once, note: Note | None = None
) -> Any:
    """409 `late_cancel` after the deadline in `terms`. What was paid goes back."""
    return await _command(
        context, caller, id, Action.CANCEL, "cancel", once, note.note if note else None
    )


@router.post(
    "/{id}/check-in",
    summary="Say that the patient is here",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def check_in(id: Id, caller: CurrentCaller, context: InContext, once: Once) -> Any:
    """409 `check_in_not_open` before the window opens."""
    return await _command(context, caller, id, Action.CHECK_IN, "check_in", once)


@router.post(
    "/{id}/complete",
    summary="The visit is over",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def complete(id: Id, caller: CurrentCaller, context: InContext, once: Once) -> Any:
    return await _command(context, caller, id, Action.COMPLETE, "complete", once)


async def _command(
    context: Context,
    caller: Caller,
    id: int,
    action: Action,
    update: str,
    once: OnceOnly,
    note: str | None = None,
) -> Any:
    """A command that says nothing but who asks."""
    order, capacity = await APPOINTMENTS.opened(context, caller, id, action)
    asked = Asked(action, update, WorkflowCommand(capacity, caller.account_id))
    return await APPOINTMENTS.ask(context, caller, order, capacity, asked, once, note)
