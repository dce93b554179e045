"""Calling a doctor's session off (停诊), and how far that is."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Path
from sqlalchemy.ext.asyncio import AsyncConnection

from api.commands import Command, carry_out
from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.fields import today_at
from api.idempotency import Once, OnceOnly
from api.orders import COMMANDED
from api.problems import Problem
from api.routing import Router
from api.schemas.appointment import OperatorReason
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from api.schemas.stop import AtDesk, StopDetails, StopProgress, StopSession
from api.words import audit_with_words
from db.stop_clinic import (
    NewStop,
    ScheduleUnknown,
    SessionOver,
    find_progress,
    list_stops,
    mark_affected,
    orders_at_desk,
    stop_clinic,
    stop_of_schedule,
)
from domain.access import Action, Caller, Capacity
from domain.order import NumberPrefix, new_number
from workflows.commands import Command as ByPerson

router = Router(tags=["stop-clinic"])

SEEN = refusals("not_authenticated", "forbidden", "not_found", "unavailable")
StopNo = Annotated[str, Path(alias="stopNo", min_length=1, max_length=64)]


@router.post(
    "/schedules/{id}/stop",
    status_code=202,
    summary="Call a session off",
    responses=refusals(
        "not_authenticated",
        "forbidden",
        "not_found",
        "invalid",
        "session_over",
        "idempotency_mismatch",
        "unavailable",
    ),
)
async def stop(
    id: Id,
    caller: CurrentCaller,
    context: InContext,
    once: Once,
    wanted: StopSession | None = None,
) -> StopDetails:
    """Nobody can book it from now on; its patients are told one after another, and choose another
    slot or the money. Called off before, it answers with the progress of that."""
    require(caller, Action.MANAGE_SCHEDULES)
    wanted = wanted or StopSession()
    new = NewStop(
        hospital_id=context.hospital_id,
        schedule_id=id,
        scope=wanted.scope,
        stop_no=new_number(NumberPrefix.STOP_CLINIC, today_at(context.config.hospital)),
        account_id=caller.account_id,
        choose_within=f"{context.config.policies.appointment.choose_within.total_seconds()} s",
    )
    async with context.engine.begin() as connection:
        stop_no = await once.answered(connection)
        if stop_no is None:
            stop_no = await _stop(context, connection, caller, new, wanted.reason)
            await once.remember(connection, stop_no)
    context.doorbell.ring()
    async with context.engine.begin() as connection:
        await mark_affected(connection, stop_no)
    async with context.engine.connect() as connection:
        return await _details(context, connection, stop_no)


async def _stop(
    context: Context, connection: AsyncConnection, caller: Caller, new: NewStop, reason: str | None
) -> str:
    try:
        stop_no, is_new = await stop_clinic(connection, new)
    except ScheduleUnknown:
        raise Problem("not_found") from None
    except SessionOver:
        raise Problem("session_over") from None
    if is_new:
        await audit_with_words(context, connection, caller, "session_stopped", stop_no, reason)
    return stop_no


@router.get("/schedules/{id}/stop", summary="How far calling it off is", responses=SEEN)
async def get_stop_of_schedule(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> StopDetails:
    require(caller, Action.SEE_QUEUES)
    stop_no = await stop_of_schedule(connection, id)
    if stop_no is None:
        raise Problem("not_found")
    return await _details(context, connection, stop_no)


@router.get("/ops/stops", summary="Sessions that were called off", responses=SEEN)
async def get_stops(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[StopProgress]:
    """Newest first."""
    require(caller, Action.SEE_QUEUES)
    stops, total = await list_stops(
        connection, context.hospital_id, page=paging.page, size=paging.size
    )
    items = [StopProgress(**asdict(one)) for one in stops]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.get("/ops/stops/{stopNo}", summary="One of them", responses=SEEN)
async def get_stop(
    stop_no: StopNo,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
) -> StopDetails:
    require(caller, Action.SEE_QUEUES)
    return await _details(context, connection, stop_no)


@router.post(
    "/ops/stops/{stopNo}/pause",
    summary="Tell no further patient for now",
    response_model=StopDetails,
    responses=COMMANDED,
)
async def pause(
    stop_no: StopNo,
    wanted: OperatorReason,
    caller: CurrentCaller,
    context: InContext,
    once: Once,
) -> Any:
    """The session stays withdrawn, and those who know keep their choice. 409 when everybody has
    been told."""
    return await _command(context, caller, stop_no, "pause", wanted.reason, once)


@router.post(
    "/ops/stops/{stopNo}/resume",
    summary="Go on telling patients",
    response_model=StopDetails,
    responses=COMMANDED,
)
async def resume(
    stop_no: StopNo,
    wanted: OperatorReason,
    caller: CurrentCaller,
    context: InContext,
    once: Once,
) -> Any:
    return await _command(context, caller, stop_no, "resume", wanted.reason, once)


async def _command(
    context: Context, caller: Caller, stop_no: str, update: str, reason: str, once: OnceOnly
) -> Any:
    require(caller, Action.STEER_STOPS)

    async def details() -> StopDetails:
        async with context.engine.connect() as connection:
            return await _details(context, connection, stop_no)

    async def status_now() -> str:
        return (await details()).status

    async def note_down(connection: AsyncConnection) -> None:
        await audit_with_words(context, connection, caller, f"stop_{update}", stop_no, reason)

    await details()  # 404 before anything is asked
    arg = ByPerson(Capacity.OPERATOR, caller.account_id)
    return await carry_out(
        context,
        caller,
        Command("stop_clinic", stop_no, Action.STEER_STOPS, update, arg),
        once,
        note_down=note_down,
        status_now=status_now,
        answer=details,
        location=f"/api/hospital/ops/stops/{stop_no}",
    )


async def _details(context: Context, connection: AsyncConnection, stop_no: str) -> StopDetails:
    found = await find_progress(connection, context.hospital_id, stop_no)
    if found is None:
        raise Problem("not_found")
    desk = await orders_at_desk(connection, stop_no)
    return StopDetails(
        **asdict(found), desk=[AtDesk(order_no=no, queue_number=number) for no, number in desk]
    )
