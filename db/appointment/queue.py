"""The queue (就诊队列) of a session: who is here, whose turn it is, who was called.

A call (叫号) is a fact beside the lifecycle: it moves no status and asks no workflow. Everybody has
a number; the lowest one that waits is next. Locks: an order before its slot, as moves do, or the
slot first and of the orders only what nobody holds.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.moves import BEHIND_ALL, LOCK_SLOT
from db.appointment.orders import Appointment, appointment_of
from db.journal import audit
from db.outbox import promise
from domain.access import Capacity
from domain.message import Template
from domain.order import Actor

# Looking


@dataclass(frozen=True)
class QueueEntry:
    """An order with its calls. `called_at` is None for who waits, also after being passed over."""

    order: Appointment
    calls: int
    called_at: datetime | None
    passed_at: datetime | None

    @property
    def late(self) -> bool:
        came = self.order.check_in_time
        return came is not None and came > self.order.starts_at


ENTRIES = """select o.*, a.calls, a.called_at, a.passed_at
       from appointment a join appointment_order o on o.id = a.id
      where a.hospital_id = :hospital_id and """
# Who is here, in the order of their turn, then who is still expected.
IN_ORDER = """ and a.status in ('confirmed', 'checked_in')
      order by a.starts_at, a.status = 'confirmed', a.queue_number, a.id"""
OF_SESSION = text(ENTRIES + "a.schedule_id = :schedule_id" + IN_ORDER)
OF_DAY = text(ENTRIES + "a.doctor_id = :doctor_id and a.date = :date" + IN_ORDER)
BY_NUMBER = text(ENTRIES + "a.order_no = :order_no")


async def queue_of_session(
    connection: AsyncConnection, hospital_id: int, schedule_id: int
) -> list[QueueEntry]:
    values = {"hospital_id": hospital_id, "schedule_id": schedule_id}
    return [_entry(row) for row in await connection.execute(OF_SESSION, values)]


async def queue_of_day(
    connection: AsyncConnection, hospital_id: int, doctor_id: int, day: date
) -> list[QueueEntry]:
    """Of all of a doctor's sessions that day."""
    values = {"hospital_id": hospital_id, "doctor_id": doctor_id, "date": day}
    return [_entry(row) for row in await connection.execute(OF_DAY, values)]


async def find_in_queue(
    connection: AsyncConnection, hospital_id: int, order_no: str
) -> QueueEntry | None:
    """Whatever its status: who has left the queue was called all the same."""
    values = {"hospital_id": hospital_id, "order_no": order_no}
    row = (await connection.execute(BY_NUMBER, values)).one_or_none()
    return _entry(row) if row else None


def _entry(row: Row[Any]) -> QueueEntry:
    return QueueEntry(appointment_of(row), row.calls, row.called_at, row.passed_at)


@dataclass(frozen=True)
class Place:
    """Where somebody stands: how many are called before, None for who is not checked in."""

    status: str
    queue_number: int
    ahead: int | None
    calls: int
    called_at: datetime | None
    passed_at: datetime | None


PLACE = text(
    """select a.status, a.queue_number, a.calls, a.called_at, a.passed_at,
              case when a.status <> 'checked_in' then null
                   when a.called_at is not null then 0
                   else (select count(*) from appointment b
                          where b.schedule_id = a.schedule_id and b.status = 'checked_in'
                            and b.called_at is null
                            and (b.queue_number, b.id) < (a.queue_number, a.id)) end as ahead
         from appointment a where a.id = :id"""
)


async def place_in_queue(connection: AsyncConnection, id: int) -> Place:
    return Place(**(await connection.execute(PLACE, {"id": id})).one()._mapping)


# Calling


class NoSuchSession(Exception):
    """No schedule of this doctor."""


class SessionCalledOff(Exception):
    """Whoever is still here is sent to the desk, and not in."""


@dataclass(frozen=True)
class Calling:
    """Who calls."""

    hospital_id: int
    doctor_id: int
    account_id: int


