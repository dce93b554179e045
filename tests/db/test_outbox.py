"""Promises to Temporal and news from the world, in the transaction of what they belong to."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.outbox import promise, receive

pytestmark = pytest.mark.anyio


async def test_a_promise_stands_or_falls_with_its_transaction(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:  # never commits
        await promise(connection, stream="A1", workflow="appointment", subject="A1")
    async with engine.begin() as connection:
        await promise(
            connection, stream="A1", workflow="payment", subject="P1",
            signal="refund_owed", args={"refund_no": "R1"},
        )  # fmt: skip
    async with engine.connect() as connection:
        row = (await connection.execute(text("select * from outbox"))).one()
    assert (row.stream, row.workflow, row.subject) == ("A1", "payment", "P1")
    assert (row.signal, row.args) == ("refund_owed", {"refund_no": "R1"})
    assert (row.attempts, row.error) == (0, None)


async def test_news_is_kept_once_however_many_bring_it(engine: AsyncEngine) -> None:
    async def bring(source: str) -> bool:
        async with engine.begin() as connection:
            return await receive(
                connection, source=source, event_id="E1", subject="P1", kind="payment_succeeded",
                content={"amount": "50.00"},
            )  # fmt: skip

    kept = await asyncio.gather(*(bring("sandbox") for _ in range(20)))
    assert Counter(kept) == {True: 1, False: 19}
    assert await bring("another-gateway")


async def test_news_whose_writing_failed_is_news_again(engine: AsyncEngine) -> None:
    for _ in range(2):
        async with engine.connect() as connection:  # never commits
            assert await receive(
                connection, source="sandbox", event_id="E1", subject="P1", kind="k", content={}
            )
