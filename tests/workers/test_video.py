"""Whoever watches the rooms tells what changed, and nothing while the server is away."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.keyring import Keyring
from db.video import Room, close_room, open_room, take_seat
from runtime.background import running
from tests.support.video import VideoInMemory
from workers.video import VideoWatcher, keep_watching

pytestmark = pytest.mark.anyio

ORDER = "C1"


@dataclass
class Ward:
    """An order with two seats, a server, and somebody who watches it."""

    engine: AsyncEngine
    keyring: Keyring
    video: VideoInMemory
    watcher: VideoWatcher
    room: Room

    async def seated(self, order_no: str) -> Room:
        """A room with a patient and a doctor that the server was not asked for yet."""
        async with self.engine.begin() as connection:
            await open_room(connection, self.keyring, 1, order_no)
            await take_seat(connection, self.keyring, order_no, 7, "patient")
            room = await take_seat(connection, self.keyring, order_no, 8, "doctor")
        assert room is not None
        return room

    def come(self, *roles: str) -> None:
        """These sit in the room now, and nobody else."""
        sitting = {seat.display for seat in self.room.seats if seat.role in roles}
        self.video.rooms[self.room.number].sitting = sitting

    async def close(self) -> None:
        async with self.engine.begin() as connection:
            await close_room(connection, 1, ORDER)

    async def told(self) -> list[tuple[str, bool]]:
        found = await self.rows("select args from outbox order by id")
        return [(row.args["role"], row.args["present"]) for row in found]

    async def rows(self, query: str) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(query))).all())


@pytest.fixture
async def ward(engine: AsyncEngine, keyring: Keyring) -> Ward:
    video = VideoInMemory()
    watcher = VideoWatcher(engine, keyring, video, settled=timedelta(0))
    nothing: Any = None
    ward = Ward(engine, keyring, video, watcher, nothing)
    ward.room = await ward.seated(ORDER)
    await video.ensure(ward.room.number, ward.room.secret, ward.room.tokens)
    return ward


async def test_only_changes_are_told(ward: Ward) -> None:
    for roles in [(), ("patient",), ("patient",), ("patient", "doctor"), ("doctor",), ()]:
        ward.come(*roles)
        await ward.watcher.look()
    assert await ward.told() == [
        ("patient", True), ("doctor", True), ("patient", False), ("doctor", False),
    ]  # fmt: skip


async def test_somebody_without_a_seat_is_nobody(ward: Ward) -> None:
    ward.video.rooms[ward.room.number].sitting = {"seat-of-nobody", ""}
    await ward.watcher.look()
    assert await ward.told() == []


async def test_while_the_server_is_away_nobody_has_left(ward: Ward) -> None:
    ward.come("patient", "doctor")
    await ward.watcher.look()
    ward.video.away = True
    for _ in range(3):
        await ward.watcher.look()
    ward.video.away = False
    await ward.watcher.look()
    assert await ward.told() == [("patient", True), ("doctor", True)]


async def test_a_server_that_forgot_the_room_gets_it_again_and_everybody_has_left(
    ward: Ward,
) -> None:
    ward.come("patient", "doctor")
    await ward.watcher.look()
    ward.video.rooms.clear()
    await ward.watcher.look()
    assert (await ward.told())[2:] == [("patient", False), ("doctor", False)]
    assert ward.video.rooms[ward.room.number].tokens == set(ward.room.tokens)
    ward.come("doctor")
    await ward.watcher.look()
    assert (await ward.told())[4:] == [("doctor", True)]


async def test_who_left_while_nobody_watched_is_told_afterwards(
    ward: Ward,
) -> None:
    ward.come("patient")
    await ward.watcher.look()
    ward.come("doctor")
    another = VideoWatcher(ward.engine, ward.keyring, ward.video)
    await another.look()
    assert sorted(await ward.told()) == [("doctor", True), ("patient", False), ("patient", True)]


async def test_two_who_watch_at_the_same_moment_tell_it_once(ward: Ward) -> None:
    ward.come("patient", "doctor")
    others = [VideoWatcher(ward.engine, ward.keyring, ward.video) for _ in range(4)]
    await asyncio.gather(*(one.look() for one in others))
    assert sorted(await ward.told()) == [("doctor", True), ("patient", True)]


async def test_a_closed_room_is_destroyed_until_the_server_says_so(ward: Ward) -> None:
    ward.come("patient")
    await ward.watcher.look()
    await ward.close()
    ward.video.away = True
    await ward.watcher.look()
    assert await ward.rows("select 1 from video_room where destroyed_at is not null") == []
    ward.video.away = False
    await ward.watcher.look()
    assert ward.video.rooms == {}
    [seat] = await ward.rows("select * from video_seat where role = 'patient'")
    assert (seat.present, seat.left_at is not None) == (False, True)
    assert await ward.told() == [("patient", True)]  # the end itself is no news
    ward.video.asked.clear()
    await ward.watcher.look()
    assert ward.video.asked == []


async def test_a_room_that_is_made_again_at_its_end_is_destroyed_again(ward: Ward) -> None:
    """Somebody asked for a session just before."""
    ward.watcher.settled = timedelta(minutes=1)
    await ward.close()
    for _ in range(2):
        await ward.video.ensure(ward.room.number, ward.room.secret, ward.room.tokens)
        await ward.watcher.look()
        assert ward.video.rooms == {}


async def test_a_room_that_cannot_be_read_holds_up_no_other(ward: Ward) -> None:
    broken = await ward.seated("C0")
    async with ward.engine.begin() as connection:
        await connection.execute(
            text("update data_key set wrapped = null where id = "
                 "(select data_key_id from video_room where order_no = 'C0')")
        )  # fmt: skip
    ward.come("patient")
    await ward.watcher.look()
    assert await ward.told() == [("patient", True)]
    assert broken.number not in ward.video.rooms


async def test_one_of_several_watches_and_the_next_takes_over(
    ward: Ward, database_url: str
) -> None:
    looks, looked = {"first": 0, "second": 0}, asyncio.Event()

    class Looks(VideoWatcher):
        name = ""

        async def look(self) -> None:
            looks[self.name] += 1
            looked.set()

    def watching(name: str) -> Any:
        one = Looks(ward.engine, ward.keyring, ward.video)
        one.name = name
        return keep_watching(one, database_url, every=0.01)

    async def until(name: str, count: int) -> None:
        async with asyncio.timeout(20):
            while looks[name] < count:
                looked.clear()
                await looked.wait()

    async with running(watching("first")):
        await until("first", 1)
        async with running(watching("second")):
            await until("first", 10)
            assert looks["second"] == 0
    async with running(watching("second")):
        await until("second", 3)


async def test_the_watch_goes_on_after_the_database_was_away(ward: Ward, database_url: str) -> None:
    ward.come("patient")
    async with running(keep_watching(ward.watcher, database_url, every=0.01)):
        await _until_told(ward, 1)
        async with ward.engine.begin() as connection:
            await connection.execute(
                text("""select pg_terminate_backend(pid) from pg_stat_activity
                         where pid <> pg_backend_pid() and datname = current_database()""")
            )
        ward.come("doctor")
        await _until_told(ward, 3)


async def _until_told(ward: Ward, count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if len(await ward.told()) >= count:
                    return
            except Exception:  # noqa: S110 its connection was cut off as well
                pass
            await asyncio.sleep(0.02)


def test_the_watch_keeps_nobody_else_waiting() -> None:
    """It holds its lock for as long as it runs."""
    from cli.bench import stage
    from cli.seed import LOCK as SEED
    from db.migrate import LOCK as MIGRATE
    from workers.video import LOCK as WATCH

    assert len({WATCH, SEED, MIGRATE, stage.LOCK}) == 4
