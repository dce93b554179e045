"""Every order that is not finished has a workflow. After a loss in Temporal they are promised to
it once more, all of them; each night those that lack theirs."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.rows import OPEN
from db.consultation.rows import OPEN as OPEN_CONSULTATION
from db.work_item.rows import OPEN as OPEN_WORK

# A start that Temporal knows is no second one: what runs is left alone. A payment that has nothing
# left to do looks, and ends.
UNFINISHED = f"""
    select order_no as stream, 'appointment' as workflow, order_no as subject, created_at
      from appointment a where {OPEN}
        or status = 'cancelled' and payment_no is not null
           and not exists (select 1 from refund r where r.payment_no = a.payment_no)
     union all
    select order_no, 'consultation', order_no, created_at
      from consultation c where {OPEN_CONSULTATION}
        or status = 'refunded' and payment_no is not null
           and not exists (select 1 from refund r where r.payment_no = c.payment_no)
     union all
    select p.order_no, 'payment', p.payment_no, p.created_at from payment p
     where p.status = 'pending'
        or exists (select 1 from refund r
                    where r.payment_no = p.payment_no and r.status = 'pending')
        or p.status = 'paid' and exists (select 1 from appointment a
                    where a.order_no = p.order_no and a.status = 'pending')
        or p.status = 'paid' and exists (select 1 from consultation c
                    where c.order_no = p.order_no and c.status = 'pending' and c.paid_at is null)
     union all
    select stop_no, 'stop_clinic', stop_no, created_at from stop_clinic where status <> 'done'
     union all
    select number, 'work_item', number, opened_at from work_item where {OPEN_WORK}
"""
NOT_PROMISED = """not exists (select 1 from outbox o where o.workflow = u.workflow
                                 and o.subject = u.subject and o.signal is null)"""
RESUME = text(
    f"""insert into outbox (stream, workflow, subject)
        select stream, workflow, subject from ({UNFINISHED}) u
         where (cast(:stream as text) is null or stream = :stream) and {NOT_PROMISED}
         order by stream, workflow"""
)
RESUME_ONE = text(
    f"""insert into outbox (stream, workflow, subject)
        select stream, workflow, subject from ({UNFINISHED}) u
         where u.workflow = :workflow and u.subject = :subject and {NOT_PROMISED}"""
)
# Every open row, and payments only while somebody may still pay: of the others nobody can tell by
# the row alone whether something is left to do.
OPEN_ROWS = text(
    f"""select u.workflow || '/' || u.subject from ({UNFINISHED}) u
         where u.created_at < now() - :age and {NOT_PROMISED}
           and (u.workflow <> 'payment' or exists (
                    select 1 from payment where payment_no = u.subject and status = 'pending'))"""
)
OPEN_AMONG = text(
    f"""select u.workflow || '/' || u.subject from ({UNFINISHED}) u
         where u.workflow || '/' || u.subject = any(:ids)"""
)
KNOWN_PAYMENTS = text(
    "select 'payment/' || payment_no from payment where 'payment/' || payment_no = any(:ids)"
)


async def resume(connection: AsyncConnection, stream: str | None = None) -> int:
    """How many starts were promised: of everything, or of one order with its payments. Twice is
    once, while the relay has not kept them."""
    return (await connection.execute(RESUME, {"stream": stream})).rowcount


async def resume_one(connection: AsyncConnection, workflow_id: str) -> bool:
    """Promise this one's start, `<workflow>/<subject>`. False when its row is closed, or the relay
    has the promise already."""
    workflow, _, subject = workflow_id.partition("/")
    promised = await connection.execute(RESUME_ONE, {"workflow": workflow, "subject": subject})
    return promised.rowcount == 1


async def rows_that_run(connection: AsyncConnection, age: timedelta) -> set[str]:
    """The ids of the workflows that rows older than `age` must have now."""
    return set((await connection.execute(OPEN_ROWS, {"age": age})).scalars())


async def may_run(connection: AsyncConnection, ids: list[str]) -> set[str]:
    """Which of these workflows have something to do, as far as rows can say: a payment's may have
    as long as its row is there."""
    found = set[str]()
    for query in (OPEN_AMONG, KNOWN_PAYMENTS):
        found |= set((await connection.execute(query, {"ids": ids})).scalars())
    return found
