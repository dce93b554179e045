"""Rooms and seats are written once, whoever asks how often; what is closed stays closed."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.account.data_keys import rewrap
from db.keyring import Keyring
from db.video import (
    Room,
    close_room,
    load_room,
    open_room,
    record_destroyed,
    record_presence,
    rooms_to_watch,
    take_seat,
    was_there,
)

pytestmark = pytest.mark.anyio

ORDER = "C261123ABCDEFGHJKMN"
AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


async def sit(
    engine: AsyncEngine, keyring: Keyring, account_id: int, role: str, order_no: str = ORDER
) -> Room | None:
    async with engine.begin() as connection:
        await open_room(connection, keyring, 1, order_no)
        return await take_seat(connection, keyring, order_no, account_id, role)


async def rows(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(query))).all())


async def test_many_who_come_at_once_open_one_room_and_get_a_seat_each(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    people = [(7, "patient"), (8, "doctor")] * 5
    rooms = await asyncio.gather(*(sit(engine, keyring, *person) for person in people))
    whole = await sit(engine, keyring, 7, "patient")
    assert whole is not None
    assert {room.number for room in rooms if room} == {whole.number}
    assert {seat.account_id: seat.role for seat in whole.seats} == {7: "patient", 8: "doctor"}
    assert len(set(whole.tokens)) == 2
    assert len(await rows(engine, "select 1 from video_room")) == 1
    assert len(await rows(engine, "select 1 from data_key")) == 1  # none is left over


async def test_a_seat_stays_the_same_and_is_of_one_room(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    first, again, elsewhere = [
        await sit(engine, keyring, 7, "patient", order) for order in ("C1", "C1", "C2")
    ]
    assert first is not None
    assert again is not None
    assert elsewhere is not None
    assert first.seat_of(7) == again.seat_of(7)
    assert first.seat_of(7).token != elsewhere.seat_of(7).token
    assert first.seat_of(7).display != elsewhere.seat_of(7).display
    assert first.number != elsewhere.number


async def test_secret_and_tokens_are_sealed_and_survive_new_keys(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    room = await sit(engine, keyring, 7, "patient")
    assert room is not None
    kept = await rows(engine, "select sealed from video_room union select sealed from video_seat")
    for word in (room.secret, *room.tokens):
        assert word not in repr(room)
        assert all(word.encode() not in bytes(row.sealed) for row in kept)
    newer = Keyring("k2", {**keyring.keys, "k2": b"2" * 32}, keyring.index)
    async with engine.begin() as connection:
        await rewrap(connection, newer, 0)
    without = Keyring("k2", {"k2": b"2" * 32}, keyring.index)
    async with engine.connect() as connection:
        assert await load_room(connection, without, ORDER) == room


async def test_nobody_gets_into_a_room_that_is_closed(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    assert await sit(engine, keyring, 7, "patient")
    for _ in range(2):
        async with engine.begin() as connection:
            await close_room(connection, 1, ORDER)
    assert await sit(engine, keyring, 7, "patient") is None
    assert await sit(engine, keyring, 8, "doctor") is None


async def test_a_room_that_nobody_opened_is_closed_for_good_too(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    async with engine.begin() as connection:
        await close_room(connection, 1, ORDER)
    assert await sit(engine, keyring, 7, "patient") is None
    async with engine.connect() as connection:
        assert await rooms_to_watch(connection) == []  # the server was never asked for it
        assert await load_room(connection, keyring, ORDER) is None


async def test_the_first_end_counts(engine: AsyncEngine, keyring: Keyring) -> None:
    assert await sit(engine, keyring, 7, "patient")
    ends = []
    for _ in range(2):
        async with engine.begin() as connection:
            await close_room(connection, 1, ORDER)
        ends += await rows(engine, "select closed_at, destroyed_at from video_room")
    assert ends[0] == ends[1]
    assert ends[0].destroyed_at is None


async def test_coming_and_going_is_written_down_and_told_once(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    room = await sit(engine, keyring, 7, "patient")
    assert room is not None
    display = room.seat_of(7).display
    minutes = [AT + timedelta(minutes=n) for n in range(6)]
    steps = [(True, 0), (True, 1), (False, 2), (False, 3), (True, 4), (False, 5)]
    for present, minute in steps:
        async with engine.begin() as connection:
            [seen] = await rooms_to_watch(connection)
            await record_presence(connection, seen, [(display, present)], minutes[minute])
    [seat] = await rows(engine, "select * from video_seat")
    assert (seat.present, seat.first_joined_at) == (False, minutes[0])
    assert (seat.joined_at, seat.left_at) == (minutes[4], minutes[5])
    told = await rows(engine, "select * from outbox order by id")
    assert [(row.args["present"], row.args["at"]) for row in told] == [
        (present, minutes[minute].isoformat())
        for present, minute in [(True, 0), (False, 2), (True, 4), (False, 5)]
    ]
    assert {(row.stream, row.workflow, row.subject, row.signal) for row in told} == {
        (ORDER, "consultation", ORDER, "presence")
    }
    assert {row.args["role"] for row in told} == {"patient"}


async def test_who_was_there_since_an_instant_is_known_after_they_left(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    room = await sit(engine, keyring, 8, "doctor")
    assert room is not None
    display = room.seats[0].display
    minute = timedelta(minutes=1)

    async def seen(role: str, since: datetime) -> bool:
        async with engine.connect() as connection:
            return await was_there(connection, ORDER, role, since)

    assert not await seen("doctor", AT)  # has a seat, and never came
    for present, at in ((True, AT), (False, AT + minute)):
        async with engine.begin() as connection:
            [watched] = await rooms_to_watch(connection)
            await record_presence(connection, watched, [(display, present)], at)
        assert await seen("doctor", AT + minute)
        assert not await seen("patient", AT)
    assert not await seen("doctor", AT + 2 * minute)


async def test_an_order_of_another_kind_is_told_of_as_that(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    async with engine.begin() as connection:
        await open_room(connection, keyring, 1, "R1", kind="remote_consultation")
        room = await take_seat(connection, keyring, "R1", 9, "invited")
        assert room is not None
        [seen] = await rooms_to_watch(connection)
        await record_presence(connection, seen, [(room.seats[0].display, True)], AT)
    [told] = await rows(engine, "select * from outbox")
    assert (told.workflow, told.args["role"]) == ("remote_consultation", "invited")


async def test_what_happens_in_a_closed_room_is_told_to_nobody(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    room = await sit(engine, keyring, 7, "patient")
    assert room is not None
    async with engine.begin() as connection:
        [seen] = await rooms_to_watch(connection)  # looked at just before the end
        await close_room(connection, 1, ORDER)
        await record_presence(connection, seen, [(room.seats[0].display, True)], AT)
    assert await rows(engine, "select 1 from outbox") == []


async def test_a_closed_room_is_looked_at_until_it_has_settled(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    assert await sit(engine, keyring, 7, "patient")
    async with engine.begin() as connection:
        await close_room(connection, 1, ORDER)
    for settled, left in [(timedelta(minutes=1), 1), (timedelta(0), 0)]:
        async with engine.begin() as connection:
            await record_destroyed(connection, ORDER, settled=settled)
        async with engine.connect() as connection:
            assert len(await rooms_to_watch(connection)) == left


async def test_an_open_room_is_never_written_off(engine: AsyncEngine, keyring: Keyring) -> None:
    assert await sit(engine, keyring, 7, "patient")
    async with engine.begin() as connection:
        await record_destroyed(connection, ORDER, settled=timedelta(0))
    async with engine.connect() as connection:
        assert len(await rooms_to_watch(connection)) == 1
