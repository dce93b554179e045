"""Live conversations: one listening connection a process, many listeners.

Whoever writes rings here and, by NOTIFY, in the other processes; a ring carries ids only. What is
new is read from PostgreSQL once for all who listen to an order. A listener knows by its cursor what
it has, and messages count without gaps: whatever was missed, dropped because it read too slowly, or
said twice shows there, and the listener reads what is missing by itself. Rings may thus be lost: at
the latest a slow look finds out.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import psycopg
import structlog
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.listeners import Listener
from db.bell import AT_MOST, CHANNEL, call
from db.conversation import Head, News, news_of
from db.keyring import Keyring
from domain.access import Caller
from domain.conversation import Cursor, Side

log = structlog.get_logger(__name__)
T = TypeVar("T")

PAUSE = 0.005  # seconds between two calls to the other processes
BEAT = 15  # seconds: a listener hears something at least so often, and proxies keep it open
LOOK = 10  # seconds: the longest that a lost ring delays a message
CATCHING_UP = 3  # listeners that read by themselves at the same time, of the pool's connections
BATCH = 200  # orders that are looked at at once


@dataclass
class Room:
    """Those who listen to one order, and how far they were all told. That comes from rows alone:
    an id that one of them brought decides nothing for the others."""

    order_no: str
    turn: int  # for looks
    listeners: set[Listener] = field(default_factory=set)
    cursor: Cursor | None = None  # None before the first look
    rung_early: bool = False


class Streams:
    def __init__(
        self,
        engine: AsyncEngine,
        database_url: str,
        keyring: Keyring,
        ended: Callable[[int], bool],
        *,
        most: int = 6000,
        most_of_one: int = 5,  # of one account on one order
    ) -> None:
        self._engine = engine
        self._database_url = database_url
        self._keyring = keyring
        self._login_ended = ended
        self._most, self._most_of_one = most, most_of_one
        self._name = secrets.token_hex(8)
        self._rooms: dict[str, Room] = {}
        self._open = 0
        self._turns, self._room_turns = itertools.count(), itertools.count()
        self._closing = False
        self._due: dict[str, None] = {}  # orders that were rung, oldest first
        self._rung = asyncio.Event()
        self._to_call: set[str] = set()
        self._to_hint: set[tuple[str, str]] = set()
        self._called = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)

    # For routes

    def ring(self, order_no: str) -> None:
        """Something happened in this conversation, and is committed."""
        self._ring_here((order_no,))
        self._to_call.add(order_no)
        self._called.set()

    def hint(self, order_no: str, side: Side) -> None:
        """Somebody is typing. Kept nowhere."""
        self._hint_here(order_no, side)
        self._to_hint.add((order_no, side))
        self._called.set()

    def takes(self, order_no: str, caller: Caller) -> bool:
        """Whether there is room for another stream of this account on this order."""
        room = self._rooms.get(order_no)
        listeners = room.listeners if room else ()
        of_one = sum(one.caller.account_id == caller.account_id for one in listeners)
        return not self._closing and self._open < self._most and of_one < self._most_of_one

    @contextlib.contextmanager
    def listening(self, order_no: str, caller: Caller, cursor: Cursor) -> Iterator[Listener]:
        """A Listener for as long as the block lasts."""
        room = self._rooms.get(order_no) or Room(order_no, next(self._room_turns))
        look = partial(self.look, room)
        listener = Listener(look, caller, cursor, next(self._turns))
        self._rooms[order_no] = room
        room.listeners.add(listener)
        self._open += 1
        try:
            yield listener
        finally:
            self._open -= 1
            room.listeners.discard(listener)
            if not room.listeners and self._rooms.get(order_no) is room:
                del self._rooms[order_no]

    @property
    def open(self) -> int:
        return self._open

    def close(self) -> None:
        """Every stream ends: the process is about to."""
        self._closing = True
        for listener in self._listeners():
            listener.end()

    async def look(self, room: Room, after: int) -> News | None:
        """For one listener that catches up. None when there is no such order."""
        async with self._catching_up, self._engine.connect() as connection:
            found = await news_of(connection, self._keyring, {room.order_no: after})
        news = found.get(room.order_no)
        if news is not None and room.cursor is None:
            self._begin(room, news.head)
        return news

    def _begin(self, room: Room, head: Head) -> None:
        """Others may have read a moment before this, and heard nothing since: the head shows them
        what they miss."""
        room.cursor = head.cursor
        for listener in room.listeners:
            listener.offer(News(head, after=head.last))
        if room.rung_early:
            self._ring_here((room.order_no,))

    # Beside the requests

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as work:
            for one in (self._tell(), self._call(), self._listen(), self._tick()):
                work.create_task(one)

    async def _tell(self) -> None:
        """Read what is new for those that were rung, and offer it to who listens."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            while self._due:
                orders = list(self._due)[:BATCH]
                for order_no in orders:
                    del self._due[order_no]
                await self._tell_or_log(orders)

    async def _tell_or_log(self, orders: list[str]) -> None:
        """What fails with one order silences no other: its own listeners read for themselves, and
        each ends with the fault that it meets."""
        try:
            await self._tell_news(orders)
        except SQLAlchemyError as error:
            log.warning("conversations_not_read", error=type(error).__name__)
            self._ring_here(orders)
            await asyncio.sleep(1)
        except Exception as error:
            if len(orders) > 1:
                for order_no in orders:
                    await self._tell_or_log([order_no])
            else:
                log.error("conversation_not_told", error=type(error).__name__)
                self._read_again(orders[0])

    async def _tell_news(self, orders: list[str]) -> None:
        rooms = {order_no: self._rooms[order_no] for order_no in orders if order_no in self._rooms}
        before: dict[str, Cursor] = {}
        for order_no, room in rooms.items():
            if room.cursor is None:
                room.rung_early = True
            else:
                before[order_no] = room.cursor
        if not before:
            return
        async with self._engine.connect() as connection:
            afters = {order_no: cursor.seq for order_no, cursor in before.items()}
            found = await news_of(connection, self._keyring, afters)
        for order_no, news in found.items():
            if self._rooms.get(order_no) is rooms[order_no]:
                self._tell_room(rooms[order_no], before[order_no], news)

    def _tell_room(self, room: Room, before: Cursor, news: News) -> None:
        room.cursor = news.cursor(before)
        if not room.cursor.covers(before):  # there was more: the database was restored
            self._read_again(room.order_no)
        elif room.cursor != before:
            for listener in room.listeners:
                listener.offer(news)
        if news.more:
            self._ring_here((room.order_no,))

    def _read_again(self, order_no: str) -> None:
        if room := self._rooms.get(order_no):
            for listener in room.listeners:
                listener.read_again()

    async def _call(self) -> None:
        """Pass rings on to the other processes, many at a time."""
        while True:
            await self._called.wait()
            self._called.clear()
            orders, hints = _taken(self._to_call), _taken(self._to_hint)
            try:
                async with self._engine.begin() as connection:
                    await call(connection, orders, typing=hints, sender=self._name)
            except SQLAlchemyError as error:
                log.warning("conversations_not_called", error=type(error).__name__)
            if self._to_call or self._to_hint:
                self._called.set()
            await asyncio.sleep(PAUSE)

    async def _listen(self) -> None:
        """Hear the other processes. A lost connection is made again, and then all is looked at."""
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._database_url, autocommit=True, connect_timeout=5
                )
                async with connection:
                    await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                    self._ring_here(tuple(self._rooms))
                    async for heard in connection.notifies():
                        self._hear(heard.payload)
            except psycopg.Error as error:
                log.warning("conversations_not_heard", error=type(error).__name__)
            await asyncio.sleep(1)

    def _hear(self, payload: str) -> None:
        try:
            heard = json.loads(payload)
            if heard["from"] != self._name:
                self._ring_here(heard["orders"])
                for order_no, side in heard["typing"]:
                    self._hint_here(order_no, Side(side))
        except (ValueError, KeyError, TypeError):
            log.warning("conversation_call_not_understood")

    async def _tick(self) -> None:
        for second in itertools.count():
            await asyncio.sleep(1)
            self._beat(second)

    def _beat(self, second: int) -> None:
        """A part of all gets a heartbeat, a part is looked at, and logins that ended end their
        streams."""
        for listener in self._listeners():
            if self._login_ended(listener.caller.session_id):
                listener.end()
            elif (listener.turn + second) % BEAT == 0:
                listener.offer(None)
        rooms = self._rooms.values()
        self._ring_here([one.order_no for one in rooms if (one.turn + second) % LOOK == 0])

    def _ring_here(self, orders: Iterable[str]) -> None:
        for order_no in orders:
            if order_no in self._rooms:
                self._due[order_no] = None
        if self._due:
            self._rung.set()

    def _hint_here(self, order_no: str, side: Side) -> None:
        if room := self._rooms.get(order_no):
            for listener in room.listeners:
                listener.offer(side)

    def _listeners(self) -> list[Listener]:
        return [one for room in self._rooms.values() for one in room.listeners]


def _taken(waiting: set[T]) -> list[T]:
    """At once, and not when they were passed on: one that comes again meanwhile is news."""
    taken = list(waiting)[:AT_MOST]
    waiting.difference_update(taken)
    return taken