# Callers of one session come one after another, and so do their patients. Booking's foreign keys
# do not wait for this.
HOLD_SESSION = text(
    """select withdrawn from schedule
        where id = :schedule_id and hospital_id = :hospital_id and doctor_id = :doctor_id
          for no key update"""
)
CALLED_OFF = text(
    """select s.withdrawn from appointment a join schedule s on s.id = a.schedule_id
        where a.order_no = :order_no"""
)
# An order that is held here is about to leave the queue. Not now(): that is when this transaction
# began, perhaps before the caller ahead of it had its patient.
CALL_NEXT = text(
    """update appointment set calls = calls + 1, called_at = clock_timestamp()
     where id = (select id from appointment
                  where schedule_id = :schedule_id and status = 'checked_in' and called_at is null
                  order by queue_number, id limit 1
                    for update skip locked)
    returning order_no, calls"""
)
CALL_AGAIN = text(
    """update appointment set calls = calls + 1, called_at = clock_timestamp()
     where order_no = :order_no and status = 'checked_in'
       and (called_at is not null or passed_at is not null)
    returning order_no, calls"""
)
PASS_OVER = text(
    """update appointment set called_at = null, passed_at = clock_timestamp()
     where order_no = :order_no and status = 'checked_in' and called_at is not null
    returning schedule_id, calls"""
)


async def call_next(connection: AsyncConnection, by: Calling, schedule_id: int) -> str | None:
    """Call whoever waits with the lowest number. The order's number; None when nobody waits.

    Raises NoSuchSession for another doctor's, SessionCalledOff.
    """
    session = {"schedule_id": schedule_id}
    mine = {"hospital_id": by.hospital_id, "doctor_id": by.doctor_id}
    held = (await connection.execute(HOLD_SESSION, session | mine)).one_or_none()
    if held is None:
        raise NoSuchSession
    if held.withdrawn:
        raise SessionCalledOff
    return await _told(connection, by, (await connection.execute(CALL_NEXT, session)).one_or_none())


async def call_again(connection: AsyncConnection, by: Calling, order_no: str) -> bool:
    """过号重呼. False for who is not here, or was not called since. Raises SessionCalledOff."""
    await _not_called_off(connection, order_no)
    called = await connection.execute(CALL_AGAIN, {"order_no": order_no})
    return await _told(connection, by, called.one_or_none()) is not None


async def pass_over(connection: AsyncConnection, by: Calling, order_no: str) -> bool:
    """过号: who was called and does not come waits again, behind everyone who has a number.

    False for who is not here, or does not stand as called. Raises SessionCalledOff.
    """
    await _not_called_off(connection, order_no)
    order = {"order_no": order_no}
    passed = (await connection.execute(PASS_OVER, order)).one_or_none()
    if passed is None:
        return False
    slot = {"schedule_id": passed.schedule_id}
    await connection.execute(LOCK_SLOT, slot)
    await connection.execute(text(BEHIND_ALL), order | slot)
    await _note(connection, by, "passed_over", order_no, passed.calls)
    return True


async def _not_called_off(connection: AsyncConnection, order_no: str) -> None:
    if await connection.scalar(CALLED_OFF, {"order_no": order_no}):
        raise SessionCalledOff


async def _told(connection: AsyncConnection, by: Calling, called: Row[Any] | None) -> str | None:
    """Write a call down and promise its message."""
    if called is None:
        return None
    order_no: str = called.order_no
    await _note(connection, by, "called", order_no, called.calls)
    fact = f"{order_no}:{Template.APPOINTMENT_CALLED}:{called.calls}"
    await promise(connection, stream=order_no, workflow="message", subject=fact)
    return order_no


async def _note(
    connection: AsyncConnection, by: Calling, event: str, order_no: str, calls: int
) -> None:
    actor = Actor.person(Capacity.ITS_DOCTOR, by.account_id)
    await audit(
        connection,
        by.hospital_id,
        event,
        order_no,
        actor_role=actor.role,
        actor_id=actor.id,
        details={"calls": calls},
    )
