"""The line for a full slot: joining, leaving, one's place, and what passes to the first in it."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.rules import BookingRules

# The slot's beginning ends the line by itself, a little before `end_begun_lines` writes it down.
ENTRIES = """
    select w.id, w.schedule_id, w.patient_id, w.created_at, w.order_no, a.id as appointment_id,
           case when w.status = 'offered' then a.pay_by end as pay_by,
           s.date, s.time_slot, s.doctor_id, d.name as doctor_name,
           case when w.status = 'waiting' and (s.starts_at <= now() or s.withdrawn)
                then 'ended' else w.status end as status,
           case when w.status = 'waiting' and s.starts_at > now() and not s.withdrawn then
                (select count(*) from waitlist_entry b
                  where b.schedule_id = w.schedule_id and b.status = 'waiting' and b.id <= w.id)
           end as place
      from waitlist_entry w
      join schedule s on s.id = w.schedule_id
      join doctor d on d.id = s.doctor_id
      left join appointment a on a.order_no = w.order_no
     where w.hospital_id = :hospital_id and w.account_id = :account_id
"""


@dataclass(frozen=True)
class WaitlistEntry:
    id: int
    schedule_id: int
    patient_id: int
    created_at: datetime
    order_no: str | None  # of the offer
    appointment_id: int | None
    pay_by: datetime | None  # while it is offered
    date: date
    time_slot: str
    doctor_id: int
    doctor_name: str
    status: str
    place: int | None  # 1 is the next; None when not waiting


@dataclass(frozen=True)
class WantedPlace:
    hospital_id: int
    account_id: int
    schedule_id: int
    patient_id: int


async def join_waitlist(
    connection: AsyncConnection, wanted: WantedPlace, rules: BookingRules
) -> tuple[str, int | None]:
    """`joined`, or `waiting` when this person is in that line already, with the entry's id;
    anything else is a refusal's code."""
    row = (
        await connection.execute(
            text(
                """select * from join_waitlist(:hospital_id, :account_id, :schedule_id,
                                               :patient_id, cast(:offer as jsonb))"""
            ),
            {**vars(wanted), "offer": rules.offer},
        )
    ).one()
    return row.code, row.entry_id


async def leave_waitlist(
    connection: AsyncConnection,
    hospital_id: int,
    account_id: int,
    schedule_id: int,
    patient_id: int | None = None,
) -> int:
    """How many entries of this account left that line. Who was made an offer has an order, and
    leaves by cancelling it."""
    left = await connection.execute(
        text(
            """update waitlist_entry set status = 'left', ended_at = now()
                where hospital_id = :hospital_id and account_id = :account_id
                  and schedule_id = :schedule_id and status = 'waiting'
                  and (cast(:patient_id as bigint) is null or patient_id = :patient_id)"""
        ),
        {
            "hospital_id": hospital_id,
            "account_id": account_id,
            "schedule_id": schedule_id,
            "patient_id": patient_id,
        },
    )
    return left.rowcount


async def find_entry(
    connection: AsyncConnection, hospital_id: int, account_id: int, id: int
) -> WaitlistEntry | None:
    values = {"hospital_id": hospital_id, "account_id": account_id, "id": id}
    row = (await connection.execute(text(ENTRIES + "and w.id = :id"), values)).one_or_none()
    return WaitlistEntry(**row._mapping) if row else None


async def list_entries(
    connection: AsyncConnection, hospital_id: int, account_id: int, *, page: int, size: int
) -> tuple[list[WaitlistEntry], int]:
    """A page, newest first, and how many there are in all."""
    values = {"hospital_id": hospital_id, "account_id": account_id}
    rows = await connection.execute(
        text(ENTRIES + "order by w.id desc limit :size offset (:page - 1) * :size"),
        {**values, "page": page, "size": size},
    )
    total = await connection.scalar(
        text(
            """select count(*) from waitlist_entry
                where hospital_id = :hospital_id and account_id = :account_id"""
        ),
        values,
    )
    return [WaitlistEntry(**row._mapping) for row in rows], total or 0


async def lock_line(connection: AsyncConnection, hospital_id: int, schedule_id: int) -> None:
    """Hold everybody in line, and then the slot: persons come before slots."""
    await connection.execute(
        text("select lock_line(:hospital_id, :schedule_id, '{}', array[:schedule_id])"),
        {"hospital_id": hospital_id, "schedule_id": schedule_id},
    )


async def offer_sources(connection: AsyncConnection, rules: BookingRules, schedule_id: int) -> int:
    """Pass every free source to those in line, one each; how many. The slot is locked."""
    offered = 0
    while await connection.scalar(
        text("select offer_source(:schedule_id, :next, cast(:offer as jsonb))"),
        {"schedule_id": schedule_id, "next": rules.new_order_no(), "offer": rules.offer},
    ):
        offered += 1
    return offered


# Those that another relay is ending are its own.
BEGUN = text(
    """update waitlist_entry set status = 'ended', ended_at = now()
        where id in (select w.id from waitlist_entry w join schedule s on s.id = w.schedule_id
                      where w.status = 'waiting' and s.starts_at <= now()
                        for update of w skip locked)"""
)


async def end_begun_lines(connection: AsyncConnection) -> int:
    """End every place of a slot that has begun; how many. A trigger promises the message, as it
    does for all that end without an offer (0014_waitlist_ended.sql)."""
    return (await connection.execute(BEGUN)).rowcount
