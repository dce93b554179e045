"""What the work items' lifecycle does: it writes rows, and does what was decided."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.message import Outgoing
from db.appointment import lift_suspension
from db.payment import retry_refund, settle_elsewhere
from db.work_item import find_round, insert_work_item, record_move
from domain.message import Template
from domain.work_item import NewWorkItem, WorkItemKind, WorkItemMove, WorkItemStart


@dataclass(frozen=True)
class Change:
    """A work item's move, and what it is about."""

    move: WorkItemMove
    kind: str
    subject: str


Effect = Callable[[AsyncConnection, Change], Awaitable[None]]


async def _settle_refund(connection: AsyncConnection, change: Change) -> None:
    move = change.move
    if move.decision == "retry":
        await retry_refund(connection, change.subject)
    elif move.decision == "paid_otherwise":
        await settle_elsewhere(connection, change.subject, by=move.claimed_by, at=move.at)


async def _lift(connection: AsyncConnection, change: Change) -> None:
    move = change.move
    if move.decision == "lifted":
        await lift_suspension(connection, change.subject, by=move.claimed_by, at=move.at)


# What follows from a decision, by kind: in the transaction that writes it down, and once.
EFFECTS: dict[str, Effect] = {
    WorkItemKind.REFUND_STUCK: _settle_refund,
    WorkItemKind.SUSPENSION_LIFT: _lift,
}
# What the patient is told of it: the subject is an order's number.
NEWS: dict[tuple[str, str], Template] = {
    (WorkItemKind.SUSPENSION_LIFT, "lifted"): Template.SUSPENSION_LIFTED,
    (WorkItemKind.SUSPENSION_LIFT, "kept"): Template.SUSPENSION_KEPT,
}


@dataclass(frozen=True)
class WorkItemActivities:
    engine: AsyncEngine
    hospital_id: int

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
        """Row, timeline and what was decided in one commit; a repeat changes nothing. What the
        patient is to be told of it, also when repeated: a message is sent once by its fact."""
        async with self.engine.begin() as connection:
            moved = await record_move(connection, change.move)
            effect = EFFECTS.get(change.kind)
            if moved and effect is not None:
                await effect(connection, change)
        news = NEWS.get((change.kind, change.move.decision))
        if news is None:
            return None
        return Outgoing(f"{change.move.order_no}:{news}", change.subject, news)
