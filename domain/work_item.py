"""Work items (待办): what waits for a member of staff. Pure: no clock, no I/O, no SQL."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from domain.access import Role
from domain.order import Move


class WorkItemStatus(StrEnum):
    OPEN = "open"  # 待领取
    CLAIMED = "claimed"  # 已领取; once the lease is over, anybody may claim it
    DECIDED = "decided"  # 已决定
    CANCELLED = "cancelled"  # 已撤销: nobody needs the decision any more
    EXPIRED = "expired"  # 已过期: nobody decided in time

    @property
    def open(self) -> bool:
        return self in (S.OPEN, S.CLAIMED)


S = WorkItemStatus


class WorkItemKind(StrEnum):
    """Those that are decided at the worklist itself. Other kinds belong to an order, whose own
    route takes the decision."""

    REFUND_STUCK = "refund_stuck"
    RECONCILIATION_DIFFERENCE = "reconciliation_difference"
    SUSPENSION_LIFT = "suspension_lift"
    RED_FLAG = "red_flag"  # somebody to be called back at once


@dataclass(frozen=True)
class Desk:
    """Who decides a kind of work item, and what they may decide."""

    role: Role
    decisions: tuple[str, ...]


K = WorkItemKind
DESKS: dict[WorkItemKind, Desk] = {
    # The money goes on its way again; or it was given back by other means.
    K.REFUND_STUCK: Desk(Role.OPERATOR, ("retry", "paid_otherwise")),
    K.RECONCILIATION_DIFFERENCE: Desk(Role.OPERATOR, ("resolved", "accepted")),
    K.SUSPENSION_LIFT: Desk(Role.OPERATOR, ("lifted", "kept")),
    K.RED_FLAG: Desk(Role.NURSE, ("sent_to_hospital", "no_emergency", "not_reached")),
}


@dataclass(frozen=True)
class NewWorkItem:
    """Work to be decided by somebody of a role. Codes, numbers and ids only.

    One that comes again under the same kind, subject and round is the same. Without a round it is
    the same while it is open, and a new one afterwards.
    """

    kind: str
    subject: str  # what is decided about: a refund's, an order's number
    role: Role
    decisions: tuple[str, ...]
    lease: timedelta
    round: int | None = None
    order_no: str | None = None
    excluded: tuple[int, ...] = ()  # accounts that may never decide this
    escalates_at: datetime | None = None
    escalates_to: Role | None = None  # from then on may decide as well; `role` itself: a reminder
    due_at: datetime | None = None
    at_deadline: str = ""  # what then counts as decided: a code
    details: dict[str, str] = field(default_factory=dict)  # codes and amounts


# Somebody's health may hang on them: told to their role when they are opened.
URGENT = frozenset({K.RED_FLAG})


def for_desk(kind: WorkItemKind, subject: str, lease: timedelta) -> NewWorkItem:
    """A work item of a kind that is decided at the worklist."""
    desk = DESKS[kind]
    return NewWorkItem(kind, subject, desk.role, desk.decisions, lease)


def with_reminder(new: NewWorkItem, at: datetime) -> NewWorkItem:
    """Undecided by then, those who may decide are reminded: an escalation to their own role."""
    return replace(new, escalates_at=at, escalates_to=new.role)


@dataclass(frozen=True)
class WorkItem:
    """A work item as its workflow knows it: what was said when it was opened."""

    number: str
    kind: str
    subject: str
    role: Role
    decisions: tuple[str, ...]
    lease: timedelta
    excluded: tuple[int, ...] = ()
    escalates_at: datetime | None = None
    escalates_to: Role | None = None
    due_at: datetime | None = None
    at_deadline: str = ""


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    status: WorkItemStatus = S.OPEN
    version: int = 0
    claimed_by: int | None = None  # in the end: who decided
    lease_until: datetime | None = None
    escalated: bool = False
    decision: str = ""


@dataclass(frozen=True)
class WorkItemStart:
    """A work item and how far it is: a workflow that was lost begins again where its row stands."""

    item: WorkItem
    progress: Progress = Progress()


@dataclass(frozen=True)
class Outcome:
    """What became of it, as whoever waits for it hears. `decision` is a code, or empty."""

    status: WorkItemStatus
    decision: str
    decided_by: int | None


@dataclass(frozen=True)
class WorkItemMove(Move):
    """A move, and what its row then says."""

    claimed_by: int | None = None
    lease_until: datetime | None = None
    escalated: bool = False
    decision: str = ""


def roles_of(item: WorkItem, progress: Progress) -> frozenset[Role]:
    """Who may decide it now."""
    if progress.escalated and item.escalates_to is not None:
        return frozenset({item.role, item.escalates_to})
    return frozenset({item.role})


def holder(progress: Progress, now: datetime) -> int | None:
    """Who has claimed it, while the lease lasts."""
    if progress.status is not S.CLAIMED or progress.lease_until is None:
        return None
    return progress.claimed_by if now < progress.lease_until else None


# Why a person's command is not allowed (a problem code), or None when it is.


def claim_refusal(
    item: WorkItem, progress: Progress, role: Role, account_id: int, now: datetime
) -> str | None:
    if not progress.status.open:
        return "not_allowed"
    if role not in roles_of(item, progress):
        return "wrong_role"
    if account_id in item.excluded:
        return "excluded"
    return "claimed_by_other" if holder(progress, now) not in (None, account_id) else None


def decide_refusal(
    item: WorkItem, progress: Progress, role: Role, account_id: int, now: datetime, decision: str
) -> str | None:
    """Who decides what nobody holds claims it by that."""
    if decision not in item.decisions:
        return "not_allowed"
    return claim_refusal(item, progress, role, account_id, now)


def release_refusal(progress: Progress, role: Role, account_id: int, now: datetime) -> str | None:
    """The holder gives it back; an operator, also in the holder's place."""
    if progress.status is not S.CLAIMED:
        return "not_allowed"
    held_by = holder(progress, now)
    if held_by is None:
        return "lease_expired"
    return None if account_id == held_by or role is Role.OPERATOR else "claimed_by_other"


def reassign_refusal(item: WorkItem, progress: Progress, account_id: int) -> str | None:
    if not progress.status.open:
        return "not_allowed"
    return "excluded" if account_id in item.excluded else None


# What happens by itself


class Step(StrEnum):
    LEASE_OVER = "lease_over"  # anybody may claim it again
    ESCALATE = "escalate"
    EXPIRE = "expire"


@dataclass(frozen=True)
class NextStep:
    step: Step
    at: datetime


def next_timer(item: WorkItem, progress: Progress) -> NextStep | None:
    """What the workflow does by itself next, and when. A lease is no timer: it is looked at when
    somebody comes."""
    steps = []
    if item.escalates_at and item.escalates_to and not progress.escalated:
        steps.append(NextStep(Step.ESCALATE, item.escalates_at))
    if item.due_at:
        steps.append(NextStep(Step.EXPIRE, item.due_at))
    # At the same instant it is over, not escalated first.
    return min(steps, key=lambda s: (s.at, s.step is Step.ESCALATE), default=None)


def next_step(item: WorkItem, progress: Progress, now: datetime) -> NextStep | None:
    """What people are told will happen next by itself; None when nothing will."""
    if not progress.status.open:
        return None
    timer = next_timer(item, progress)
    if holder(progress, now) is None or progress.lease_until is None:
        return timer
    if timer is not None and timer.at <= progress.lease_until:
        return timer
    return NextStep(Step.LEASE_OVER, progress.lease_until)
