"""Data keys wrapped anew under the current key, in batches, and nobody brought back."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.account import DataKeyRow, keys_in_use, new_sealing_key, rewrap
from db.keyring import Keyring

pytestmark = pytest.mark.anyio


@pytest.fixture
def rotated(keyring: Keyring) -> Keyring:
    return replace(keyring, current="k2", keys={**keyring.keys, "k2": b"2" * 32})


async def make_keys(engine: AsyncEngine, keyring: Keyring, count: int) -> dict[int, bytes]:
    async with engine.begin() as connection:
        made = [await new_sealing_key(connection, keyring) for _ in range(count)]
    return {one.id: one.key.key for one in made}


async def opened(engine: AsyncEngine, keyring: Keyring) -> dict[int, bytes]:
    async with engine.connect() as connection:
        rows = (await connection.execute(select(DataKeyRow.id, DataKeyRow.wrapped))).all()
    return {row.id: keyring.unwrap(row.wrapped).key for row in rows}


async def test_every_data_key_stays_the_same_under_another_key(
    engine: AsyncEngine, keyring: Keyring, rotated: Keyring
) -> None:
    before = await make_keys(engine, keyring, 5)
    after, batches = 0, []
    while True:
        async with engine.begin() as connection:
            batch = await rewrap(connection, rotated, after, batch=2)
        batches.append(batch.done)
        if batch.last is None:
            break
        after = batch.last
    assert batches == [2, 2, 1, 0]
    only_new = replace(rotated, keys={"k2": rotated.keys["k2"]})
    assert await opened(engine, only_new) == before
    async with engine.connect() as connection:
        assert await keys_in_use(connection) == {"k2": 5}


async def test_what_is_left_of_a_stopped_run_is_done_by_the_next_and_nothing_twice(
    engine: AsyncEngine, keyring: Keyring, rotated: Keyring
) -> None:
    await make_keys(engine, keyring, 4)
    done = []
    for size in (3, 500, 500):
        async with engine.begin() as connection:
            done.append((await rewrap(connection, rotated, 0, batch=size)).done)
    assert done == [3, 1, 0]


async def test_somebody_shredded_stays_shredded(
    engine: AsyncEngine, keyring: Keyring, rotated: Keyring
) -> None:
    await make_keys(engine, keyring, 2)
    async with engine.begin() as connection:
        await connection.execute(update(DataKeyRow).where(DataKeyRow.id == 1).values(wrapped=None))
        assert (await rewrap(connection, rotated, 0)).done == 1
        gone = await connection.scalar(select(DataKeyRow.wrapped).where(DataKeyRow.id == 1))
    assert gone is None


async def test_a_key_that_the_keyring_lacks_is_named_and_the_others_go_on(
    engine: AsyncEngine, keyring: Keyring, rotated: Keyring
) -> None:
    lost = Keyring(current="k0", keys={"k0": b"0" * 32}, index=keyring.index)
    await make_keys(engine, lost, 1)
    await make_keys(engine, keyring, 1)
    async with engine.begin() as connection:
        batch = await rewrap(connection, rotated, 0)
        assert (batch.done, batch.unknown) == (1, ("k0",))
        assert await keys_in_use(connection) == {"k0": 1, "k2": 1}


async def test_a_key_named_like_the_beginning_of_another_is_another(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    long = Keyring(current="k11", keys={"k11": b"3" * 32, **keyring.keys}, index=keyring.index)
    await make_keys(engine, long, 1)
    async with engine.begin() as connection:
        assert (await rewrap(connection, replace(long, current="k1"), 0)).done == 1
        count = await connection.scalar(text("select count(*) from data_key"))
    assert count == 1
