"""A doctor's day: sessions (出诊), the queue (就诊队列), calling (叫号). The desk looks on."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Annotated, Any

from fastapi import Depends, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from api.appointment_orders import APPOINTMENTS, person_of, stake_of, symptoms_of
from api.commands import allow
from api.context import Context, CurrentCaller, InContext, Transaction, doctor_of, require
from api.documented import refusals
from api.fields import today_at
from api.idempotency import Once, OnceOnly
from api.problems import Problem
from api.routing import Router
from api.schedules import wanted_days
from api.schemas.base import Page
from api.schemas.paging import Day, Id, InPages
from api.schemas.queue import (
    CalledOrder,
    CallNext,
    DoctorsDay,
    DoctorSession,
    DoctorsPatient,
    DoctorsSessionQueue,
    QueuedPatient,
    SessionQueue,
)
from db.appointment import (
    Calling,
    NoSuchSession,
    QueueEntry,
    SessionCalledOff,
    SessionFigures,
    SessionsWanted,
    call_again,
    call_next,
    find_in_queue,
    find_session,
    list_sessions,
    pass_over,
    queue_of_day,
    queue_of_session,
)
from domain.access import APPOINTMENT, Action, Caller, Capacity, office
from domain.appointment import AppointmentStatus

router = Router(tags=["queue"])

REFUSED = refusals("not_authenticated", "forbidden")
CALLED = (
    "not_authenticated",
    "forbidden",
    "not_found",
    "invalid",
    "idempotency_mismatch",
    "unavailable",
    "called_off",
)
Act = Callable[[AsyncConnection, Calling], Awaitable[str]]


# Looking


@router.get(
    "/doctors/me/sessions",
    summary="A doctor's own sessions",
    responses=refusals("not_authenticated", "forbidden", "invalid"),
)
async def get_sessions(
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    days: Annotated[tuple[date, date], Depends(wanted_days)],
    paging: InPages,
) -> Page[DoctorSession]:
    """In order of time, from today on when no day is named; also withdrawn and past ones."""
    wanted = SessionsWanted(
        context.hospital_id, _doctor(caller).doctor_id, *days, paging.page, paging.size
    )
    sessions, total = await list_sessions(connection, wanted)
    items = [DoctorSession(**_figures(session)) for session in sessions]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.get("/doctors/me/queue", summary="A doctor's patients of a day", responses=REFUSED)
async def get_my_queue(
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    date: Annotated[Day | None, Query(description="Default: today.")] = None,
) -> DoctorsDay:
    """Session by session: who is here in the order of their turn, then who is expected. Who was
    seen, cancelled or did not come is not in the queue."""
    doctor_id = _doctor(caller).doctor_id
    day = date or today_at(context.config.hospital)
    wanted = SessionsWanted(context.hospital_id, doctor_id, day, day)
    sessions, _ = await list_sessions(connection, wanted)
    entries = await queue_of_day(connection, context.hospital_id, doctor_id, day)
    await _note_readings(connection, caller, Capacity.ITS_DOCTOR, entries)
    queues = [
        DoctorsSessionQueue(
            **_figures(session),
            patients=[_patient(context, e) for e in entries if e.order.schedule_id == session.id],
        )
        for session in sessions
    ]
    return DoctorsDay(date=day, sessions=queues)


@router.get(
    "/schedules/{id}/queue",
    summary="The queue of a session, for the desk",
    responses=refusals("not_authenticated", "forbidden", "not_found"),
)
async def get_queue(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> SessionQueue:
    """For operators and nurses: names and numbers, nothing of why somebody comes."""
    require(caller, Action.SEE_QUEUES)
    session = await find_session(connection, context.hospital_id, id)
    if session is None:
        raise Problem("not_found")
    entries = await queue_of_session(connection, context.hospital_id, id)
    await _note_readings(connection, caller, office(caller), entries)
    patients = [QueuedPatient(**_shown(context, entry)) for entry in entries]
    return SessionQueue(**_figures(session), patients=patients)


# Calling


@router.post(
    "/doctors/me/queue/call-next",
    summary="Call the next patient",
    responses=refusals(*CALLED, "queue_empty"),
)
async def call_next_patient(
    wanted: CallNext, caller: CurrentCaller, context: InContext, once: Once
) -> DoctorsPatient:
    """Who is here, was not called and has the lowest number. Nobody is called twice by this, from
    however many screens. 409 `queue_empty` when nobody waits."""

    async def act(connection: AsyncConnection, by: Calling) -> str:
        try:
            order_no = await call_next(connection, by, wanted.schedule_id)
        except NoSuchSession:
            raise Problem("not_found") from None
        if order_no is None:
            raise Problem("queue_empty")
        return order_no

    return await _call(context, caller, once, act)


@router.post(
    "/doctors/me/queue/recall",
    summary="Call a patient again",
    responses=refusals(*CALLED, "not_allowed", "not_called"),
)
async def recall_patient(
    wanted: CalledOrder, caller: CurrentCaller, context: InContext, once: Once
) -> DoctorsPatient:
    """Who was called and has not come yet, also after being passed over (过号重呼)."""
    return await _call(context, caller, once, _on_order(context, caller, wanted, call_again))


@router.post(
    "/doctors/me/queue/pass",
    summary="Pass over a patient who was called and does not come",
    responses=refusals(*CALLED, "not_allowed", "not_called"),
)
async def pass_over_patient(
    wanted: CalledOrder, caller: CurrentCaller, context: InContext, once: Once
) -> DoctorsPatient:
    """They wait again, with a number behind everyone (过号)."""
    return await _call(context, caller, once, _on_order(context, caller, wanted, pass_over))


def _on_order(
    context: Context,
    caller: Caller,
    wanted: CalledOrder,
    do: Callable[[AsyncConnection, Calling, str], Awaitable[bool]],
) -> Act:
    async def act(connection: AsyncConnection, by: Calling) -> str:
        entry = await _entry(context, connection, wanted.order_no)
        allow(caller, APPOINTMENT, Action.CALL, stake_of(entry.order))
        if not await do(connection, by, wanted.order_no):
            status = (await _entry(context, connection, wanted.order_no)).order.status
            here = status == AppointmentStatus.CHECKED_IN
            raise Problem("not_called" if here else "not_allowed", orderStatus=status)
        return wanted.order_no

    return act


async def _call(context: Context, caller: Caller, once: OnceOnly, act: Act) -> DoctorsPatient:
    """The patient as they now stand in the queue; a repeat under the same key calls nobody."""
    by = _doctor(caller)
    async with context.engine.begin() as connection:
        order_no = await once.answered(connection)
        if order_no is None:
            try:
                order_no = await act(connection, by)
            except SessionCalledOff:
                raise Problem("called_off") from None
            await once.remember(connection, order_no)
        entry = await _entry(context, connection, order_no)
        await APPOINTMENTS.note_reading(
            connection, caller, Capacity.ITS_DOCTOR, entry.order, Action.CALL
        )
    context.doorbell.ring()
    return _patient(context, entry)


async def _entry(context: Context, connection: AsyncConnection, order_no: str) -> QueueEntry:
    entry = await find_in_queue(connection, context.hospital_id, order_no)
    if entry is None:
        raise Problem("not_found")
    return entry


def _doctor(caller: Caller) -> Calling:
    doctor_id = doctor_of(caller, Action.HOLD_SESSIONS)
    return Calling(caller.hospital_id, doctor_id, caller.account_id)


# Showing


async def _note_readings(
    connection: AsyncConnection, caller: Caller, capacity: Capacity, entries: Sequence[QueueEntry]
) -> None:
    for entry in entries:
        await APPOINTMENTS.note_reading(connection, caller, capacity, entry.order, "queue")


def _figures(session: SessionFigures) -> dict[str, Any]:
    return {**vars(session), "available_sources": session.total_sources - session.used_sources}


def _patient(context: Context, entry: QueueEntry) -> DoctorsPatient:
    return DoctorsPatient(**_shown(context, entry), symptoms=symptoms_of(context, entry.order))


def _shown(context: Context, entry: QueueEntry) -> dict[str, Any]:
    order = entry.order
    person = person_of(context, order)
    return {
        "id": order.id,
        "order_no": order.order_no,
        "patient_id": order.patient_id,
        "name": person["name"],
        "gender": person["gender"],
        "age": person["age"],
        "queue_number": order.queue_number,
        "status": order.status,
        "check_in_time": order.check_in_time,
        "late": entry.late,
        "calls": entry.calls,
        "called_at": entry.called_at,
        "passed_at": entry.passed_at,
    }
