"""Calling a doctor's session off: withdrawn at once, then walked by a workflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.journal import append_timeline
from db.outbox import promise
from domain.order import Move
from domain.stop_clinic import Called, CallOff, StopScope, StopStart, StopStatus


class ScheduleUnknown(Exception):
    """No schedule of this hospital."""


class SessionOver(Exception):
    """The slot has ended: there is nothing left to call off."""


@dataclass(frozen=True)
class NewStop:
    hospital_id: int
    schedule_id: int
    scope: StopScope
    stop_no: str
    account_id: int  # the operator's
    choose_within: str  # an interval


@dataclass(frozen=True)
class StopProgress:
    stop_no: str
    doctor_id: int
    date: date
    schedule_ids: list[int]
    status: str
    choose_by: datetime
    created_at: datetime
    ended_at: datetime | None
    total: int
    failing: list[str]  # orders that could not be told so far
    to_tell: int  # not told yet
    choosing: int
    moved: int  # to another slot
    refunded: int  # or cancelled unpaid
    at_desk: int  # were here already
    seen: int  # completed, or did not come


# Nobody books or is moved there between this lock and the end of the transaction.
LOCK = text(
    """select s.id, s.withdrawn, s.ends_at <= now() as over
         from schedule s join schedule this on this.id = :schedule_id
        where this.hospital_id = :hospital_id
          and (s.id = this.id or (:day and s.doctor_id = this.doctor_id and s.date = this.date))
        order by s.id for update of s"""
)
WITHDRAW = text("update schedule set withdrawn = true where id = any(:ids)")
END_LINE = text(
    """update waitlist_entry set status = 'ended', ended_at = now()
        where schedule_id = any(:ids) and status = 'waiting'"""
)
INSERT = text(
    """insert into stop_clinic (hospital_id, stop_no, doctor_id, date, schedule_ids, choose_by,
                                created_by)
    select s.hospital_id, :stop_no, s.doctor_id, s.date, :ids,
           now() + cast(:choose_within as interval), :account_id
      from schedule s where s.id = :schedule_id"""
)
AFFECT = text(
    """insert into stop_clinic_order (stop_id, appointment_id)
    select c.id, a.id
      from stop_clinic c join appointment a on a.schedule_id = any(c.schedule_ids)
     where c.stop_no = :stop_no and a.status in ('pending', 'confirmed', 'checked_in')
     order by a.id
        on conflict do nothing"""
)
# The release before this one reads the column, which knows the last stop alone. One release later
# nobody does.
AFFECT_AS_BEFORE = text(
    """update appointment a set stop_id = c.id
         from stop_clinic c
        where c.stop_no = :stop_no and a.schedule_id = any(c.schedule_ids)
          and a.stop_id is distinct from c.id
          and a.status in ('pending', 'confirmed', 'checked_in')"""
)
# When a pause ends by itself: whoever is told later has nothing left to choose, or stands before a
# closed door. Where patients have little time, half of it.
RESUME_BY = """least(c.choose_by, (select min(starts_at) from schedule
                                    where id = any(c.schedule_ids)))
               - least(interval '1 hour', (c.choose_by - c.created_at) / 2)"""
OF_SCHEDULE = text(
    """select stop_no from stop_clinic where :schedule_id = any(schedule_ids)
        order by id desc limit 1"""
)
PROGRESS = """
    select c.stop_no, c.doctor_id, c.date, c.schedule_ids, c.status, c.choose_by, c.created_at,
           c.ended_at, c.failing, n.*
      from stop_clinic c cross join lateral (
           select count(*) as total,
                  count(*) filter (where here and open and a.choose_by is null) as to_tell,
                  count(*) filter (where here and a.status = 'confirmed'
                                     and a.choose_by is not null) as choosing,
                  count(*) filter (where not here) as moved,
                  count(*) filter (where here and a.status = 'cancelled') as refunded,
                  count(*) filter (where here and a.status = 'checked_in'
                                     and a.choose_by is not null) as at_desk,
                  count(*) filter (where here and a.status in ('completed', 'no_show')) as seen
             from (select a.*, a.schedule_id = any(c.schedule_ids) as here,
                          a.status in ('pending', 'confirmed', 'checked_in') as open
                     from stop_clinic_order o join appointment a on a.id = o.appointment_id
                    where o.stop_id = c.id) a) n
     where c.hospital_id = :hospital_id
