"""What a work item bears: two at once, lost workflows, orders that wait for it or no more."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from domain.access import Role
from domain.work_item import (
    NewWorkItem,
    Outcome,
    Progress,
    WorkItem,
    WorkItemStart,
    WorkItemStatus,
)
from tests.support.audits import (
    ANNE,
    APPROVED,
    BERT,
    CHIEF,
    LEASE,
    MINUTE,
    an_audit,
    says,
)
from tests.support.temporal import refusal_of, soon
from tests.support.waiting import WaitingOrder
from workflows.commands import StaffCommand
from workflows.work_item import WorkItemWorkflow

pytestmark = pytest.mark.anyio

S = WorkItemStatus
W = WorkItemWorkflow
SHOWN = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
TERMINATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED


class TestTwoAtOnce:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ((W.claim, ANNE), (W.claim, BERT)),
            ((W.decide, says(ANNE)), (W.decide, says(BERT, "rejected"))),
            ((W.decide, says(ANNE)), (W.claim, BERT)),
        ],
        ids=["claim-claim", "decide-decide", "decide-claim"],
    )
    async def test_one_wins(self, staffed, opened, outcome, first, second):
        reading = staffed.pausing.at_reading(b'"account_id":99')
        work = await opened()
        await staffed.idle(work)
        trailblazer = asyncio.create_task(
            work.execute_update(W.claim, StaffCommand(Role.NURSE, 99))
        )
        await reading.entered.wait()
        commands = [await begun(work.execute_update(*one)) for one in (first, second)]
        reading.open()
        won, lost = await asyncio.gather(*commands, return_exceptions=True)
        with pytest.raises(WorkflowUpdateFailedError):
            await trailblazer
        assert won in ("claimed", "decided")
        assert isinstance(lost, WorkflowUpdateFailedError)
        assert lost.cause.type == "NotAllowed"
        if won == "claimed":
            await work.execute_update(W.decide, says(ANNE))
        assert await outcome(work) == Outcome(S.DECIDED, "approved", 21)

    async def test_a_claim_and_a_decision_with_the_end_of_a_lease(self, staffed, opened):
        work = await opened(escalates_at=None)
        await work.execute_update(W.claim, ANNE)
        await staffed.sleep(LEASE)
        outcomes = await asyncio.gather(
            work.execute_update(W.claim, BERT),
            work.execute_update(W.decide, says(ANNE)),
            return_exceptions=True,
        )
        assert sum(isinstance(o, WorkflowUpdateFailedError) for o in outcomes) == 1

    async def test_a_decision_and_the_deadline(self, staffed, opened, outcome):
        work = await opened(escalates_at=None)
        writing = staffed.troubles.hold("record_work_item")
        await staffed.sleep(120 * MINUTE)
        await writing.entered.wait()
        refused = await refusal_of(work.execute_update(W.decide, says(ANNE)))
        assert refused == ("NotAllowed", "not_allowed", "expired")
        writing.open()
        assert (await outcome(work)).status == "expired"
        assert staffed.work_items.events == ["expired"]

    async def test_a_decision_that_is_still_written_when_the_deadline_comes(
        self, staffed, opened, outcome
    ):
        work = await opened(escalates_at=None)
        staffed.troubles.failures["record_work_item"] = 1000
        await staffed.sleep(119 * MINUTE + timedelta(seconds=58))
        deciding = asyncio.create_task(work.execute_update(W.decide, says(ANNE)))
        await soon(lambda: staffed.troubles.failures["record_work_item"] < 1000)
        await staffed.sleep(MINUTE)
        staffed.troubles.failures.clear()
        assert await deciding == "decided"
        assert await outcome(work) == Outcome(S.DECIDED, "approved", 21)
        assert staffed.work_items.events == ["decided"]

    async def test_a_repeated_command_gets_the_first_answer(self, staffed, opened):
        work = await opened()
        answers = [await work.execute_update(W.decide, says(ANNE), id="key") for _ in range(2)]
        await work.result()
        answers.append(await work.execute_update(W.decide, says(ANNE), id="key"))
        assert answers == ["decided"] * 3
        assert staffed.work_items.events == ["decided"]


class TestBeginningAgain:
    async def test_a_lost_one_goes_on_from_its_row(self, staffed, outcome):
        now = await staffed.now()
        progress = Progress(S.CLAIMED, 3, 21, now + LEASE, escalated=True)
        work = await staffed.work(WorkItemStart(an_audit(now), progress))
        assert (await refusal_of(work.execute_update(W.claim, CHIEF)))[1] == "claimed_by_other"
        await staffed.sleep(LEASE)
        await work.execute_update(W.decide, says(CHIEF))
        assert await outcome(work) == Outcome(S.DECIDED, "approved", 31)
        [move] = staffed.work_items.moves
        assert (move.from_status, move.version, move.escalated) == ("claimed", 4, True)

    async def test_timers_that_passed_meanwhile_are_kept(self, staffed, outcome):
        gone = await staffed.now() - timedelta(days=1)
        item = replace(an_audit(gone), escalates_at=gone, due_at=gone + MINUTE)
        assert (await outcome(await staffed.work(WorkItemStart(item)))).status == "expired"
        assert staffed.work_items.events == ["escalated", "expired"]


class TestNotNeededAnyMore:
    async def test_what_came_right_by_itself_is_withdrawn(self, staffed, opened, outcome):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await work.signal(W.withdraw)
        assert await outcome(work) == Outcome(S.CANCELLED, "", None)
        move = staffed.work_items.moves[-1]
        assert (move.event, move.reason) == ("withdrawn", "resolved")

    async def test_what_is_decided_stays_so(self, staffed, opened):
        work = await opened()
        deciding = staffed.troubles.hold("record_work_item")
        decided = asyncio.create_task(work.execute_update(W.decide, says(ANNE)))
        await deciding.entered.wait()
        await work.signal(W.withdraw)
        await work.cancel()
        deciding.open()
        assert await decided == "decided"
        assert Outcome(**await work.result()).status == "decided"
        assert staffed.work_items.events == ["decided"]

    async def test_cancelled_in_the_web_ui_its_row_is_cancelled(self, staffed, opened, outcome):
        work = await opened()
        await staffed.idle(work)
        await work.cancel()
        assert await outcome(work) == Outcome(S.CANCELLED, "", None)
        move = staffed.work_items.moves[-1]
        assert (move.event, move.reason, move.actor_role) == ("cancel", "terminated", "system")

    async def test_while_the_escalation_cannot_be_written(self, staffed, opened, outcome):
        staffed.troubles.failures["record_work_item"] = 1000
        work = await opened()
        await staffed.sleep(30 * MINUTE)
        await soon(lambda: staffed.troubles.failures["record_work_item"] < 1000)
        await work.cancel()
        await asyncio.sleep(0.1)
        staffed.troubles.failures.clear()
        assert (await outcome(work)).status == "cancelled"
        assert staffed.work_items.events == ["escalated", "cancel"]


class TestAnOrderThatWaits:
    """The order's own workflow has the work item as its child."""

    @pytest.fixture
    async def order(self, staffed):
        new = NewWorkItem(
            "audit", "RX-1", Role.PHARMACIST, APPROVED, LEASE, round=0, excluded=(51,)
        )

        async def waiting(id="order/RX-1"):
            return await staffed.env.client.start_workflow(
                WaitingOrder.run, new, id=id, task_queue="orders"
            )

        async with Worker(
            staffed.env.client,
            task_queue="orders",
            workflows=[WaitingOrder],
            activities=[staffed.work_items.open_work_item],
            build_id="test",
        ):
            yield waiting

    def child(self, staffed):
        return staffed.env.client.get_workflow_handle_for(W.run, "work_item/W-1")

    async def waits(self, staffed):
        """The child, once it runs and shows for whom it waits."""
        child = self.child(staffed)
        async with asyncio.timeout(10):
            while True:
                with suppress(RPCError):  # not begun yet
                    kinds = [e.event_type for e in (await child.fetch_history()).events]
                    if SHOWN in kinds and TERMINATED not in kinds:
                        return child
                await asyncio.sleep(0.02)

    async def test_hears_what_was_decided(self, staffed, order):
        waiting = await order()
        await (await self.waits(staffed)).execute_update(W.decide, says(ANNE))
        assert await waiting.result() == Outcome(S.DECIDED, "approved", 21)

    async def test_voids_it(self, staffed, order, outcome):
        waiting = await order()
        child = await self.waits(staffed)
        await waiting.signal(WaitingOrder.void)
        assert await waiting.result() is None
        assert (await outcome(child)).status == "cancelled"
        assert staffed.work_items.moves[-1].to_status == "cancelled"

    async def test_begun_again_finds_it_where_it_stands(self, staffed, order):
        lost = await order()
        await (await self.waits(staffed)).execute_update(W.claim, ANNE)
        await lost.terminate()
        with suppress(RPCError):  # the server does it too, sooner or later
            await self.child(staffed).terminate()
        again = await order("order/RX-1-again")
        child = await self.waits(staffed)
        assert (await refusal_of(child.execute_update(W.claim, BERT)))[1] == "claimed_by_other"
        await child.execute_update(W.decide, says(ANNE))
        assert (await again.result()).decided_by == 21

    async def test_hears_of_one_that_a_command_had_begun_meanwhile(self, staffed, order):
        item = WorkItem("W-1", "audit", "RX-1", Role.PHARMACIST, APPROVED, LEASE)
        staffed.work_items.rows["audit:RX-1:0"] = WorkItemStart(item)
        alone = await staffed.work(WorkItemStart(item))
        waiting = await order()
        await alone.execute_update(W.decide, says(ANNE))
        await alone.result()
        assert await waiting.result() == Outcome(S.DECIDED, "approved", 21)


async def begun(update):
    """Sent, and there before the next one."""
    task = asyncio.create_task(update)
    await asyncio.sleep(0.1)
    return task
