"""What alerts are made of: the ages of what waits."""

from datetime import date, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.keyring import Keyring
from db.measures import oldest_work_items, outbox_waiting, since_reconciled
from db.reconciliation import begin_run, finish_run, stop_runs
from db.work_item import open_work_item
from domain.reconciliation import RunStatus
from domain.work_item import WorkItemKind, for_desk
from tests.support.booking import Clinic, Till

pytestmark = pytest.mark.anyio

K = WorkItemKind
LEASE = timedelta(minutes=15)
HOUR = 3600
DAY = date(2026, 11, 21)


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


async def opened(clinic: Clinic, kind: WorkItemKind, subject: str, hours: int) -> None:
    async with clinic.engine.begin() as connection:
        number = await open_work_item(connection, 1, for_desk(kind, subject, LEASE))
    await clinic.run(
        "update work_item set opened_at = now() - make_interval(hours => :h) where number = :n",
        h=hours,
        n=number,
    )


async def waits(clinic: Clinic) -> dict[tuple[str, str], int]:
    """In hours."""
    async with clinic.engine.connect() as connection:
        found = await oldest_work_items(connection)
    return {key: round(seconds / HOUR) for key, seconds in found.items()}


async def reconciled(clinic: Clinic) -> int:
    """So many hours ago."""
    async with clinic.engine.connect() as connection:
        return round(await since_reconciled(connection) / HOUR)


async def test_what_is_promised_has_an_age(clinic: Clinic) -> None:
    async with clinic.engine.connect() as connection:
        assert await outbox_waiting(connection) == (0, 0)
    await opened(clinic, K.REFUND_STUCK, "R1", 0)
    await clinic.run("update outbox set created_at = now() - interval '1 hour'")
    async with clinic.engine.connect() as connection:
        waiting, oldest = await outbox_waiting(connection)
    assert (waiting, round(oldest)) == (1, HOUR)


async def test_the_oldest_that_nobody_holds_counts(clinic: Clinic) -> None:
    assert await waits(clinic) == {}
    for hours, subject in ((3, "R1"), (5, "R2"), (9, "R3")):
        await opened(clinic, K.REFUND_STUCK, subject, hours)
    await opened(clinic, K.RED_FLAG, "patient/1", 1)
    await clinic.run("update work_item set status = 'decided' where subject = 'R3'")
    held = {("operator", "refund_stuck"): 5, ("nurse", "red_flag"): 1}
    assert await waits(clinic) == held
    claimed = "update work_item set status = 'claimed', lease_until = now() + {} where kind = {}"
    await clinic.run(claimed.format("interval '1 min'", "'red_flag'"))
    assert await waits(clinic) == {("operator", "refund_stuck"): 5}
    await clinic.run(claimed.format("interval '0'", "'red_flag'"))  # the lease is over
    assert await waits(clinic) == held


async def ran(clinic: Clinic, channel: str, hours: int, status: RunStatus, day: date = DAY) -> None:
    """Begun then, and finished at once unless it waits."""
    async with clinic.engine.begin() as connection:
        run = await begin_run(connection, 1, day, channel, RunStatus.WAITING)
        if status is RunStatus.STOPPED:
            await stop_runs(connection, 1, day)
        elif status is not RunStatus.WAITING:
            await finish_run(connection, run, {}, status)
    await clinic.run(
        """update reconciliation_run set started_at = now() - make_interval(hours => :h),
                  finished_at = finished_at - make_interval(hours => :h) where id = :id""",
        h=hours,
        id=run,
    )


async def test_the_last_that_was_finished_of_every_channel_counts(clinic: Clinic) -> None:
    await ran(clinic, "sandbox", 10, RunStatus.DONE)
    await ran(clinic, "sandbox", 34, RunStatus.NO_BILL, DAY - timedelta(days=1))
    assert await reconciled(clinic) == 10
    await ran(clinic, "wechat_native", 40, RunStatus.DONE, DAY - timedelta(days=1))
    await ran(clinic, "wechat_native", 12, RunStatus.WAITING)
    assert await reconciled(clinic) == 40
    await clinic.run("delete from reconciliation_run where finished_at is not null")
    assert await reconciled(clinic) == 12  # never finished: since it was begun
    await ran(clinic, "wechat_native", 50, RunStatus.STOPPED, DAY - timedelta(days=2))
    assert await reconciled(clinic) == 50


async def test_a_channel_that_is_set_up_no_more_is_not_missed(clinic: Clinic) -> None:
    await ran(clinic, "gone", 24 * 8, RunStatus.DONE, DAY - timedelta(days=8))
    await ran(clinic, "sandbox", 3, RunStatus.DONE)
    assert await reconciled(clinic) == 3


async def test_never_at_all_is_since_there_is_money(clinic: Clinic) -> None:
    assert await reconciled(clinic) == 0
    await Till(clinic).open(await clinic.booked(await clinic.someone(), await clinic.slot()))
    await clinic.run("update payment set created_at = now() - interval '48 hours'")
    assert await reconciled(clinic) == 48
