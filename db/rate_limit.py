"""How often is too often, counted in PostgreSQL so that every process sees the same number."""

import math
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.rows import RateLimitRow


@dataclass(frozen=True)
class Limit:
    """At most `most` times within `window`, which begins with the first time."""

    key: str  # what, and a blind index of whom
    most: int
    window: timedelta


class TooOften(Exception):
    """`retry_after`: seconds until the window ends."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


# One statement: whoever waits here for the row's lock judges the count that the one before left.
COUNT = text("""
    insert into rate_limit (key, count, window_ends) values (:key, 1, now() + :window)
    on conflict (key) do update set
        count = case when rate_limit.window_ends <= now() then 1 else rate_limit.count + 1 end,
        window_ends = case when rate_limit.window_ends <= now()
                           then excluded.window_ends else rate_limit.window_ends end
    where rate_limit.window_ends <= now() or rate_limit.count < :most
    returning count
""")


async def count(connection: AsyncConnection, *limits: Limit) -> None:
    """Count one more under each limit. Raises TooOften for the first that is reached; the caller
    then rolls back, so that refusals count nowhere.

    All callers name their limits in one sequence, persons before addresses: rows are locked in it.
    """
    for limit in limits:
        counted = await connection.execute(
            COUNT, {"key": limit.key, "most": limit.most, "window": limit.window}
        )
        if counted.scalar() is None:
            raise TooOften(await _seconds_left(connection, limit.key))


async def give_back(connection: AsyncConnection, *keys: str) -> None:
    """Take one count back: what was counted beforehand turned out not to count."""
    for key in keys:
        await connection.execute(
            update(RateLimitRow)
            .where(RateLimitRow.key == key, RateLimitRow.count > 0)
            .values(count=RateLimitRow.count - 1)
        )


async def forget(connection: AsyncConnection, key: str) -> None:
    await connection.execute(delete(RateLimitRow).where(RateLimitRow.key == key))


async def forget_past_windows(connection: AsyncConnection) -> None:
    """Housekeeping: rows whose window is over say nothing any more."""
    await connection.execute(text("delete from rate_limit where window_ends < now()"))


async def _seconds_left(connection: AsyncConnection, key: str) -> int:
    left = await connection.execute(
        text("select extract(epoch from window_ends - now()) from rate_limit where key = :key"),
        {"key": key},
    )
    return max(1, math.ceil(left.scalar() or 0))
