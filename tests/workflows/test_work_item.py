"""What waits for a member of staff: claimed, given back, escalated, decided, or too late."""

from datetime import timedelta

import pytest

from domain.access import Role
from domain.message import Template
from domain.work_item import (
    Outcome,
    WorkItemStatus,
)
from tests.support.audits import (
    ANNE,
    BERT,
    CHIEF,
    DOCTOR_TOO,
    LEASE,
    MINUTE,
    OPERATOR,
    says,
)
from tests.support.temporal import refusal_of, soon
from workflows.commands import Reassign
from workflows.work_item import WorkItemWorkflow

pytestmark = pytest.mark.anyio

S = WorkItemStatus
W = WorkItemWorkflow


class TestDeciding:
    async def test_who_claimed_it_decides(self, staffed, opened, outcome):
        work = await opened()
        assert await work.execute_update(W.claim, ANNE) == "claimed"
        assert await work.execute_update(W.decide, says(ANNE, "rejected")) == "decided"
        assert await outcome(work) == Outcome(S.DECIDED, "rejected", 21)
        claimed, decided = staffed.work_items.moves
        assert (claimed.event, claimed.actor_role, claimed.actor_id) == (
            "claimed",
            "pharmacist",
            21,
        )
        assert claimed.lease_until - claimed.at == LEASE
        assert (decided.from_status, decided.to_status) == ("claimed", "decided")
        assert (decided.decision, decided.reason, decided.version) == ("rejected", "rejected", 2)

    async def test_deciding_what_nobody_holds_claims_it(self, staffed, opened, outcome):
        work = await opened()
        await work.execute_update(W.decide, says(ANNE))
        assert await outcome(work) == Outcome(S.DECIDED, "approved", 21)
        assert staffed.work_items.moves[0].claimed_by == 21

    async def test_the_patient_is_told_when_there_is_something_to_tell(
        self, staffed, opened, outcome
    ):
        staffed.work_items.news = {"approved": Template.SUSPENSION_LIFTED}
        work = await opened()
        await work.execute_update(W.decide, says(ANNE))
        await outcome(work)
        await staffed.told(Template.SUSPENSION_LIFTED)

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
    async def test_is_refused(self, staffed, opened, decision, code):
        work = await opened()
        refused = await refusal_of(work.execute_update(W.decide, decision))
        assert refused == ("NotAllowed", code, "open")
        assert staffed.work_items.moves == []


