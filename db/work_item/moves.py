"""What the workflow writes."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.journal import append_timeline
from domain.work_item import WorkItemMove, WorkItemStatus

MOVE = text(
    """update work_item set status = :to_status, version = :version, claimed_by = :claimed_by,
           lease_until = :lease_until, escalated = :escalated, decision = :decision,
           closed_at = case when :closed then cast(:at as timestamptz) end
     where number = :order_no and version < :version"""
)


async def record_move(connection: AsyncConnection, move: WorkItemMove) -> bool:
    """Write a move and append it to the timeline. Safe to repeat: False when the row is as far
    already, and then nothing that follows from the move is to be done again."""
    closed = not WorkItemStatus(move.to_status).open
    moved = await connection.execute(MOVE, {**vars(move), "closed": closed})
    await append_timeline(connection, move)
    return moved.rowcount == 1
