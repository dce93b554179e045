"""What the work items' lifecycle does: it writes rows, and does what was decided."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.message import Outgoing
from db.appointment import lift_suspension
from db.payment import have_double_looked_at, retry_refund, settle_elsewhere
from db.work_item import (
    find_round,
    insert_work_item,
    record_move,
    tell_assignee,
    tell_escalated,
)
from domain.hospital import WorkItemPolicy
from domain.message import Template
from domain.work_item import (
    NewWorkItem,
    WorkItemKind,
    WorkItemMove,
    WorkItemStart,
    WorkItemStatus,
)


@dataclass(frozen=True)
class Change:
    """A work item's move, and what it is about."""

    move: WorkItemMove
    kind: str
    subject: str


Effect = Callable[[AsyncConnection, Change, WorkItemPolicy], Awaitable[None]]


async def _settle_refund(
    connection: AsyncConnection, change: Change, policy: WorkItemPolicy
) -> None:
    move = change.move
    if move.decision == "retry":
        await retry_refund(connection, change.subject)
    elif move.decision == "paid_otherwise":
        twice = await settle_elsewhere(connection, change.subject, by=move.claimed_by, at=move.at)
        if twice:
            await have_double_looked_at(connection, change.subject, policy)


async def _lift(connection: AsyncConnection, change: Change, policy: WorkItemPolicy) -> None:
    move = change.move
    if move.decision == "lifted":
        await lift_suspension(connection, change.subject, by=move.claimed_by, at=move.at)


# What follows from a decision, by kind: in the transaction that writes it down, and once.
EFFECTS: dict[str, Effect] = {
    WorkItemKind.REFUND_STUCK: _settle_refund,
    WorkItemKind.SUSPENSION_LIFT: _lift,
}
# What the patient is told of a decision, or of a status without one: the subject is an order's
# number.
NEWS: dict[tuple[str, str], Template] = {
    (WorkItemKind.SUSPENSION_LIFT, "lifted"): Template.SUSPENSION_LIFTED,
    (WorkItemKind.SUSPENSION_LIFT, "kept"): Template.SUSPENSION_KEPT,
    (WorkItemKind.SUSPENSION_LIFT, WorkItemStatus.EXPIRED): Template.SUSPENSION_OVER,
}


async def _tell_staff(connection: AsyncConnection, move: WorkItemMove) -> None:
    """Who has it now. Also when the move is repeated: a message is sent once by its fact."""
    if move.event == "escalated":
        await tell_escalated(connection, move.order_no, move.version)
    elif move.event == "reassigned" and move.claimed_by not in (None, move.actor_id):
        await tell_assignee(connection, move.order_no, move.claimed_by, move.version)


@dataclass(frozen=True)
class WorkItemActivities:
    engine: AsyncEngine
    hospital_id: int
    policy: WorkItemPolicy = field(default_factory=WorkItemPolicy)

    @activity.defn
    async def open_work_item(self, new: NewWorkItem) -> WorkItemStart:
        """The row of a work item whose workflow is the caller's child, and how far it is. Safe to
        repeat: it is known by kind, subject and round, so a round must be named."""
        if new.round is None:
            raise ValueError("a workflow that waits for a decision says for which")
        async with self.engine.begin() as connection:
            await insert_work_item(connection, self.hospital_id, new)
            start = await find_round(connection, self.hospital_id, new.kind, new.subject, new.round)
        if start is None:
            raise LookupError(f"no work item {new.kind} of {new.subject}")
        return start

    @activity.defn
    async def record_work_item(self, change: Change) -> Outgoing | None:
        """Row, timeline, what was decided and what staff are told in one commit; a repeat changes
        nothing. What the patient is to be told of it, also when repeated: a message is sent once
        by its fact."""
        async with self.engine.begin() as connection:
            moved = await record_move(connection, change.move)
            effect = EFFECTS.get(change.kind)
            if moved and effect is not None:
                await effect(connection, change, self.policy)
            await _tell_staff(connection, change.move)
        news = NEWS.get((change.kind, change.move.decision or change.move.to_status))
        if news is None:
            return None
        return Outgoing(f"{change.move.order_no}:{news}", change.subject, news)
