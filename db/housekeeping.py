"""Rows that say nothing any more are thrown away: none of them is an order's."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.rate_limit import forget_past_windows

# As long as any client may sensibly repeat a request.
ANSWERS_KEPT = timedelta(days=7)
# A callback that comes again later than this is judged by the payment's row alone.
EVENTS_KEPT = timedelta(days=180)


async def tidy(connection: AsyncConnection) -> None:
    """Safe to run at any time and from several places."""
    await forget_past_windows(connection)
    await connection.execute(
        text("delete from idempotency where created_at < now() - cast(:kept as interval)"),
        {"kept": ANSWERS_KEPT},
    )
    await connection.execute(
        text("delete from sms_code where expires_at < now() - interval '1 day'")
    )
    await connection.execute(
        text("delete from inbox where received_at < now() - cast(:kept as interval)"),
        {"kept": EVENTS_KEPT},
    )
