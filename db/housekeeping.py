"""Rows that say nothing any more are thrown away: none of them is an order's."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.rate_limit import forget_past_windows
from domain.law import PROCESS_KEPT
from domain.order import NumberPrefix

# As long as any client may sensibly repeat a request.
ANSWERS_KEPT = timedelta(days=7)
# A callback that comes again later than this is judged by the payment's row alone. What a phone
# company told of a consultation's call is part of its process (R16), and is kept for longer.
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
        text(
            """delete from inbox
                where received_at < now() - cast(:kept as interval)
                  and (subject not like :a_call
                       or received_at < now() - cast(:process_kept as interval))"""
        ),
        {
            "kept": EVENTS_KEPT,
            "process_kept": PROCESS_KEPT,
            "a_call": f"{NumberPrefix.PHONE_CALL}%",
        },
    )
