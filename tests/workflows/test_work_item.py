"""What waits for a member of staff: claimed, given back, escalated, decided, or too late."""

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
from domain.message import Template
from domain.work_item import (
    NewWorkItem,
    Outcome,
    Progress,
    WorkItem,
    WorkItemStart,
    WorkItemStatus,
)
from tests.support.temporal import refusal_of, soon
from tests.support.waiting import WaitingOrder
from workflows.commands import Decide, Reassign, StaffCommand
from workflows.queues import staff_queue
from workflows.work_item import WorkItemWorkflow

pytestmark = pytest.mark.anyio

S = WorkItemStatus
W = WorkItemWorkflow
MINUTE = timedelta(minutes=1)
SHOWN = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
TERMINATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
LEASE = 15 * MINUTE
ANNE = StaffCommand(Role.PHARMACIST, 21)
BERT = StaffCommand(Role.PHARMACIST, 22)
CHIEF = StaffCommand(Role.CHIEF_PHARMACIST, 31)
OPERATOR = StaffCommand(Role.OPERATOR, 41)
DOCTOR_TOO = StaffCommand(Role.PHARMACIST, 51)  # who prescribed it
APPROVED = ("approved", "rejected")


def decides(work, by):
    return work.execute_update(W.decide, says(by))


def says(by, decision="approved"):
    return Decide(by, decision)


@pytest.fixture
async def world(idle_world):
    """Pharmacists' work items are looked after."""
    idle_world.staff = (staff_queue(Role.PHARMACIST),)
    async with idle_world.working():
        yield idle_world


@pytest.fixture
def ending(ending):
    async def outcome(work):
        result = await ending(work)
        return result if isinstance(result, Outcome) else Outcome(**result)

    return outcome


@pytest.fixture
async def an_item(world):
    """An audit as a prescription has it: escalated after half an hour, over after two."""

    async def made(**changes):
        now = await world.now()
        item = WorkItem(
            number="W-1",
            kind="audit",
            subject="RX-1",
            role=Role.PHARMACIST,
            decisions=APPROVED,
            lease=LEASE,
            excluded=(DOCTOR_TOO.account_id,),
            escalates_at=now + 30 * MINUTE,
            escalates_to=Role.CHIEF_PHARMACIST,
            due_at=now + 120 * MINUTE,
            at_deadline="not_audited",
        )
        return replace(item, **changes)

    return made


@pytest.fixture
async def opened(world, an_item):
    async def begun(**changes):
        return await world.work(WorkItemStart(await an_item(**changes)))

    return begun


class TestDeciding:
    async def test_who_claimed_it_decides(self, world, opened, ending):
        work = await opened()
        assert await work.execute_update(W.claim, ANNE) == "claimed"
        assert await work.execute_update(W.decide, says(ANNE, "rejected")) == "decided"
        assert await ending(work) == Outcome(S.DECIDED, "rejected", 21)
        claimed, decided = world.work_items.moves
        assert (claimed.event, claimed.actor_role, claimed.actor_id) == (
            "claimed",
            "pharmacist",
            21,
        )
        assert claimed.lease_until - claimed.at == LEASE
        assert (decided.from_status, decided.to_status) == ("claimed", "decided")
        assert (decided.decision, decided.reason, decided.version) == ("rejected", "rejected", 2)

    async def test_deciding_what_nobody_holds_claims_it(self, world, opened, ending):
        work = await opened()
        await work.execute_update(W.decide, says(ANNE))
        assert await ending(work) == Outcome(S.DECIDED, "approved", 21)
        assert world.work_items.moves[0].claimed_by == 21

    async def test_the_patient_is_told_when_there_is_something_to_tell(self, world, opened, ending):
        world.work_items.news = {"approved": Template.SUSPENSION_LIFTED}
        work = await opened()
        await work.execute_update(W.decide, says(ANNE))
        await ending(work)
        await world.told(Template.SUSPENSION_LIFTED)

    @pytest.mark.parametrize(
        ("decision", "code"),
        [
            (says(CHIEF), "wrong_role"),
            (says(OPERATOR), "wrong_role"),
            (says(DOCTOR_TOO), "excluded"),
            (says(ANNE, "paid_otherwise"), "not_allowed"),
        ],
        ids=["not-yet-escalated", "other-role", "excluded", "no-such-decision"],
    )
    async def test_is_refused(self, world, opened, decision, code):
        work = await opened()
        refused = await refusal_of(work.execute_update(W.decide, decision))
        assert refused == ("NotAllowed", code, "open")
        assert world.work_items.moves == []


