"""Who may claim, give back and decide what waits, and what happens next by itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.access import Role
from domain.work_item import (
    DESKS,
    NextStep,
    Progress,
    Step,
    WorkItem,
    WorkItemKind,
    WorkItemStatus,
    claim_refusal,
    decide_refusal,
    for_desk,
    holder,
    next_step,
    next_timer,
    reassign_refusal,
    release_refusal,
    roles_of,
)

S, R = WorkItemStatus, Role
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ITEM = WorkItem(
    "W1", "audit", "RX1", R.PHARMACIST, ("approved", "rejected"), 15 * MINUTE,
    excluded=(5,), escalates_at=NOW + 30 * MINUTE, escalates_to=R.CHIEF_PHARMACIST,
    due_at=NOW + 60 * MINUTE, at_deadline="late",
)  # fmt: skip
OPEN = Progress()
MINE = Progress(S.CLAIMED, 1, claimed_by=1, lease_until=NOW + MINUTE)
LAPSED = replace(MINE, lease_until=NOW)
ESCALATED = Progress(escalated=True)
OVER = [Progress(status, 3) for status in S if not status.open]


@pytest.mark.parametrize(
    ("progress", "role", "account", "refused"),
    [
        (OPEN, R.PHARMACIST, 1, None),
        (OPEN, R.CHIEF_PHARMACIST, 1, "wrong_role"),
        (OPEN, R.OPERATOR, 1, "wrong_role"),
        (OPEN, R.PHARMACIST, 5, "excluded"),
        (MINE, R.PHARMACIST, 1, None),
        (MINE, R.PHARMACIST, 2, "claimed_by_other"),
        (LAPSED, R.PHARMACIST, 2, None),
        (ESCALATED, R.CHIEF_PHARMACIST, 2, None),
        (ESCALATED, R.PHARMACIST, 2, None),
        (ESCALATED, R.CHIEF_PHARMACIST, 5, "excluded"),
        *[(over, R.PHARMACIST, 1, "not_allowed") for over in OVER],
    ],
)
def test_who_may_claim_and_decide(progress, role, account, refused):
    assert claim_refusal(ITEM, progress, role, account, NOW) == refused
    assert decide_refusal(ITEM, progress, role, account, NOW, "approved") == refused
    assert decide_refusal(ITEM, progress, role, account, NOW, "lifted") == "not_allowed"


@pytest.mark.parametrize(
    ("progress", "role", "account", "refused"),
    [
        (OPEN, R.PHARMACIST, 1, "not_allowed"),
        (MINE, R.PHARMACIST, 1, None),
        (MINE, R.PHARMACIST, 2, "claimed_by_other"),
        (MINE, R.OPERATOR, 2, None),
        (LAPSED, R.PHARMACIST, 1, "lease_expired"),
        (LAPSED, R.OPERATOR, 2, "lease_expired"),
        *[(over, R.OPERATOR, 1, "not_allowed") for over in OVER],
    ],
)
def test_who_may_give_back(progress, role, account, refused):
    assert release_refusal(progress, role, account, NOW) == refused


def test_to_whom_it_may_be_given():
    for progress in (OPEN, MINE, LAPSED):
        assert reassign_refusal(ITEM, progress, 2) is None
        assert reassign_refusal(ITEM, progress, 5) == "excluded"
    for over in OVER:
        assert reassign_refusal(ITEM, over, 2) == "not_allowed"


def test_a_lease_ends_at_its_instant():
    assert holder(MINE, NOW) == 1
    assert holder(LAPSED, NOW) is None
    assert holder(OPEN, NOW) is None


def test_an_escalation_widens_the_circle():
    assert roles_of(ITEM, OPEN) == {R.PHARMACIST}
    assert roles_of(ITEM, ESCALATED) == {R.PHARMACIST, R.CHIEF_PHARMACIST}
    assert roles_of(replace(ITEM, escalates_to=None), ESCALATED) == {R.PHARMACIST}


def test_what_happens_next():
    escalates = NextStep(Step.ESCALATE, NOW + 30 * MINUTE)
    expires = NextStep(Step.EXPIRE, NOW + 60 * MINUTE)
    assert next_timer(ITEM, OPEN) == next_step(ITEM, OPEN, NOW) == escalates
    assert next_timer(ITEM, ESCALATED) == expires
    assert next_timer(ITEM, MINE) == escalates  # a lease is no timer
    assert next_step(ITEM, MINE, NOW) == NextStep(Step.LEASE_OVER, NOW + MINUTE)
    assert next_step(ITEM, LAPSED, NOW) == escalates
    long = replace(MINE, lease_until=NOW + 45 * MINUTE)
    assert next_step(ITEM, long, NOW) == escalates
    assert next_step(ITEM, OVER[0], NOW) is None
    endless = replace(ITEM, escalates_at=None, due_at=None)
    assert next_timer(endless, OPEN) is next_step(endless, OPEN, NOW) is None
    assert next_step(endless, MINE, NOW) == NextStep(Step.LEASE_OVER, NOW + MINUTE)


def test_what_is_due_at_once_is_over_and_not_escalated_first():
    both = replace(ITEM, escalates_at=ITEM.due_at)
    assert next_timer(both, OPEN).step is Step.EXPIRE


@pytest.mark.parametrize("kind", WorkItemKind)
def test_every_kind_of_the_worklist_has_its_desk(kind):
    new = for_desk(kind, "R1", MINUTE)
    assert (new.kind, new.role, new.lease) == (kind, DESKS[kind].role, MINUTE)
    assert len(new.decisions) > 1
