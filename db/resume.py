"""After a loss in Temporal: every order that is not finished is promised to it once more."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.rows import OPEN

# A start that Temporal knows is no second one: what runs is left alone. A payment that has nothing
# left to do looks, and ends.
RESUME = text(
    f"""with unfinished (stream, workflow, subject) as (
            select order_no, 'appointment', order_no from appointment where {OPEN}
             union all
            select stop_no, 'stop_clinic', stop_no from stop_clinic where status <> 'done'
             union all
            select number, 'work_item', number from work_item where status in ('open', 'claimed')
             union all
            select p.order_no, 'payment', p.payment_no from payment p
             where p.status = 'pending'
                or exists (select 1 from refund r
                            where r.payment_no = p.payment_no and r.status = 'pending')
                or p.status = 'paid' and exists (select 1 from appointment a
                            where a.order_no = p.order_no and a.status = 'pending'))
    insert into outbox (stream, workflow, subject)
    select stream, workflow, subject from unfinished u
     where (cast(:stream as text) is null or stream = :stream)
       and not exists (select 1 from outbox o where o.workflow = u.workflow
                          and o.subject = u.subject and o.signal is null)
     order by stream, workflow"""
)


async def resume(connection: AsyncConnection, stream: str | None = None) -> int:
    """How many starts were promised: of everything, or of one order with its payments. Twice is
    once, while the relay has not kept them."""
    return (await connection.execute(RESUME, {"stream": stream})).rowcount
