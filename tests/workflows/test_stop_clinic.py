"""A session that is called off, on a clock that skips."""

import asyncio
from datetime import timedelta

import pytest

from domain.access import Capacity
from tests.support.temporal import PATIENCE, refusal_of, soon
from workflows.commands import Command
from workflows.stop_clinic import AT_ONCE, StopClinicWorkflow

pytestmark = pytest.mark.anyio

W = StopClinicWorkflow
OPERATOR = Command(Capacity.OPERATOR, 13)


async def paused(world, *, resume_in):
    """Called off, and paused while the first ten are told."""
    first = world.troubles.hold("call_off_order")
    resume_by = await world.now() + resume_in
    stop, start = await world.stopped(2 * AT_ONCE, resume_by=resume_by)
    await first.entered.wait()
    assert await stop.execute_update(W.pause, OPERATOR) == "paused"
    first.open()
    return stop, start


class TestStopping:
    async def test_every_appointment_is_called_off_once(self, world, ending):
        stop, _ = await world.stopped(3 * AT_ONCE + 1)
        assert await ending(stop) == "done"
        assert sorted(world.stops.called) == sorted(order.order_no for order in world.stops.orders)
        assert [move.event for move in world.stops.moves] == ["done"]

    async def test_it_lasts_until_the_last_patient_has_chosen(self, world, ending):
        world.stops.open = [2, 1, 0]
        stop, start = await world.stopped(2)
        assert (await world.shown(stop)).due_at == start.call_off.choose_by
        assert await ending(stop) == "done"
        began = start.call_off.choose_by - timedelta(hours=24)
        assert world.stops.moves[0].at - began >= timedelta(minutes=20)

    async def test_an_empty_session_is_done_at_once(self, world, ending):
        stop, _ = await world.stopped(0)
        assert await ending(stop) == "done"
        assert world.stops.called == []

    async def test_an_operator_pauses_and_resumes(self, world, ending):
        first = world.troubles.hold("call_off_order")
        stop, _ = await world.stopped(2 * AT_ONCE)
        await first.entered.wait()
        assert await stop.execute_update(W.pause, OPERATOR) == "paused"
        first.open()
        await soon(lambda: len(world.stops.called) == AT_ONCE)
        async with asyncio.timeout(PATIENCE):
            while (await world.shown(stop)).waiting_for != "operator":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(world.stops.called) == AT_ONCE
        refused = await refusal_of(stop.execute_update(W.pause, OPERATOR))
        assert refused == ("NotAllowed", "not_allowed", "paused")
        assert await stop.execute_update(W.resume, OPERATOR) == "running"
        assert await ending(stop) == "done"
        assert len(world.stops.called) == 2 * AT_ONCE
        assert [move.event for move in world.stops.moves] == ["pause", "resume", "done"]

    async def test_a_pause_that_is_forgotten_ends_by_itself(self, world, ending):
        stop, start = await paused(world, resume_in=timedelta(hours=20))
        assert await ending(stop) == "done"
        assert len(world.stops.called) == 2 * AT_ONCE
        went_on = world.stops.moves[1]
        assert [move.event for move in world.stops.moves] == ["pause", "resume", "done"]
        assert (went_on.actor_role, went_on.to_status) == ("system", "running")
        assert timedelta(0) <= went_on.at - start.resume_by < timedelta(minutes=1)

    async def test_a_pause_shortly_before_the_slot_ends_at_once(self, world, ending):
        stop, _ = await paused(world, resume_in=-timedelta(minutes=5))
        assert await ending(stop) == "done"
        assert [move.event for move in world.stops.moves] == ["pause", "resume", "done"]
        assert len(world.stops.called) == 2 * AT_ONCE

    async def test_a_cancel_in_the_web_ui_ends_a_pause_and_writes_it(self, world, ending):
        stop, _ = await paused(world, resume_in=timedelta(hours=20))
        async with asyncio.timeout(PATIENCE):
            while (await world.shown(stop)).waiting_for != "operator":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await stop.cancel()
        assert await ending(stop) == "done"
        assert [move.event for move in world.stops.moves] == ["pause", "resume", "done"]
        assert [move.version for move in world.stops.moves] == [1, 2, 3]
        assert {order.order_no for order in world.stops.orders} == set(world.stops.called)

    async def test_one_that_cannot_be_told_holds_up_nobody_and_is_tried_again(self, world, ending):
        world.stops.silent = {"A-2"}
        world.stops.open = [1]
        stop, _ = await world.stopped(2 * AT_ONCE)
        others = {order.order_no for order in world.stops.orders} - {"A-2"}
        await soon(lambda: set(world.stops.called) == others)
        await soon(lambda: world.stops.failing == [("A-2",)])
        async with asyncio.timeout(PATIENCE):
            while (await world.shown(stop)).waiting_for != "operator":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert "A-2" in (await world.shown(stop)).details
        await world.sleep(timedelta(hours=1))
        assert world.stops.failing == [("A-2",)]  # still
        world.stops.silent.clear()
        await world.sleep(timedelta(minutes=11))
        await soon(lambda: world.stops.failing == [("A-2",), ()])
        assert (await world.shown(stop)).waiting_for == "patients"
        world.stops.open = [0]
        assert await ending(stop) == "done"
        assert sorted(world.stops.called) == sorted(order.order_no for order in world.stops.orders)

    async def test_a_lost_one_knows_whom_it_could_not_tell(self, world, ending):
        world.stops.open = [1, 0]
        stop, _ = await world.stopped(1, failing=("A-1",))
        assert await ending(stop) == "done"
        assert world.stops.failing == [()]

    async def test_what_was_told_to_everybody_cannot_be_paused(self, world, ending):
        world.stops.open = [1, 0]
        stop, _ = await world.stopped(1)
        await world.idle(stop)
        refused = await refusal_of(stop.execute_update(W.pause, OPERATOR))
        assert refused == ("NotAllowed", "not_allowed", "running")
        assert await ending(stop) == "done"

    async def test_a_cancel_in_the_web_ui_leaves_nobody_untold(self, world, ending):
        first = world.troubles.hold("call_off_order")
        stop, _ = await world.stopped(2 * AT_ONCE)
        await first.entered.wait()
        await asyncio.sleep(0)
        await stop.cancel()
        first.open()
        assert await ending(stop) == "done"
        told = {order.order_no for order in world.stops.orders}
        assert set(world.stops.called) == told