"""


async def stop_clinic(connection: AsyncConnection, new: NewStop) -> tuple[str, bool]:
    """Withdraw the session and promise its workflow: (number, whether it is new). Its orders are
    marked by `mark_affected`, once this is committed.

    What was called off before keeps its number. Raises ScheduleUnknown, SessionOver.
    """
    where = {"hospital_id": new.hospital_id, "schedule_id": new.schedule_id}
    slots = (await connection.execute(LOCK, where | {"day": new.scope is StopScope.DAY})).all()
    if not slots:
        raise ScheduleUnknown
    ids = [slot.id for slot in slots if not slot.withdrawn and not slot.over]
    if not ids:
        earlier = await stop_of_schedule(connection, new.schedule_id)
        if earlier is None:
            raise SessionOver
        return earlier, False
    await connection.execute(WITHDRAW, {"ids": ids})
    await connection.execute(END_LINE, {"ids": ids})
    await connection.execute(INSERT, vars(new) | {"ids": ids})
    await promise(connection, stream=new.stop_no, workflow="stop_clinic", subject=new.stop_no)
    return new.stop_no, True


async def mark_affected(connection: AsyncConnection, stop_no: str) -> None:
    """Remember which orders it concerns, wherever they go. Nobody can join them any more.

    In a transaction of its own: an order's row is locked before its slot, never after it.
    """
    await connection.execute(AFFECT_AS_BEFORE, {"stop_no": stop_no})
    await connection.execute(AFFECT, {"stop_no": stop_no})


async def stop_of_schedule(connection: AsyncConnection, schedule_id: int) -> str | None:
    found: str | None = await connection.scalar(OF_SCHEDULE, {"schedule_id": schedule_id})
    return found


async def find_progress(
    connection: AsyncConnection, hospital_id: int, stop_no: str
) -> StopProgress | None:
    values = {"hospital_id": hospital_id, "stop_no": stop_no}
    row = (
        await connection.execute(text(PROGRESS + " and c.stop_no = :stop_no"), values)
    ).one_or_none()
    return StopProgress(**row._mapping) if row else None


async def list_stops(
    connection: AsyncConnection, hospital_id: int, *, page: int, size: int
) -> tuple[list[StopProgress], int]:
    """A page, newest first, and how many there are in all."""
    rows = await connection.execute(
        text(PROGRESS + " order by c.id desc limit :size offset (:page - 1) * :size"),
        {"hospital_id": hospital_id, "page": page, "size": size},
    )
    total = await connection.scalar(
        text("select count(*) from stop_clinic where hospital_id = :hospital_id"),
        {"hospital_id": hospital_id},
    )
    return [StopProgress(**row._mapping) for row in rows], total or 0


async def orders_at_desk(connection: AsyncConnection, stop_no: str) -> list[tuple[str, int]]:
    """Order and queue numbers of those who were here already, in queue order."""
    rows = await connection.execute(
        text(
            """select a.order_no, a.queue_number
                 from stop_clinic c join appointment a on a.schedule_id = any(c.schedule_ids)
                where c.stop_no = :stop_no and a.status = 'checked_in'
                order by a.starts_at, a.queue_number"""
        ),
        {"stop_no": stop_no},
    )
    return [(row.order_no, row.queue_number) for row in rows]


# For its workflow


async def load_stops(connection: AsyncConnection, stop_nos: list[str]) -> dict[str, StopStart]:
    rows = await connection.execute(
        text(
            f"""select c.stop_no, c.schedule_ids, c.choose_by, c.created_by, c.status, c.version,
                       c.failing, {RESUME_BY} as resume_by
                  from stop_clinic c where c.stop_no = any(:stop_nos)"""
        ),
        {"stop_nos": stop_nos},
    )
    return {
        row.stop_no: StopStart(
            row.stop_no,
            CallOff(tuple(row.schedule_ids), row.choose_by, row.created_by),
            StopStatus(row.status),
            row.version,
            row.resume_by,
            tuple(row.failing),
        )
        for row in rows
    }


async def next_to_call_off(
    connection: AsyncConnection, stop_no: str, after: int, limit: int
) -> list[Called]:
    """The next appointments of this stop in order of their ids, whatever became of them."""
    rows = await connection.execute(
        text(
            """select a.id, a.order_no
                 from stop_clinic c join stop_clinic_order o on o.stop_id = c.id
                 join appointment a on a.id = o.appointment_id
                where c.stop_no = :stop_no and a.id > :after order by a.id limit :limit"""
        ),
        {"stop_no": stop_no, "after": after, "limit": limit},
    )
    return [Called(row.id, row.order_no) for row in rows]


async def count_open(connection: AsyncConnection, stop_no: str) -> int:
    """How many appointments are still open in the slots that were called off."""
    count: int = await connection.scalar(
        text(
            """select count(*)
                 from stop_clinic c join appointment a on a.schedule_id = any(c.schedule_ids)
                where c.stop_no = :stop_no
                  and a.status in ('pending', 'confirmed', 'checked_in')"""
        ),
        {"stop_no": stop_no},
    )
    return count


async def record_failing(
    connection: AsyncConnection, stop_no: str, order_nos: Sequence[str]
) -> None:
    """Which orders could not be told so far."""
    await connection.execute(
        text("update stop_clinic set failing = :order_nos where stop_no = :stop_no"),
        {"stop_no": stop_no, "order_nos": list(order_nos)},
    )


async def record_stop_move(connection: AsyncConnection, move: Move) -> None:
    """Safe to repeat: an older version than the row's changes nothing but its timeline entry."""
    await connection.execute(
        text(
            """update stop_clinic set status = :to_status, version = :version,
                      ended_at = case when :to_status = 'done' then cast(:at as timestamptz) end
                where stop_no = :order_no and version < :version"""
        ),
        vars(move),
    )
    await append_timeline(connection, move)
