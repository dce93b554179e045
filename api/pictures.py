"""Pictures and documents made harmless before they are kept, never on the event loop.

A file that takes long must not make others wait. So there are two lanes of processes: each file is
tried in the first, where it gets a second; what is large or takes longer begins again in the other,
which yields to the first. And of one sender there is one file at a time in either.
"""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from queue import SimpleQueue
from weakref import WeakValueDictionary

import structlog

from activities.file import Content
from api.quarantine import Answer, Job, Limits, Lost, Quarantine
from domain.file import FileKind, FileRefused, kind_of

log = structlog.get_logger(__name__)

GIB = 1024**3
QUICK = Limits(seconds=1.0, cpu_seconds=1.0, memory=GIB, pixels=16_000_000)
SLOW = Limits(seconds=40.0, cpu_seconds=20.0, memory=2 * GIB, pixels=2**62)
QUICK_NICE, SLOW_NICE = 5, 10  # the event loop comes before both
CODES = ("broken_file", "unsupported_file", "image_too_large")
KILLED = str(-signal.SIGKILL)
PATIENCE = 55.0  # seconds that a sender waits, with those before: proxies give up after 60


class Lane:
    """So many files at once, each in its own process."""

    def __init__(self, places: int, limits: Limits, nice: int) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="pictures")
        self._places = [Quarantine(nice) for _ in range(places)]
        self._free: SimpleQueue[Quarantine] = SimpleQueue()
        for place in self._places:
            self._free.put(place)

    async def open(self, job: Job) -> Answer:
        """Raises Lost."""
        limited = replace(job, limits=self._limits)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._open, limited)

    def close(self) -> None:
        """Whoever still waits for one gets Lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for place in self._places:
            place.end()

    def _open(self, job: Job) -> Answer:
        place = self._free.get()
        try:
            return place.open(job)
        finally:
            self._free.put(place)


class Pictures:
    """`quick` and `slow`: how many files are worked on in parallel in each lane. A slow one takes a
    core and, at 50 million pixels, 0.6 GB, as a WebP 0.9 GB, with transparency twice that. Two, and
    not more on larger machines: containers tell the cores of their host and not its memory."""

    def __init__(self, quick: int = 2, slow: int = 2) -> None:
        self._quick = Lane(quick, QUICK, QUICK_NICE)
        self._slow = Lane(slow, SLOW, SLOW_NICE)
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def harmless(
        self, data: bytes, max_pixels: int, *, sender: int, documents: bool = True
    ) -> Content:
        """Raises FileRefused, or TimeoutError: then it may be sent again later."""
        kind = kind_of(data)
        if kind is FileKind.PDF and not documents:
            raise FileRefused("unsupported_file")
        turn = self._turns.setdefault(sender, asyncio.Lock())
        async with asyncio.timeout(PATIENCE), turn:
            return await self._opened(Job(data, kind, max_pixels, QUICK))

    def close(self) -> None:
        """End what is being worked on."""
        self._quick.close()
        self._slow.close()

    async def _opened(self, job: Job) -> Content:
        try:
            answer = await self._quick.open(job)
            if answer.outcome in ("too_large_here", "out_of_time", "out_of_cpu"):
                answer = await self._slow.open(job)
            return _content(answer, job)
        except (Lost, ValueError, IndexError):  # or an answer that is none
            log.warning("quarantine_lost", kind=job.kind)
            raise TimeoutError from None


def _content(answer: Answer, job: Job) -> Content:
    """Raises FileRefused; TimeoutError if the machine had no time or no memory for it."""
    if answer.outcome != "made":
        log.info("file_refused", kind=job.kind, outcome=answer.outcome, word=answer.word)
    if answer.outcome == "out_of_time" or (answer.outcome == "died" and answer.word == KILLED):
        raise TimeoutError
    if answer.outcome != "made":
        raise FileRefused(answer.word if answer.word in CODES else "broken_file")
    kind = FileKind(answer.kind)
    if kind is FileKind.PDF:
        return Content(kind, answer.parts[0])
    return Content(kind, answer.parts[0], answer.width, answer.height, answer.parts[1])


@cache
def the_pictures() -> Pictures:
    """One for the process: its lanes are sized for the machine."""
    return Pictures()
