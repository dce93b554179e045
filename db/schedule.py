"""Slots and their sources: made in batches, listed fast, made larger or smaller under a lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache

from sqlalchemy import (
    BigInteger,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.rules import BookingRules
from db.catalogue import DepartmentRow, DoctorRow, ScheduleRow, SourceRow, within_department
from db.waitlist import lock_line, offer_sources
from domain.schedule import ScheduleStatus, Session, Skipped, SkipReason


class DoctorUnknown(Exception):
    """No active doctor of this hospital."""


class DepartmentUnknown(Exception):
    """No active department of this hospital."""


class DoctorElsewhere(Exception):
    """The doctor belongs to another department."""


class ScheduleUnknown(Exception):
    """No schedule of this hospital."""


class BelowUsed(Exception):
    """Orders hold more sources than would be left."""

    def __init__(self, used: int) -> None:
        super().__init__(used)
        self.used = used


# Listing


@dataclass(frozen=True)
class Wanted:
    """Which schedules to list: both days included."""

    first: date
    last: date
    doctor_id: int | None = None
    department_id: int | None = None  # and those below it


_STATUS = case(
    (
        or_(
            ScheduleRow.withdrawn,
            ScheduleRow.starts_at <= func.now(),
            ScheduleRow.total_sources == 0,
        ),
        ScheduleStatus.UNAVAILABLE.value,
    ),
    (ScheduleRow.used_sources >= ScheduleRow.total_sources, ScheduleStatus.FULL.value),
    else_=ScheduleStatus.AVAILABLE.value,
)

# As they leave the house: camelCase, in this order, then `level`, from which the price comes.
Columns = tuple[int, int, date, str, int, int, int, str, str, int, str, str]
ScheduleView = Row[*Columns]


def _schedules() -> Select[*Columns]:
    s, d = ScheduleRow, DoctorRow
    return select(
        s.id.label("id"),
        s.doctor_id.label("doctorId"),
        s.date.label("date"),
        s.time_slot.label("timeSlot"),
        s.total_sources.label("totalSources"),
        s.used_sources.label("usedSources"),
        (s.total_sources - s.used_sources).label("availableSources"),
        _STATUS.label("status"),
        s.location.label("location"),
        s.department_id.label("departmentId"),
        d.name.label("doctorName"),
        d.level.label("level"),
    ).join(d, d.id == s.doctor_id)


@cache
def _listing(by_doctor: bool, by_department: bool) -> tuple[Select[*Columns], Select[int]]:
    """One page, and the count of all: built once, because building costs as much as asking."""
    s = ScheduleRow
    hospital_id = bindparam("hospital_id", type_=BigInteger)
    matching = [
        s.hospital_id == hospital_id,
        s.date.between(bindparam("first"), bindparam("last")),
    ]
    if by_doctor:
        matching.append(s.doctor_id == bindparam("doctor_id"))
    if by_department:
        inside = within_department(hospital_id, bindparam("department_id", type_=BigInteger))
        matching.append(s.department_id.in_(inside))
    ordered = _schedules().where(*matching).order_by(s.starts_at, s.id)
    one_page = ordered.limit(bindparam("size")).offset(bindparam("offset"))
    return one_page, select(func.count()).select_from(s).where(*matching)


async def list_schedules(
    connection: AsyncConnection, hospital_id: int, wanted: Wanted, *, page: int, size: int
) -> tuple[Sequence[ScheduleView], int]:
    """One page in order of time, and how many there are on all pages.

    Rows as they are, without an object for each: a page of 60 is most of what patients ask for.
    """
    offset = (page - 1) * size
    one_page, count = _listing(wanted.doctor_id is not None, wanted.department_id is not None)
    values = {"hospital_id": hospital_id, **vars(wanted)}
    found = await connection.execute(one_page, {**values, "size": size, "offset": offset})
    rows = found.all()
    if rows and len(rows) < size:  # the last page tells the total
        return rows, offset + len(rows)
    return rows, int((await connection.execute(count, values)).scalar_one())


async def find_schedule(
    connection: AsyncConnection, hospital_id: int, schedule_id: int
) -> ScheduleView | None:
    found = await connection.execute(
        _schedules().where(ScheduleRow.hospital_id == hospital_id, ScheduleRow.id == schedule_id)
    )
    return found.one_or_none()


# Batch scheduling


@dataclass(frozen=True)
class Batch:
    """One call of batch scheduling. `at` marks what it created, so that it can be told again."""

    hospital_id: int
    doctor_id: int
    department_id: int
    sessions: Sequence[Session]
    sources: int  # per slot
    location: str
    at: datetime


async def check_doctor(
    connection: AsyncConnection, hospital_id: int, doctor_id: int, department_id: int
) -> datetime:
    """Make other batches of this doctor wait, and see that the doctor is of this department.

    Answers the instant, which no other batch of this doctor has. Raises DoctorUnknown,
    DepartmentUnknown or DoctorElsewhere.
    """
    d, department = DoctorRow, DepartmentRow
    found = await connection.execute(
        select(d.department_id)
        .where(d.hospital_id == hospital_id, d.id == doctor_id, d.active)
        .with_for_update(key_share=True)
    )
    own = found.scalar_one_or_none()
    if own is None:
        raise DoctorUnknown
    known = await connection.execute(
        select(func.clock_timestamp()).where(
            department.hospital_id == hospital_id,
            department.id == department_id,
            department.active,
        )
    )
    at: datetime | None = known.scalar_one_or_none()
    if at is None:
        raise DepartmentUnknown
    if own != department_id:
        raise DoctorElsewhere
    return at


# In order of time, so that two batches whose slots overlap wait and never deadlock; what another
# slot of the doctor forbids (ex_schedule_doctor_time) is left out.
_CREATE = text(
    """with created as (
        insert into schedule (hospital_id, doctor_id, department_id, date, time_slot, starts_at,
                              ends_at, location, total_sources, created_at)
        select :hospital_id, :doctor_id, :department_id, wanted.date, wanted.time_slot,
               wanted.starts_at, wanted.ends_at, :location, :sources, :at
          from unnest(cast(:dates as date[]), cast(:time_slots as text[]),
                      cast(:starts as timestamptz[]), cast(:ends as timestamptz[]))
               as wanted (date, time_slot, starts_at, ends_at)
         order by wanted.starts_at
        on conflict do nothing
        returning id)
    insert into source (schedule_id, number)
    select created.id, number
      from created cross join generate_series(1, cast(:sources as bigint)) as number
     order by created.id, number"""
)


async def create_batch(connection: AsyncConnection, batch: Batch) -> tuple[int, list[Skipped]]:
    """One schedule with its sources for each session. What is in the way is skipped and told.

    Hold the doctor by `check_doctor` first, in the same transaction.
    """
    await connection.execute(
        _CREATE,
        {
            "hospital_id": batch.hospital_id,
            "doctor_id": batch.doctor_id,
            "department_id": batch.department_id,
            "location": batch.location,
            "sources": batch.sources,
            "at": batch.at,
            "dates": [session.date for session in batch.sessions],
            "time_slots": [str(session.slot) for session in batch.sessions],
            "starts": [session.starts_at for session in batch.sessions],
            "ends": [session.ends_at for session in batch.sessions],
        },
    )
    return await tell_batch(connection, batch)


async def tell_batch(connection: AsyncConnection, batch: Batch) -> tuple[int, list[Skipped]]:
    """How many this batch created, and which it did not, also long afterwards.

    Schedules are never deleted, and none can come to lie where another one is: the reason for
    leaving one out stays what it was.
    """
    if not batch.sessions:
        return 0, []
    s = ScheduleRow
    rows = await connection.execute(
        select(s.date, s.time_slot, s.created_at).where(
            s.hospital_id == batch.hospital_id,
            s.doctor_id == batch.doctor_id,
            s.date.between(batch.sessions[0].date, batch.sessions[-1].date),
        )
    )
    there = {(day, slot): created_at for day, slot, created_at in rows}
    skipped = []
    for session in batch.sessions:
        created_at = there.get((session.date, str(session.slot)))
        if created_at == batch.at:
            continue
        reason = SkipReason.EXISTS if created_at else SkipReason.OVERLAP
        skipped.append(Skipped(session.date, session.slot, reason))
    return len(batch.sessions) - len(skipped), skipped


# Capacity


async def change_schedule(
    connection: AsyncConnection,
    rules: BookingRules,
    hospital_id: int,
    schedule_id: int,
    *,
    total_sources: int | None = None,
    location: str | None = None,
) -> tuple[int, str]:
    """Set the number of sources, the place, or both. Answers what they were.

    Raises ScheduleUnknown, or BelowUsed when orders hold more. The schedule's row is locked first,
    as booking and releasing do: the numbers read here are the last ones. What is added goes to
    those in line first.
    """
    s = ScheduleRow
    if total_sources is not None:
        await lock_line(connection, hospital_id, schedule_id)
    found = await connection.execute(
        select(s.total_sources, s.used_sources, s.location)
        .where(s.hospital_id == hospital_id, s.id == schedule_id)
        .with_for_update(key_share=True)
    )
    before = found.one_or_none()
    if before is None:
        raise ScheduleUnknown
    total = before.total_sources if total_sources is None else total_sources
    if total < before.used_sources:
        raise BelowUsed(before.used_sources)
    if total < before.total_sources:
        await _withdraw(connection, schedule_id, before.total_sources - total)
    elif total > before.total_sources:
        await _add(connection, schedule_id, total - before.total_sources)
    await connection.execute(
        update(s)
        .where(s.id == schedule_id)
        .values(total_sources=total, location=before.location if location is None else location)
    )
    if total > before.total_sources:
        await offer_sources(connection, rules, schedule_id)
    return before.total_sources, before.location


async def _withdraw(connection: AsyncConnection, schedule_id: int, count: int) -> None:
    """Take free sources out of use, the highest numbers first."""
    free = and_(
        SourceRow.schedule_id == schedule_id,
        SourceRow.order_no.is_(None),
        SourceRow.withdrawn.is_(False),
    )
    chosen = select(SourceRow.id).where(free).order_by(SourceRow.number.desc()).limit(count)
    await connection.execute(
        update(SourceRow).where(SourceRow.id.in_(chosen)).values(withdrawn=True)
    )


async def _add(connection: AsyncConnection, schedule_id: int, count: int) -> None:
    """Bring withdrawn sources back, the lowest numbers first, then make new ones."""
    mine = SourceRow.schedule_id == schedule_id
    chosen = (
        select(SourceRow.id)
        .where(mine, SourceRow.withdrawn)
        .order_by(SourceRow.number)
        .limit(count)
    )
    back = await connection.execute(
        update(SourceRow)
        .where(SourceRow.id.in_(chosen))
        .values(withdrawn=False)
        .returning(SourceRow.id)
    )
    missing = count - len(back.all())
    highest = await connection.execute(
        select(func.coalesce(func.max(SourceRow.number), 0)).where(mine)
    )
    top = int(highest.scalar_one())
    if missing:
        await connection.execute(
            insert(SourceRow),
            [{"schedule_id": schedule_id, "number": top + n} for n in range(1, missing + 1)],
        )
