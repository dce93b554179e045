"""Watches the video rooms: who joined, who left, and that closed rooms are gone.

The server is asked every two seconds; only what changed is written and told. One of several
processes does it at a time, the one that holds an advisory lock of PostgreSQL.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.gateways.video import NoSuchRoom, VideoGateway, VideoUnavailable
from db.keyring import Keyring
from db.video import Watched, load_room, record_destroyed, record_presence, rooms_to_watch

log = structlog.get_logger(__name__)

WATCH_EVERY = 2.0  # seconds
AT_ONCE = 8  # rooms that are asked for at the same time
LOCK = 7236874  # any number that nobody else takes: `seed` and `bench` have theirs
# After its end a room is destroyed again and again for so long: who asked for a session just before
# has it made once more, at the latest when the requests of that have run into their limit.
SETTLED = timedelta(seconds=15)


@dataclass
class VideoWatcher:
    engine: AsyncEngine
    keyring: Keyring
    video: VideoGateway
    settled: timedelta = SETTLED
    away: str | None = field(default=None, init=False)  # why the server is, told once

    async def look(self) -> None:
        """One round over all rooms. A room that cannot be looked at holds up no other."""
        async with self.engine.connect() as connection:
            rooms = await rooms_to_watch(connection)
        turns = asyncio.Semaphore(AT_ONCE)

        async def look_at(room: Watched) -> str | None:
            async with turns:
                return await self._look_at(room)

        codes = await asyncio.gather(*(look_at(room) for room in rooms))
        away = next((code for code in codes if code is not None), None)
        if away != self.away:
            log.warning("video_away" if away else "video_back", error=away)
            self.away = away

    async def _look_at(self, room: Watched) -> str | None:
        """The code of what kept us from it. While the server is away nobody has left."""
        try:
            if room.closed:
                await self._destroy(room)
            else:
                await self._watch(room)
        except VideoUnavailable as away:
            return away.code
        except SQLAlchemyError:
            raise
        except Exception as error:
            log.error("room_not_watched", order_no=room.order_no, error=type(error).__name__)
        return None

    async def _watch(self, room: Watched) -> None:
        lost, sitting = False, frozenset[str]()
        try:
            sitting = await self.video.participants(room.number)
        except NoSuchRoom:
            lost = True
        changes = [
            (display, display in sitting)
            for display, present in room.present.items()
            if present != (display in sitting)
        ]
        if changes:
            async with self.engine.begin() as connection:
                await record_presence(connection, room, changes, datetime.now(UTC))
        if lost and room.present:  # it was never made, or the server began anew
            await self._make_again(room)

    async def _make_again(self, room: Watched) -> None:
        async with self.engine.connect() as connection:
            whole = await load_room(connection, self.keyring, room.order_no)
        if whole is not None:
            await self.video.ensure(whole.number, whole.secret, whole.tokens)

    async def _destroy(self, room: Watched) -> None:
        async with self.engine.connect() as connection:
            whole = await load_room(connection, self.keyring, room.order_no)
        if whole is not None:
            await self.video.destroy(whole.number, whole.secret)
        async with self.engine.begin() as connection:
            await record_destroyed(connection, room.order_no, settled=self.settled)


async def keep_watching(
    watcher: VideoWatcher, database_url: str, every: float = WATCH_EVERY
) -> None:
    """Watch while nobody else does. With the connection the lock is lost, and sought again."""
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
            async with connection:
                await _watch_alone(watcher, connection, every)
        except (psycopg.Error, SQLAlchemyError) as error:
            log.warning("not_watching", error=type(error).__name__)
        await asyncio.sleep(every)


async def _watch_alone(
    watcher: VideoWatcher, connection: psycopg.AsyncConnection, every: float
) -> None:
    held = False
    while True:
        if held := held or await _lock(connection):
            # Raises when the connection is lost, and with it the lock.
            await connection.execute("select 1")
            await watcher.look()
        await asyncio.sleep(every)


async def _lock(connection: psycopg.AsyncConnection) -> bool:
    row = await (await connection.execute("select pg_try_advisory_lock(%s)", [LOCK])).fetchone()
    return bool(row and row[0])