class TestClaiming:
    async def test_nobody_else_may_have_it_meanwhile(self, world, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        for update, arg in [(W.claim, BERT), (W.decide, says(BERT)), (W.release, BERT)]:
            refused = await refusal_of(work.execute_update(update, arg))
            assert refused == ("NotAllowed", "claimed_by_other", "claimed")

    async def test_by_its_holder_renews_the_lease(self, world, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await world.sleep(10 * MINUTE)
        await work.execute_update(W.claim, ANNE)
        await world.sleep(10 * MINUTE)
        assert (await refusal_of(work.execute_update(W.claim, BERT)))[1] == "claimed_by_other"

    async def test_when_the_lease_is_over_anybody_may(self, world, opened, ending):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await world.sleep(LEASE)
        assert (await refusal_of(work.execute_update(W.release, ANNE)))[1] == "lease_expired"
        await work.execute_update(W.claim, BERT)
        assert (await refusal_of(work.execute_update(W.decide, says(ANNE))))[
            1
        ] == "claimed_by_other"
        await work.execute_update(W.decide, says(BERT))
        assert (await ending(work)).decided_by == 22

    async def test_after_its_own_lease_one_may_still_decide_what_nobody_took(self, world, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await world.sleep(LEASE)
        assert await work.execute_update(W.decide, says(ANNE)) == "decided"

    async def test_given_back_it_is_open(self, world, opened, ending):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        assert await work.execute_update(W.release, ANNE) == "open"
        assert (await refusal_of(work.execute_update(W.release, ANNE)))[1] == "not_allowed"
        await work.execute_update(W.decide, says(BERT))
        assert (await ending(work)).decided_by == 22
        assert world.work_items.events == ["claimed", "released", "decided"]

    async def test_an_operator_gives_back_what_somebody_holds(self, world, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        assert await work.execute_update(W.release, OPERATOR) == "open"

    async def test_reassigned_it_is_somebody_elses_for_a_lease(self, world, opened, ending):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await work.execute_update(W.reassign, Reassign(OPERATOR, BERT.account_id))
        assert (await refusal_of(work.execute_update(W.decide, says(ANNE))))[
            1
        ] == "claimed_by_other"
        move = world.work_items.moves[-1]
        assert (move.claimed_by, move.actor_id, move.lease_until) == (22, 41, move.at + LEASE)
        excluded = Reassign(OPERATOR, DOCTOR_TOO.account_id)
        assert (await refusal_of(work.execute_update(W.reassign, excluded)))[1] == "excluded"
        await work.execute_update(W.decide, says(BERT))
        assert (await ending(work)).decided_by == 22


class TestTime:
    async def test_undecided_it_is_escalated_and_both_may_decide(self, world, opened, ending):
        work = await opened()
        await world.sleep(30 * MINUTE)
        await soon(lambda: world.work_items.events == ["escalated"])
        await world.idle(work)
        assert (await world.shown(work)).waiting_for == "chief_pharmacist"
        await work.execute_update(W.claim, ANNE)
        await work.execute_update(W.release, ANNE)
        await work.execute_update(W.decide, says(CHIEF))
        assert await ending(work) == Outcome(S.DECIDED, "approved", 31)

    async def test_escalated_while_claimed_the_holder_keeps_it(self, world, opened):
        work = await opened()
        await world.sleep(20 * MINUTE)
        await work.execute_update(W.claim, ANNE)
        await world.sleep(11 * MINUTE)
        assert world.work_items.events == ["claimed", "escalated"]
        assert (await refusal_of(work.execute_update(W.claim, CHIEF)))[1] == "claimed_by_other"

    async def test_nobody_in_time_is_the_deadlines_decision(self, world, opened, ending):
        work = await opened()
        assert await ending(work) == Outcome(S.EXPIRED, "not_audited", None)
        assert world.work_items.events == ["escalated", "expired"]
        assert world.work_items.moves[-1].reason == "deadline"

    async def test_a_deadline_comes_to_what_is_claimed_too(self, world, opened, ending):
        work = await opened(escalates_at=None)
        await world.sleep(119 * MINUTE)
        await work.execute_update(W.claim, ANNE)
        assert await ending(work) == Outcome(S.EXPIRED, "not_audited", None)

    async def test_without_a_deadline_it_waits_for_ever(self, world, opened):
        work = await opened(escalates_at=None, due_at=None)
        waiting = await world.shown(work)
        assert (waiting.status, waiting.waiting_for, waiting.due_at) == ("open", "pharmacist", None)
        await world.sleep(timedelta(days=400))
        assert world.work_items.moves == []
        await work.execute_update(W.decide, says(ANNE))
        assert Outcome(**await work.result()).decision == "approved"

    async def test_operators_see_whom_it_waits_for_until_when_and_what_then(self, world, opened):
        begun = await world.now()
        work = await opened()
        waiting = await world.shown(work)
        assert (waiting.status, waiting.waiting_for) == ("open", "pharmacist")
        assert (waiting.due_at - begun) // MINUTE == 30
        assert "escalated to chief_pharmacist" in waiting.details
        await world.sleep(30 * MINUTE)
        await world.idle(work)
        waiting = await world.shown(work)
        assert (waiting.due_at - begun) // MINUTE == 120
        assert "expires (not_audited)" in waiting.details


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
    async def test_one_wins(self, world, opened, ending, first, second):
        reading = world.pausing.at_reading(b'"account_id":99')
        work = await opened()
        await world.idle(work)
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
        assert await ending(work) == Outcome(S.DECIDED, "approved", 21)

    async def test_a_claim_and_a_decision_with_the_end_of_a_lease(self, world, opened):
        work = await opened(escalates_at=None)
        await work.execute_update(W.claim, ANNE)
        await world.sleep(LEASE)
        outcomes = await asyncio.gather(
            work.execute_update(W.claim, BERT),
            work.execute_update(W.decide, says(ANNE)),
            return_exceptions=True,
        )
        assert sum(isinstance(o, WorkflowUpdateFailedError) for o in outcomes) == 1

    async def test_a_decision_and_the_deadline(self, world, opened, ending):
        work = await opened(escalates_at=None)
        writing = world.troubles.hold("record_work_item")
        await world.sleep(120 * MINUTE)
        await writing.entered.wait()
        refused = await refusal_of(work.execute_update(W.decide, says(ANNE)))
        assert refused == ("NotAllowed", "not_allowed", "expired")
        writing.open()
        assert (await ending(work)).status == "expired"
        assert world.work_items.events == ["expired"]

    async def test_a_decision_that_is_still_written_when_the_deadline_comes(
        self, world, opened, ending
    ):
        work = await opened(escalates_at=None)
        world.troubles.failures["record_work_item"] = 1000
        await world.sleep(119 * MINUTE + timedelta(seconds=58))
        deciding = asyncio.create_task(work.execute_update(W.decide, says(ANNE)))
        await soon(lambda: world.troubles.failures["record_work_item"] < 1000)
        await world.sleep(MINUTE)
        world.troubles.failures.clear()
        assert await deciding == "decided"
        assert await ending(work) == Outcome(S.DECIDED, "approved", 21)
        assert world.work_items.events == ["decided"]

    async def test_a_repeated_command_gets_the_first_answer(self, world, opened):
        work = await opened()
        answers = [await work.execute_update(W.decide, says(ANNE), id="key") for _ in range(2)]
        await work.result()
        answers.append(await work.execute_update(W.decide, says(ANNE), id="key"))
        assert answers == ["decided"] * 3
        assert world.work_items.events == ["decided"]


class TestBeginningAgain:
    async def test_a_lost_one_goes_on_from_its_row(self, world, an_item, ending):
        now = await world.now()
        progress = Progress(S.CLAIMED, 3, 21, now + LEASE, escalated=True)
        work = await world.work(WorkItemStart(await an_item(), progress))
        assert (await refusal_of(work.execute_update(W.claim, CHIEF)))[1] == "claimed_by_other"
        await world.sleep(LEASE)
        await work.execute_update(W.decide, says(CHIEF))
        assert await ending(work) == Outcome(S.DECIDED, "approved", 31)
        [move] = world.work_items.moves
        assert (move.from_status, move.version, move.escalated) == ("claimed", 4, True)

    async def test_timers_that_passed_meanwhile_are_kept(self, world, an_item, ending):
        gone = await world.now() - timedelta(days=1)
        item = await an_item(escalates_at=gone, due_at=gone + MINUTE)
        assert (await ending(await world.work(WorkItemStart(item)))).status == "expired"
        assert world.work_items.events == ["escalated", "expired"]


class TestNotNeededAnyMore:
    async def test_what_came_right_by_itself_is_withdrawn(self, world, opened, ending):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await work.signal(W.withdraw)
        assert await ending(work) == Outcome(S.CANCELLED, "", None)
        move = world.work_items.moves[-1]
        assert (move.event, move.reason) == ("withdrawn", "resolved")

    async def test_what_is_decided_stays_so(self, world, opened):
        work = await opened()
        deciding = world.troubles.hold("record_work_item")
        decided = asyncio.create_task(work.execute_update(W.decide, says(ANNE)))
        await deciding.entered.wait()
        await work.signal(W.withdraw)
        await work.cancel()
        deciding.open()
        assert await decided == "decided"
        assert Outcome(**await work.result()).status == "decided"
        assert world.work_items.events == ["decided"]

    async def test_cancelled_in_the_web_ui_its_row_is_cancelled(self, world, opened, ending):
        work = await opened()
        await world.idle(work)
        await work.cancel()
        assert await ending(work) == Outcome(S.CANCELLED, "", None)
        move = world.work_items.moves[-1]
        assert (move.event, move.reason, move.actor_role) == ("cancel", "terminated", "system")

    async def test_while_the_escalation_cannot_be_written(self, world, opened, ending):
        world.troubles.failures["record_work_item"] = 1000
        work = await opened()
        await world.sleep(30 * MINUTE)
        await soon(lambda: world.troubles.failures["record_work_item"] < 1000)
        await work.cancel()
        await asyncio.sleep(0.1)
        world.troubles.failures.clear()
        assert (await ending(work)).status == "cancelled"
        assert world.work_items.events == ["escalated", "cancel"]


class TestAnOrderThatWaits:
    """The order's own workflow has the work item as its child."""

    @pytest.fixture
    async def order(self, world):
        new = NewWorkItem(
            "audit", "RX-1", Role.PHARMACIST, APPROVED, LEASE, round=0, excluded=(51,)
        )

        async def waiting(id="order/RX-1"):
            return await world.env.client.start_workflow(
                WaitingOrder.run, new, id=id, task_queue="orders"
            )

        async with Worker(
            world.env.client,
            task_queue="orders",
            workflows=[WaitingOrder],
            activities=[world.work_items.open_work_item],
            build_id="test",
        ):
            yield waiting

    def child(self, world):
        return world.env.client.get_workflow_handle_for(W.run, "work_item/W-1")

    async def waits(self, world):
        """The child, once it runs and shows for whom it waits."""
        child = self.child(world)
        async with asyncio.timeout(10):
            while True:
                with suppress(RPCError):  # not begun yet
                    kinds = [e.event_type for e in (await child.fetch_history()).events]
                    if SHOWN in kinds and TERMINATED not in kinds:
                        return child
                await asyncio.sleep(0.02)

    async def test_hears_what_was_decided(self, world, order):
        waiting = await order()
        await (await self.waits(world)).execute_update(W.decide, says(ANNE))
        assert await waiting.result() == Outcome(S.DECIDED, "approved", 21)

    async def test_voids_it(self, world, order, ending):
        waiting = await order()
        child = await self.waits(world)
        await waiting.signal(WaitingOrder.void)
        assert await waiting.result() is None
        assert (await ending(child)).status == "cancelled"
        assert world.work_items.moves[-1].to_status == "cancelled"

    async def test_begun_again_finds_it_where_it_stands(self, world, order):
        lost = await order()
        await (await self.waits(world)).execute_update(W.claim, ANNE)
        await lost.terminate()
        with suppress(RPCError):  # the server does it too, sooner or later
            await self.child(world).terminate()
        again = await order("order/RX-1-again")
        child = await self.waits(world)
        assert (await refusal_of(child.execute_update(W.claim, BERT)))[1] == "claimed_by_other"
        await child.execute_update(W.decide, says(ANNE))
        assert (await again.result()).decided_by == 21

    async def test_hears_of_one_that_a_command_had_begun_meanwhile(self, world, order):
        item = WorkItem("W-1", "audit", "RX-1", Role.PHARMACIST, APPROVED, LEASE)
        world.work_items.rows["audit:RX-1:0"] = WorkItemStart(item)
        alone = await world.work(WorkItemStart(item))
        waiting = await order()
        await alone.execute_update(W.decide, says(ANNE))
        await alone.result()
        assert await waiting.result() == Outcome(S.DECIDED, "approved", 21)


async def begun(update):
    """Sent, and there before the next one."""
    task = asyncio.create_task(update)
    await asyncio.sleep(0.1)
    return task
