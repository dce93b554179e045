"""What waits, in figures: looked at every few seconds, so each query is a small one."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.work_item.rows import OPEN

OUTBOX = text(
    """select count(*) as waiting,
              coalesce(extract(epoch from now() - min(created_at)), 0)::float as oldest
         from outbox"""
)
# What somebody holds is being looked at, until the lease is over.
WORK_ITEMS = text(
    f"""select role, kind, extract(epoch from now() - min(opened_at))::float as oldest
         from work_item
        where {OPEN} and (status = 'open' or lease_until <= now())
        group by role, kind"""
)
# Of the channels that were compared lately (one that is set up no more is missed by nobody) the one
# that was finished longest ago. Never at all is since the first payment.
RECONCILIATION = text(
    """select coalesce(extract(epoch from now() - coalesce(
           (select min(finished) from (
               select coalesce(max(finished_at) filter (where status <> 'stopped'),
                               min(started_at)) as finished
                 from reconciliation_run where started_at > now() - interval '7 days'
                group by channel) channels),
           (select created_at from payment order by id limit 1))), 0)::float"""
)


async def outbox_waiting(connection: AsyncConnection) -> tuple[int, float]:
    """How many promises wait, and the age of the oldest in seconds."""
    row = (await connection.execute(OUTBOX)).one()
    return row.waiting, row.oldest


async def oldest_work_items(connection: AsyncConnection) -> Mapping[tuple[str, str], float]:
    """The age in seconds of the oldest that nobody holds, by role and kind."""
    return {(row.role, row.kind): row.oldest for row in await connection.execute(WORK_ITEMS)}


async def since_reconciled(connection: AsyncConnection) -> float:
    """Seconds since bills and books were last compared to the end."""
    age: float = (await connection.execute(RECONCILIATION)).scalar_one()
    return age
