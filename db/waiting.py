"""What each open order waits for: for operators, from the rows."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.stop_clinic import RESUME_BY

# One line an order: whom it waits for, until when, and what then happens by itself. The moments are
# those that its workflow was promised; `since` is its last move. A refund becomes a work item some
# time after it was promised or a person last looked at it (`db.payment.is_overdue`), and then waits
# for that person alone. A stop that is paused goes on by itself at last.
OPEN_ORDERS = f"""
    with open_order as (
        select 'appointment' as kind, a.order_no, a.id, a.status, a.doctor_id, a.department_id,
               a.created_at as began,
               case when a.status = 'pending' then 'payment'
                    when a.status = 'checked_in' and a.choose_by is not null then 'desk'
                    when a.status = 'checked_in' then 'doctor'
                    when a.choose_by is not null then 'choice'
                    else 'patient' end as waiting_for,
               case when a.status = 'pending' then a.pay_by
                    when a.status = 'checked_in' then
                         (date_trunc('day', (a.starts_at + t.no_show_after) at time zone :zone)
                          + interval '1 day') at time zone :zone
                    when a.choose_by is not null then a.choose_by
                    else a.starts_at + t.no_show_after end as due,
               case when a.status = 'pending' then 'release'
                    when a.choose_by is not null then 'refund'
                    when a.status = 'checked_in' then 'complete'
                    else 'no_show' end as next_step
          from appointment a
         cross join lateral (select (a.terms ->> 'no_show_after')::interval as no_show_after) t
         where a.hospital_id = :hospital_id and a.status in ('pending', 'confirmed', 'checked_in')
        union all
        select 'consultation', c.order_no, c.id, c.status, c.doctor_id, c.department_id,
               c.created_at, c.waiting_for, c.due_at, c.next_step
          from consultation c
         where c.hospital_id = :hospital_id and c.status in ('pending', 'consulting')
        union all
        select 'payment', p.payment_no, p.id, p.status, null, null, p.created_at, 'payment',
               p.expires_at + cast(:settle_grace as interval), 'settle'
          from payment p where p.hospital_id = :hospital_id and p.status = 'pending'
        union all
        select 'refund', r.refund_no, r.id, r.status, null, null, r.created_at,
               case when w.stuck then 'operator' else 'gateway' end,
               case when not w.stuck then greatest(r.created_at, w.looked_at)
                                          + cast(:refund_retry_for as interval) end,
               case when not w.stuck then 'work_item' end
          from refund r
         cross join lateral (
               select count(*) filter (where closed_at is null) > 0 as stuck,
                      max(closed_at) as looked_at
                 from work_item i
                where i.hospital_id = r.hospital_id and i.kind = 'refund_stuck'
                  and i.subject = r.refund_no) w
         where r.hospital_id = :hospital_id and r.status = 'pending'
        union all
        select 'stop_clinic', c.stop_no, c.id, c.status, c.doctor_id, null, c.created_at,
               case when c.status = 'paused' or cardinality(c.failing) > 0
                    then 'operator' else 'patients' end,
               case when c.status = 'paused' then {RESUME_BY} else c.choose_by end,
               case when c.status = 'paused' then 'resume' else 'refund' end
          from stop_clinic c where c.hospital_id = :hospital_id and c.status <> 'done'
    )
"""
WANTED = """
      from open_order o
     where (cast(:kind as text) is null or o.kind = :kind)
       and (cast(:status as text) is null or o.status = :status)
       and (cast(:waiting_for as text) is null or o.waiting_for = :waiting_for)
       and (not :overdue or o.due < now())
"""
PAGE = text(
    OPEN_ORDERS
    + """select o.kind, o.order_no, o.id, o.status, o.doctor_id, o.department_id,
                o.waiting_for, o.due, o.next_step,
                coalesce((select t.at from timeline t where t.order_no = o.order_no
                               order by t.version desc limit 1), o.began) as since"""
    + WANTED
    + "order by o.due, o.order_no limit :size offset (:page - 1) * :size"
)
TOTAL = text(OPEN_ORDERS + "select count(*)" + WANTED)
# What is listed and is no order of a patient's; a refund lives in its payment's workflow.
FOUND = text(
    """select 'payment' as kind, status, 'payment/' || payment_no as workflow_id
         from payment where hospital_id = :hospital_id and payment_no = :number
        union all
       select 'refund', status, 'payment/' || payment_no
         from refund where hospital_id = :hospital_id and refund_no = :number
        union all
       select 'stop_clinic', status, 'stop_clinic/' || stop_no
         from stop_clinic where hospital_id = :hospital_id and stop_no = :number"""
)


@dataclass(frozen=True)
class WantedOrders:
    """None does not narrow. `settle_grace` and `refund_retry_for` are intervals."""

    hospital_id: int
    zone: str
    settle_grace: str
    refund_retry_for: str
    kind: str | None
    status: str | None
    waiting_for: str | None
    overdue: bool
    page: int
    size: int


@dataclass(frozen=True)
class OpenOrder:
    kind: str
    order_no: str
    id: int
    status: str
    doctor_id: int | None
    department_id: int | None
    waiting_for: str
    due: datetime | None  # neither of these: nothing happens by itself
    next_step: str | None
    since: datetime


@dataclass(frozen=True)
class Found:
    kind: str
    status: str
    workflow_id: str  # whose it is


async def find_other(connection: AsyncConnection, hospital_id: int, number: str) -> Found | None:
    """The payment, refund or stop of this number."""
    values = {"hospital_id": hospital_id, "number": number}
    row = (await connection.execute(FOUND, values)).one_or_none()
    return Found(**row._mapping) if row else None


async def list_open_orders(
    connection: AsyncConnection, wanted: WantedOrders
) -> tuple[list[OpenOrder], int]:
    """A page, the soonest due first, and how many there are in all."""
    rows = await connection.execute(PAGE, vars(wanted))
    total = await connection.scalar(TOTAL, vars(wanted))
    return [OpenOrder(**row._mapping) for row in rows], total or 0
