"""Work beside the main work goes on, whatever breaks in it."""

import asyncio
from functools import partial

import pytest
from structlog.testing import capture_logs

from runtime.background import kept, running

pytestmark = pytest.mark.anyio


async def test_work_that_breaks_is_logged_and_begins_again() -> None:
    begun: list[str] = []
    goes_on = asyncio.Event()

    async def work(name: str) -> None:
        begun.append(name)
        if len(begun) < 3:
            raise ZeroDivisionError
        goes_on.set()
        await asyncio.sleep(60)

    with capture_logs() as logs:
        async with running(kept(partial(work, "x"), again=0)):
            await asyncio.wait_for(goes_on.wait(), 5)
    assert begun == ["x"] * 3
    assert [(event["event"], event["log_level"]) for event in logs] == [("work_broke", "error")] * 2
    assert logs[0]["work"].endswith("work")
    assert isinstance(logs[0]["exc_info"], ZeroDivisionError)


async def test_it_ends_with_the_main_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with running(kept(work)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert ended.is_set()
