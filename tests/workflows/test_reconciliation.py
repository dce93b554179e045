"""A night's reconciliation, on a clock that skips."""

from datetime import date, timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError

from activities.reconciliation import ChannelDay, NoBill
from domain.reconciliation import ReconciliationStart
from tests.support.temporal import soon
from workflows.queues import LIFECYCLES
from workflows.reconciliation import SETTLED, ReconciliationWorkflow

pytestmark = pytest.mark.anyio

DAY = date(2026, 11, 21)


class TestReconciling:
    async def test_every_channel_is_compared_and_rows_too(self, world, ending):
        world.reconciliation.channels = {"sandbox": 2, "wechat_native": 1}
        night = await world.reconciled()
        assert await ending(night) == 3
        assert {one.channel for one in world.reconciliation.compared} == {
            "sandbox",
            "wechat_native",
        }
        assert {one.day for one in world.reconciliation.compared} == {DAY}
        assert (await world.shown(night)).status == "done"

    async def test_a_suspect_is_looked_at_again_some_minutes_later(self, world, ending):
        world.reconciliation.suspects = ("appointment/A-1",)
        night = await world.reconciled()
        assert await ending(night) == 1
        first, again = world.reconciliation.looks
        assert again - first >= SETTLED

    async def test_a_bill_that_is_not_out_is_asked_for_every_half_hour(self, world, ending):
        world.reconciliation.late = 3
        assert await ending(await world.reconciled()) == 0
        first, *_, last = world.reconciliation.tries
        assert timedelta(minutes=90) <= last - first <= timedelta(minutes=91)
        assert world.reconciliation.compared == [ChannelDay("sandbox", DAY)]

    async def test_a_bill_that_never_comes_is_given_up_before_the_next_night(self, world, ending):
        world.reconciliation.late = 1000
        assert await ending(await world.reconciled()) == 1
        first, *_, last = world.reconciliation.tries
        assert timedelta(hours=19) <= last - first <= timedelta(hours=21)
        assert world.reconciliation.given_up == [NoBill("sandbox", DAY, "bill_not_out")]

    async def test_a_refused_bill_holds_up_no_other_channel(self, world, ending):
        world.reconciliation.channels = {"sandbox": 1, "wechat_native": 0}
        world.reconciliation.refused = frozenset({"wechat_native"})
        assert await ending(await world.reconciled()) == 2
        assert world.reconciliation.given_up == [NoBill("wechat_native", DAY, "no_right")]
        assert world.reconciliation.compared == [ChannelDay("sandbox", DAY)]

    async def test_by_itself_it_is_about_the_day_before_it_began(self, world, ending):
        began = await world.now()
        night = await world.env.client.start_workflow(
            ReconciliationWorkflow.run,
            ReconciliationStart("Pacific/Kiritimati"),  # a day ahead of most
            id="reconciliation/by-itself",
            task_queue=LIFECYCLES,
        )
        await ending(night)
        local = (began + timedelta(hours=14)).date()
        assert world.reconciliation.compared[0].day == local - timedelta(days=1)

    async def test_activities_that_fail_are_done_again(self, world, ending):
        world.troubles.failures.update(channels_to_reconcile=1, file_suspects=1)
        assert await ending(await world.reconciled()) == 0

    async def test_a_cancel_in_the_web_ui_ends_it(self, world):
        gate = world.troubles.hold("reconcile_channel")
        night = await world.reconciled()
        await gate.entered.wait()
        await night.cancel()
        gate.open()
        await soon(lambda: bool(world.reconciliation.looks))
        with pytest.raises(WorkflowFailureError) as ended:
            await night.result()
        assert isinstance(ended.value.cause, CancelledError)
        assert world.reconciliation.given_up == []
        assert world.reconciliation.stopped == [DAY], "its rows say so too"
        assert (await world.shown(night)).status == "stopped"

    async def test_a_cancel_while_it_waits_for_a_bill_is_written_down(self, world):
        world.reconciliation.late = 1000
        world.troubles.failures.update(record_stopped_runs=2)
        night = await world.reconciled()
        await soon(lambda: len(world.reconciliation.tries) > 0)
        await night.cancel()
        with pytest.raises(WorkflowFailureError):
            await night.result()
        assert world.reconciliation.stopped == [DAY]
