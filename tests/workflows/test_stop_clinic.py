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
