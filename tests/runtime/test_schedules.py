"""The schedule on a real development server: made once, kept up to date, and it starts."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import Client, ScheduleOverlapPolicy

from db.keyring import Keyring
from domain.hospital import HospitalConfig, PaymentPolicy, Policies
from runtime.codec import data_converter
from runtime.embedded_temporal import EmbeddedTemporal
from runtime.lifecycles import _reconciliation
from runtime.schedules import RECONCILIATION, keep_schedules
from runtime.workflows_seen import TemporalWorkflowsSeen
from tests.support.catalogue import a_config
from tests.support.outside import ReconciliationOutside, activities_of
from tests.support.temporal import Troubles, soon, started, working

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(keyring: Keyring) -> AsyncIterator[Client]:
    with EmbeddedTemporal.start() as server:
        yield await Client.connect(server.address, data_converter=data_converter(keyring))


def reconciling_at(at: time) -> HospitalConfig:
    return replace(a_config(), policies=Policies(payment=PaymentPolicy(reconcile_at=at)))


async def schedule_of(client: Client) -> Any:
    return (await client.get_schedule_handle(RECONCILIATION).describe()).schedule


def times(schedule: Any) -> list[tuple[int, int]]:
    return [(c.hour[0].start, c.minute[0].start) for c in schedule.spec.calendars]


async def test_it_is_made_once_and_kept_up_to_date(client: Client) -> None:
    config = a_config()
    await asyncio.gather(*(keep_schedules(client, config) for _ in range(3)))
    made = await schedule_of(client)
    assert times(made) == [(10, 30)]
    assert made.spec.time_zone_name == "Asia/Shanghai"
    assert made.policy.overlap is ScheduleOverlapPolicy.BUFFER_ALL
    assert made.policy.catchup_window == timedelta(days=3)
    handle = client.get_schedule_handle(RECONCILIATION)
    await handle.pause(note="an operator's")
    before = (await handle.describe()).info.last_updated_at
    await keep_schedules(client, config)
    assert (await handle.describe()).info.last_updated_at == before
    await keep_schedules(client, reconciling_at(time(11, 15)))
    changed = await schedule_of(client)
    assert times(changed) == [(11, 15)]
    assert changed.state.paused


async def test_it_starts_a_run_of_the_day_before(client: Client) -> None:
    outside = ReconciliationOutside(Troubles())
    await keep_schedules(client, a_config())
    async with working(client, activities_of(outside)):
        before = datetime.now(ZoneInfo("Asia/Shanghai")).date()
        await client.get_schedule_handle(RECONCILIATION).trigger()
        await soon(lambda: bool(outside.compared))
        after = datetime.now(ZoneInfo("Asia/Shanghai")).date()
        ids = [found.id async for found in client.list_workflows()] or ["reconciliation-"]
    assert outside.compared[0].day in {day - timedelta(days=1) for day in (before, after)}
    assert all(found.startswith("reconciliation-") for found in ids)


async def test_what_runs_is_told_from_what_does_not(client: Client) -> None:
    seen = TemporalWorkflowsSeen(client)
    night = await started(client, _reconciliation("2026-11-21", "Asia/Shanghai"))
    assert await seen.runs(night.id)
    assert await seen.running() == set()  # it has no row
    await night.terminate()
    assert not await seen.runs(night.id)
    assert not await seen.runs("appointment/A-nobody")
    rows = {"work_item/W1": "WorkItemWorkflow", "consultation/C1": "ConsultationWorkflow"}
    for row, workflow in rows.items():
        await client.start_workflow(workflow, id=row, task_queue="nobody")
    async with asyncio.timeout(10):
        while await seen.running() != set(rows):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
