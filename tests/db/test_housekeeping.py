"""What is thrown away, and what is not."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.housekeeping import tidy

pytestmark = pytest.mark.anyio

ANSWERS = """
    insert into idempotency (account_id, key, body_hash, reference, created_at) values
        (1, 'old', '', 'A1', now() - interval '8 days'),
        (1, 'new', '', 'A2', now() - interval '6 days')"""
EVENTS = """
    insert into inbox (source, event_id, subject, kind, content, received_at) values
        ('sandbox', 'old', 'P1', 'payment_succeeded', '{}', now() - interval '181 days'),
        ('sandbox', 'new', 'P1', 'payment_succeeded', '{}', now() - interval '179 days'),
        ('twilio', 'call', 'T261122000000000000', 'completed', '{}', now() - interval '3 years'),
        ('twilio', 'gone', 'T231122000000000000', 'completed', '{}', now() - interval '4 years')"""
WINDOWS = """
    insert into rate_limit (key, count, window_ends) values
        ('over', 3, now() - interval '1 second'), ('running', 3, now() + interval '1 hour')"""


async def test_only_what_nobody_asks_for_any_more_goes(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for rows in (ANSWERS, EVENTS, WINDOWS):
            await connection.execute(text(rows))
        await tidy(connection)
        await tidy(connection)
        left = [
            (await connection.execute(text(f"select {column} from {table}"))).scalars().all()
            for table, column in (
                ("idempotency", "key"),
                ("inbox", "event_id"),
                ("rate_limit", "key"),
            )
        ]
    # What a phone company told of a call is kept for three years: R16.
    assert [sorted(names) for names in left] == [["new"], ["call", "new"], ["running"]]
