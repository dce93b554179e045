"""Work that runs beside a process's main work, and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import structlog

log = structlog.get_logger(__name__)

AGAIN = 1.0  # seconds until work that broke begins again


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def kept(work: Callable[[], Coroutine[Any, Any, None]], again: float = AGAIN) -> None:
    """This work until cancelled: when it breaks, that is logged and it begins again. A task that
    ended would be missed by nobody; and one row that cannot be read must not end the process, which
    would meet it again at its next start."""
    of = work.func if isinstance(work, partial) else work
    while True:
        try:
            await work()
        except Exception as error:  # whatever it is: the loop is the last that hears of it
            log.error("work_broke", work=of.__qualname__, exc_info=error)
        await asyncio.sleep(again)
