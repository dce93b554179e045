"""When the workflows of a burst have come to life."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

LOOKED_AT = 32  # the newest orders: relay and worker take them in about their sequence
PAUSE = 0.1  # seconds between two looks
BORN = 4  # events: started; first task scheduled, started, completed

PROMISED = text("select exists (select 1 from outbox where workflow = 'appointment')")


@dataclass(frozen=True)
class Arrival:
    """Instants of time.perf_counter(): no promise was left, the newest workflows were waiting."""

    started: float
    running: float


async def await_workflows(
    engine: AsyncEngine, client: Client, newest: Sequence[str], patience: float
) -> Arrival | None:
    """Wait until every promised workflow was started and the newest have done their first task.
    None when that takes longer than `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            async with engine.connect() as connection:
                while (await connection.execute(PROMISED)).scalar():
                    await connection.commit()
                    await asyncio.sleep(PAUSE)
            started = time.perf_counter()
            for order_no in newest:
                while not await _runs(client, order_no):  # noqa: ASYNC110 in another process
                    await asyncio.sleep(PAUSE)
    except TimeoutError:
        return None
    return Arrival(started, time.perf_counter())


async def _runs(client: Client, order_no: str) -> bool:
    try:
        seen = await client.get_workflow_handle(f"appointment/{order_no}").describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    raw = seen.raw_description
    return raw.workflow_execution_info.history_length >= BORN and not raw.HasField(
        "pending_workflow_task"
    )