class TestClaiming:
    async def test_nobody_else_may_have_it_meanwhile(self, staffed, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        for update, arg in [(W.claim, BERT), (W.decide, says(BERT)), (W.release, BERT)]:
            refused = await refusal_of(work.execute_update(update, arg))
            assert refused == ("NotAllowed", "claimed_by_other", "claimed")

    async def test_by_its_holder_renews_the_lease(self, staffed, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await staffed.sleep(10 * MINUTE)
        await work.execute_update(W.claim, ANNE)
        await staffed.sleep(10 * MINUTE)
        assert (await refusal_of(work.execute_update(W.claim, BERT)))[1] == "claimed_by_other"

    async def test_when_the_lease_is_over_anybody_may(self, staffed, opened, outcome):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await staffed.sleep(LEASE)
        assert (await refusal_of(work.execute_update(W.release, ANNE)))[1] == "lease_expired"
        await work.execute_update(W.claim, BERT)
        assert (await refusal_of(work.execute_update(W.decide, says(ANNE))))[
            1
        ] == "claimed_by_other"
        await work.execute_update(W.decide, says(BERT))
        assert (await outcome(work)).decided_by == 22

    async def test_after_its_own_lease_one_may_still_decide_what_nobody_took(self, staffed, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await staffed.sleep(LEASE)
        assert await work.execute_update(W.decide, says(ANNE)) == "decided"

    async def test_given_back_it_is_open(self, staffed, opened, outcome):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        assert await work.execute_update(W.release, ANNE) == "open"
        assert (await refusal_of(work.execute_update(W.release, ANNE)))[1] == "not_allowed"
        await work.execute_update(W.decide, says(BERT))
        assert (await outcome(work)).decided_by == 22
        assert staffed.work_items.events == ["claimed", "released", "decided"]

    async def test_an_operator_gives_back_what_somebody_holds(self, staffed, opened):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        assert await work.execute_update(W.release, OPERATOR) == "open"

    async def test_reassigned_it_is_somebody_elses_for_a_lease(self, staffed, opened, outcome):
        work = await opened()
        await work.execute_update(W.claim, ANNE)
        await work.execute_update(W.reassign, Reassign(OPERATOR, BERT.account_id))
        assert (await refusal_of(work.execute_update(W.decide, says(ANNE))))[
            1
        ] == "claimed_by_other"
        move = staffed.work_items.moves[-1]
        assert (move.claimed_by, move.actor_id, move.lease_until) == (22, 41, move.at + LEASE)
        excluded = Reassign(OPERATOR, DOCTOR_TOO.account_id)
        assert (await refusal_of(work.execute_update(W.reassign, excluded)))[1] == "excluded"
        await work.execute_update(W.decide, says(BERT))
        assert (await outcome(work)).decided_by == 22


class TestTime:
    async def test_undecided_it_is_escalated_and_both_may_decide(self, staffed, opened, outcome):
        work = await opened()
        await staffed.sleep(30 * MINUTE)
        await soon(lambda: staffed.work_items.events == ["escalated"])
        await staffed.idle(work)
        assert (await staffed.shown(work)).waiting_for == "chief_pharmacist"
        await work.execute_update(W.claim, ANNE)
        await work.execute_update(W.release, ANNE)
        await work.execute_update(W.decide, says(CHIEF))
        assert await outcome(work) == Outcome(S.DECIDED, "approved", 31)

    async def test_escalated_to_its_own_role_they_are_reminded_once(self, staffed, opened, outcome):
        work = await opened(escalates_to=Role.PHARMACIST, due_at=None)
        assert "they are reminded" in (await staffed.shown(work)).details
        await staffed.sleep(90 * MINUTE)
        await soon(lambda: staffed.work_items.events == ["escalated"])
        assert (await staffed.shown(work)).waiting_for == "pharmacist"
        await work.execute_update(W.decide, says(ANNE))
        assert await outcome(work) == Outcome(S.DECIDED, "approved", 21)
        assert staffed.work_items.events == ["escalated", "decided"]

    async def test_the_patient_hears_that_nobody_decided_in_time(self, staffed, opened, outcome):
        """As of an appeal: without a code of its own for the deadline."""
        staffed.work_items.news = {"": Template.SUSPENSION_OVER}
        work = await opened(escalates_at=None, at_deadline="")
        assert await outcome(work) == Outcome(S.EXPIRED, "", None)
        await staffed.told(Template.SUSPENSION_OVER)

    async def test_escalated_while_claimed_the_holder_keeps_it(self, staffed, opened):
        work = await opened()
        await staffed.sleep(20 * MINUTE)
        await work.execute_update(W.claim, ANNE)
        await staffed.sleep(11 * MINUTE)
        assert staffed.work_items.events == ["claimed", "escalated"]
        assert (await refusal_of(work.execute_update(W.claim, CHIEF)))[1] == "claimed_by_other"

    async def test_nobody_in_time_is_the_deadlines_decision(self, staffed, opened, outcome):
        work = await opened()
        assert await outcome(work) == Outcome(S.EXPIRED, "not_audited", None)
        assert staffed.work_items.events == ["escalated", "expired"]
        assert staffed.work_items.moves[-1].reason == "deadline"

    async def test_a_deadline_comes_to_what_is_claimed_too(self, staffed, opened, outcome):
        work = await opened(escalates_at=None)
        await staffed.sleep(119 * MINUTE)
        await work.execute_update(W.claim, ANNE)
        assert await outcome(work) == Outcome(S.EXPIRED, "not_audited", None)

    async def test_without_a_deadline_it_waits_for_ever(self, staffed, opened):
        work = await opened(escalates_at=None, due_at=None)
        waiting = await staffed.shown(work)
        assert (waiting.status, waiting.waiting_for, waiting.due_at) == ("open", "pharmacist", None)
        await staffed.sleep(timedelta(days=400))
        assert staffed.work_items.moves == []
        await work.execute_update(W.decide, says(ANNE))
        assert Outcome(**await work.result()).decision == "approved"

    async def test_operators_see_whom_it_waits_for_until_when_and_what_then(self, staffed, opened):
        begun = await staffed.now()
        work = await opened()
        waiting = await staffed.shown(work)
        assert (waiting.status, waiting.waiting_for) == ("open", "pharmacist")
        assert (waiting.due_at - begun) // MINUTE == 30
        assert "escalated to chief_pharmacist" in waiting.details
        await staffed.sleep(30 * MINUTE)
        await staffed.idle(work)
        waiting = await staffed.shown(work)
        assert (waiting.due_at - begun) // MINUTE == 120
        assert "expires (not_audited)" in waiting.details
