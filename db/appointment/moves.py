"""What the workflow writes: a status move and all that follows from it, in one transaction."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.rows import SuspensionRow
from db.appointment.rules import BookingRules
from db.journal import append_timeline
from domain.appointment import CALLED_OFF, AppointmentMove, AppointmentStatus

MOVE = text(
    """update appointment set
           status = :to_status, version = :version, reason = :reason,
           payment_no = coalesce(:payment_no, payment_no),
           choose_by = coalesce(:choose_by, choose_by),
           check_in_time = case when :to_status = 'checked_in' then :at else check_in_time end,
           closed_at = case when :closed then cast(:at as timestamptz) end
     where order_no = :order_no and version < :version
    returning id, hospital_id, schedule_id, person_index, starts_at"""
)
# Called off, and the order was not told: its stop is paused, or Temporal was away.
IN_VAIN = text(
    """select 1 from appointment a join schedule s on s.id = a.schedule_id
        where a.order_no = :order_no and a.version < :version and s.withdrawn"""
)
RELEASE = text("select release_source(:order_no, :next, cast(:offer as jsonb))")
# Whoever was offered this source has taken it, or has not.
LEAVE_LINE = text(
    """update waitlist_entry w
           set status = case when a.status = 'confirmed' then 'booked' else 'lapsed' end,
               ended_at = :at
      from appointment a
     where a.order_no = w.order_no and w.order_no = :order_no and w.status = 'offered'"""
)
# Another session, another queue: who called there calls here no more.
LEAVE_QUEUE = text(
    """update appointment set called_at = null, passed_at = null
     where order_no = :order_no and status = 'confirmed'"""
)
LOCK_SLOT = text("select 1 from schedule where id = :schedule_id for update")
LOCK_PERSON = text("select lock_person(:hospital_id, :person_index)")
# Behind everyone who has a number. Sources keep theirs when the slot is made smaller.
BEHIND_ALL = """update appointment set queue_number =
           (select greatest(max(a.queue_number), (select max(number) from source
                                                   where schedule_id = :schedule_id)) + 1
              from appointment a where a.schedule_id = :schedule_id)
     where order_no = :order_no"""
# Whoever comes after the slot began; a number beyond all sources was given here before.
LATE = text(
    BEHIND_ALL
    + """ and queue_number <= (
           select max(number) from source where schedule_id = :schedule_id)"""
)
SUSPEND = text(
    """insert into booking_suspension (hospital_id, person_index, order_no, starts_at, ends_at)
    select :hospital_id, :person_index, :order_no, :at,
           cast(:at as timestamptz) + cast(:suspension as interval)
     where (select count(*) from appointment
             where hospital_id = :hospital_id and person_index = :person_index
               and status = 'no_show'
               and starts_at > cast(:at as timestamptz) - cast(:period as interval)
               -- those that a lifted or served suspension was already given for do not count twice
               and starts_at > coalesce((select max(starts_at) from booking_suspension
                     where hospital_id = :hospital_id and person_index = :person_index
                       and order_no <> :order_no), '-infinity'))
           >= :suspend_after
    on conflict (order_no) do nothing"""
)


async def record_move(
    connection: AsyncConnection, move: AppointmentMove, rules: BookingRules
) -> str | None:
    """Write a move, give back what it frees, and append it to the timeline. Safe to repeat:
    an older version than the row's changes nothing but its own timeline entry.

    Answers CALLED_OFF, and writes nothing, when it supposes a session that does not take place.
    """
    if move.supposes_a_session and await connection.scalar(IN_VAIN, vars(move)):
        return CALLED_OFF
    values = {**vars(move), "closed": not AppointmentStatus(move.to_status).open}
    moved = (await connection.execute(MOVE, values)).one_or_none()
    if moved is not None:
        await _side_effects(connection, move, moved, rules)
    await append_timeline(connection, move)
    return None


async def _side_effects(
    connection: AsyncConnection,
    move: AppointmentMove,
    row: Row[Any],
    rules: BookingRules,
) -> None:
    order = {"order_no": move.order_no}
    match move.to_status:
        case AppointmentStatus.CANCELLED:
            nxt = {"next": rules.new_order_no(), "offer": rules.offer}
            await connection.execute(RELEASE, order | nxt)
            await connection.execute(LEAVE_LINE, order | {"at": move.at})
        case AppointmentStatus.CONFIRMED:
            await connection.execute(LEAVE_LINE, order | {"at": move.at})
        case AppointmentStatus.CHECKED_IN if move.at > row.starts_at:
            slot = {"schedule_id": row.schedule_id}
            await connection.execute(LOCK_SLOT, slot)
            await connection.execute(LATE, order | slot)
        case AppointmentStatus.NO_SHOW:
            person = {"hospital_id": row.hospital_id, "person_index": row.person_index}
            await connection.execute(LOCK_PERSON, person)
            await connection.execute(
                SUSPEND, order | person | vars(rules.no_shows) | {"at": move.at}
            )


async def move_order(
    connection: AsyncConnection, move: AppointmentMove, schedule_id: int, rules: BookingRules
) -> str:
    """Another source for this order, the old one given back, in one transaction. Safe to repeat.

    Answers `moved`, or a refusal's code: then nothing was written.
    """
    code: str = await connection.scalar(
        text("select move_order(:order_no, :version, :schedule_id, :next, cast(:offer as jsonb))"),
        {
            "order_no": move.order_no,
            "version": move.version,
            "schedule_id": schedule_id,
            "next": rules.new_order_no(),
            "offer": rules.offer,
        },
    )
    if code == "moved":
        await connection.execute(LEAVE_QUEUE, {"order_no": move.order_no})
        await append_timeline(connection, move)
    return code


async def suspended_until(connection: AsyncConnection, order_no: str) -> datetime | None:
    """Until when booking is suspended because of this no-show, if it is."""
    found: datetime | None = await connection.scalar(
        select(SuspensionRow.ends_at).where(SuspensionRow.order_no == order_no)
    )
    return found


async def extend_payment(connection: AsyncConnection, order_no: str, pay_by: datetime) -> None:
    await connection.execute(
        text(
            """update appointment set pay_by = :pay_by
                where order_no = :order_no and status = 'pending' and pay_by < :pay_by"""
        ),
        {"order_no": order_no, "pay_by": pay_by},
    )
