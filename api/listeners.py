"""One listener of a live conversation: what it has, what it is told, when it ends."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace

from db.conversation import Head, Message, News
from db.file import File
from domain.access import CONSULTATION, Action, Caller, Stake, Verdict, capacities, judge
from domain.consultation import ConsultationStatus
from domain.conversation import Cursor, Side

BEHIND = 32  # events that may wait for one listener; one that is slower reads again by itself

Look = Callable[[int], Awaitable[News | None]]
"""What is new after this message; None when there is no such order."""


@dataclass(frozen=True)
class Heard:
    """One thing that a listener is told. Without any of these it is a heartbeat."""

    cursor: Cursor | None = None  # the listener's, once it has this
    message: Message | None = None
    files: dict[int, File] = field(default_factory=dict)
    read: Head | None = None
    status: Head | None = None
    typing: Side | None = None


class Listener:
    """One open stream. What is told comes out of `told()` until it ends."""

    def __init__(self, look: Look, caller: Caller, cursor: Cursor, turn: int) -> None:
        self.caller = caller
        self.turn = turn  # for heartbeats; a place among the others would change as they go
        self._look = look
        self._cursor = cursor
        self._waiting: deque[News | Side | None] = deque()
        self._behind = True  # at first: what is new since its cursor
        self._ended = False
        self._woken = asyncio.Event()

    def offer(self, news: News | Side | None) -> None:
        """A side: it is typing; None: a heartbeat. Never waits, and never keeps more than a few."""
        if len(self._waiting) >= BEHIND:
            self.read_again()
        elif isinstance(news, News) or not self._waiting:
            self._waiting.append(news)
            self._woken.set()

    def read_again(self) -> None:
        """By itself, instead of what waits for it."""
        self._waiting.clear()
        self._behind = True
        self._woken.set()

    def end(self) -> None:
        self._ended = True
        self._woken.set()

    async def told(self) -> AsyncIterator[Heard]:
        while not self._ended:
            if self._behind:
                self._behind = False
                async for heard in self._caught_up():
                    yield heard
            while self._waiting and not (self._ended or self._behind):
                for heard in self._fitting(self._waiting.popleft()):
                    yield heard
            if not (self._ended or self._behind or self._waiting):
                self._woken.clear()
                await self._woken.wait()

    async def _caught_up(self) -> AsyncIterator[Heard]:
        more = True
        while more and not self._ended:
            news = await self._look(self._cursor.seq)
            if news is None:
                self._ended = True
                return
            # What it was told exists and is found again; the id that it brought may claim anything.
            self._cursor = self._cursor.within(news.head.cursor)
            for heard in self._of(news):
                yield heard
            more = news.more

    def _fitting(self, news: News | Side | None) -> Iterable[Heard]:
        if news is None:
            return (Heard(),)
        if isinstance(news, Side):
            return (Heard(typing=news),)
        if news.after > self._cursor.seq:
            self._behind = True  # something is missing
            return ()
        return self._of(news)

    def _of(self, news: News) -> Iterable[Heard]:
        """What of it this listener has not heard. It ends when the order is somebody else's now,
        before anything of theirs, and when the order has ended, after everything."""
        head = news.head
        if head.version < self._cursor.version:
            return  # read before what it has read by itself: perhaps the order was another's then
        if not concerns(self.caller, head):
            self._ended = True
            return
        for message in news.messages:
            if self._ended:
                return  # in the midst of many: its login ended
            if message.seq > self._cursor.seq:
                self._cursor = replace(self._cursor, seq=message.seq)
                yield Heard(cursor=self._cursor, message=message, files=dict(news.files))
        if news.more or self._ended:
            return
        was = self._cursor
        reads = max(was.patient_read, head.patient_read), max(was.doctor_read, head.doctor_read)
        if reads != (was.patient_read, was.doctor_read):
            self._cursor = replace(was, patient_read=reads[0], doctor_read=reads[1])
            yield Heard(cursor=self._cursor, read=head)
        if head.version > was.version:
            self._cursor = replace(self._cursor, version=head.version)
            yield Heard(cursor=self._cursor, status=head)
        if not ConsultationStatus(head.status).open:
            self._ended = True


def concerns(caller: Caller, head: Head) -> bool:
    """Whether it is a conversation of theirs."""
    held = capacities(caller, Stake(head.account_id, head.doctor_id))
    return judge(CONSULTATION, Action.WRITE, held) is Verdict.ALLOWED
