"""When doctors see patients: listing for everybody, scheduling for operators."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import orjson
from fastapi import Depends, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.paging import Day, Id, InPages
from api.schemas.schedule import (
    BatchOutcome,
    BatchSchedule,
    DoctorSchedule,
    ScheduleChange,
    SkippedSlot,
)
from db.journal import audit
from db.schedule import (
    Batch,
    BelowUsed,
    DepartmentUnknown,
    DoctorElsewhere,
    DoctorUnknown,
    ScheduleUnknown,
    ScheduleView,
    Wanted,
    change_schedule,
    check_doctor,
    create_batch,
    find_schedule,
    list_schedules,
    tell_batch,
)
from domain.access import Action, Caller, Role
from domain.hospital import HospitalConfig
from domain.schedule import MAX_BATCH_SOURCES, MAX_LISTED_DAYS, Skipped, days_on, expand

router = Router(prefix="/schedules", tags=["schedules"])


async def wanted_days(
    context: InContext,
    date: Annotated[Day | None, Query(description="This day alone.")] = None,
    start_date: Annotated[
        Day | None, Query(alias="startDate", description="Default: today.")
    ] = None,
    end_date: Annotated[
        Day | None,
        Query(alias="endDate", description=f"At most {MAX_LISTED_DAYS} days, the default."),
    ] = None,
) -> tuple[date, date]:
    """The first and the last day that are asked for."""
    if date is not None:
        if start_date is not None or end_date is not None:
            raise Problem.of_field("date", "either date or startDate and endDate")
        return date, date
    first = start_date or datetime.now(ZoneInfo(context.config.hospital.time_zone)).date()
    last = end_date or first + timedelta(days=MAX_LISTED_DAYS - 1)
    if last < first:
        raise Problem.of_field("endDate", f"not before {first}")
    if (last - first).days >= MAX_LISTED_DAYS:
        raise Problem.of_field("endDate", f"at most {MAX_LISTED_DAYS} days")
    return first, last


@router.get(
    "",
    summary="List schedules",
    response_model=Page[DoctorSchedule],
    responses=refusals("invalid"),
)
async def get_schedules(
    context: InContext,
    days: Annotated[tuple[date, date], Depends(wanted_days)],
    paging: InPages,
    doctor_id: Annotated[Id | None, Query(alias="doctorId")] = None,
    department_id: Annotated[
        Id | None, Query(alias="departmentId", description="And all departments below it.")
    ] = None,
) -> Response:
    """Slots in order of time, from today on when no day is named. `unavailable` ones are listed
    too: withdrawn, or begun."""
    wanted = Wanted(*days, doctor_id=doctor_id, department_id=department_id)
    async with context.engine.connect() as connection:
        # One statement needs no transaction around it: two round trips less.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        rows, total = await list_schedules(
            connection, context.hospital_id, wanted, page=paging.page, size=paging.size
        )
    fees = _fees(context.config)
    names = rows[0]._fields if rows else ()
    items = [_priced(names, row, fees) for row in rows]
    # Not validated again on the way out: that costs more than reading sixty rows.
    document = {"items": items, "total": total, "page": paging.page, "size": paging.size}
    return Response(orjson.dumps(document), media_type="application/json")


@router.post(
    "/batch",
    status_code=201,
    summary="Create schedules in a batch",
    responses=refusals("invalid", "idempotency_mismatch", "not_authenticated", "forbidden"),
)
async def schedule_batch(
    new: BatchSchedule,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    once: Once,
) -> BatchOutcome:
    """One slot for each day and time slot. What is in the way is left out and told."""
    require(caller, Action.MANAGE_SCHEDULES)
    days = days_on(new.start_date, new.end_date, new.weekdays)
    if len(days) * len(new.time_slots) * new.source_per_slot > MAX_BATCH_SOURCES:
        raise Problem.of_field(
            "sourcePerSlot", f"more than {MAX_BATCH_SOURCES} sources in one batch; make two"
        )
    if (earlier := await once.answered(connection)) is not None:
        batch, impossible = _batch(context, new, days, datetime.fromisoformat(earlier))
        created, in_the_way = await tell_batch(connection, batch)
        return _outcome(created, [*impossible, *in_the_way])
    batch, impossible = _batch(context, new, days, await _held_doctor(connection, context, new))
    created, in_the_way = await create_batch(connection, batch)
    await once.remember(connection, batch.at.isoformat())
    await _audit(
        connection,
        caller,
        "schedules_created",
        f"doctor/{new.doctor_id}",
        {"asked": new.model_dump(mode="json", by_alias=True), "created": created},
    )
    return _outcome(created, [*impossible, *in_the_way])


async def _held_doctor(
    connection: AsyncConnection, context: Context, new: BatchSchedule
) -> datetime:
    try:
        return await check_doctor(connection, context.hospital_id, new.doctor_id, new.department_id)
    except DoctorUnknown:
        raise Problem.of_field("doctorId", "no such doctor") from None
    except DepartmentUnknown:
        raise Problem.of_field("departmentId", "no such department") from None
    except DoctorElsewhere:
        raise Problem.of_field("departmentId", "the doctor is of another department") from None


def _batch(
    context: Context, new: BatchSchedule, days: list[date], at: datetime
) -> tuple[Batch, list[Skipped]]:
    sessions, impossible = expand(
        days,
        new.slots,
        zone=ZoneInfo(context.config.hospital.time_zone),
        now=at,
        holidays=context.config.holidays if new.skip_holidays else (),
    )
    batch = Batch(
        hospital_id=context.hospital_id,
        doctor_id=new.doctor_id,
        department_id=new.department_id,
        sessions=sessions,
        sources=new.source_per_slot,
        location=new.location,
        at=at,
    )
    return batch, impossible


def _outcome(created: int, skipped: list[Skipped]) -> BatchOutcome:
    ordered = sorted(skipped, key=lambda skip: (skip.date, skip.slot))
    return BatchOutcome(
        created=created,
        skipped=[
            SkippedSlot(date=skip.date, time_slot=str(skip.slot), reason=skip.reason)
            for skip in ordered
        ],
    )


@router.patch(
    "/{id}",
    summary="Change a schedule",
    responses=refusals("invalid", "not_authenticated", "forbidden", "not_found", "below_used"),
)
async def patch_schedule(
    id: Id,
    change: ScheduleChange,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
) -> DoctorSchedule:
    """More or fewer sources, or another room. 409 `below_used` with `used` when orders hold more
    sources than would be left."""
    require(caller, Action.MANAGE_SCHEDULES)
    try:
        before = await change_schedule(
            connection,
            context.booking_rules,
            context.hospital_id,
            id,
            total_sources=change.total_sources,
            location=change.location,
        )
    except ScheduleUnknown:
        raise Problem("not_found") from None
    except BelowUsed as error:
        raise Problem("below_used", used=error.used) from None
    await _audit(
        connection,
        caller,
        "schedule_changed",
        f"schedule/{id}",
        {"before": before, "asked": change.model_dump(exclude_none=True, by_alias=True)},
    )
    context.doorbell.ring()  # added sources may have made offers
    row = await find_schedule(connection, context.hospital_id, id)
    assert row is not None  # noqa: S101 - it was just locked
    return DoctorSchedule.model_validate(_priced(row._fields, row, _fees(context.config)))


async def _audit(
    connection: AsyncConnection, caller: Caller, event: str, subject: str, details: dict[str, Any]
) -> None:
    await audit(
        connection,
        caller.hospital_id,
        event,
        subject,
        actor_role=Role.OPERATOR,
        actor_id=caller.account_id,
        details=details,
    )


def _fees(config: HospitalConfig) -> dict[str, float]:
    return {fee.level.value: float(fee.price) for fee in config.appointment_fees}


def _priced(names: Sequence[str], row: ScheduleView, fees: dict[str, float]) -> dict[str, Any]:
    schedule: dict[str, Any] = dict(zip(names, row, strict=True))
    schedule["price"] = fees.get(schedule.pop("level"))
    return schedule
