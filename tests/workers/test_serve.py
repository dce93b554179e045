"""A worker that is told to stop finishes what it has begun."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.worker import Worker

from db.keyring import Keyring
from runtime.codec import data_converter
from tests.support.temporal import skipping_clock
from workers.serve import GOODBYE, worker
from workflows.options import DB_WRITE
from workflows.queues import MESSAGES

pytestmark = pytest.mark.anyio


@workflow.defn(sandboxed=False)
class AsksForOne:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            "slow", task_queue=MESSAGES, start_to_close_timeout=timedelta(seconds=30)
        )


async def test_an_activity_under_way_is_finished_and_not_done_again(keyring: Keyring) -> None:
    begun = asyncio.Event()
    attempts: list[int] = []

    @activity.defn
    async def slow() -> int:
        attempts.append(activity.info().attempt)
        begun.set()
        await asyncio.sleep(1)
        return attempts[-1]

    async with (
        skipping_clock(data_converter(keyring)) as env,
        Worker(env.client, task_queue="asks", workflows=[AsksForOne], build_id="test"),
    ):
        handle = await env.client.start_workflow(AsksForOne.run, id="asks", task_queue="asks")
        async with worker(env.client, MESSAGES, {MESSAGES: [slow]}):
            await begun.wait()
        assert await asyncio.wait_for(handle.result(), 20) == 1
    assert attempts == [1]


def test_the_goodbye_is_long_enough_for_a_row() -> None:
    assert DB_WRITE["start_to_close_timeout"] is not None
    assert DB_WRITE["start_to_close_timeout"] <= GOODBYE
