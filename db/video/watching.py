"""What is written down about rooms by whoever watches them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.outbox import promise
from db.video.rows import VideoRoomRow, VideoSeatRow

R, S = VideoRoomRow, VideoSeatRow
# Guarded by what stands there: two who watch tell it once. What a closed room does tells nobody
# anything.
CHANGED = text(
    """update video_seat s
          set present = :present,
              first_joined_at = case when :present then coalesce(s.first_joined_at, :at)
                                     else s.first_joined_at end,
              joined_at = case when :present then :at else s.joined_at end,
              left_at = case when :present then s.left_at else :at end
         from video_room r
        where r.order_no = s.order_no and r.closed_at is null
          and s.order_no = :order_no and s.display = :display and s.present <> :present
    returning s.role"""
)
EMPTIED = text(
    """update video_seat set present = false, left_at = now()
        where order_no = :order_no and present"""
)
DESTROYED = text(
    """update video_room set destroyed_at = now()
        where order_no = :order_no and closed_at < now() - cast(:settled as interval)"""
)


@dataclass(frozen=True)
class Watched:
    """A room as it was last seen: who sits in it, by display."""

    order_no: str
    kind: str
    number: int
    closed: bool
    present: dict[str, bool]


async def rooms_to_watch(connection: AsyncConnection) -> list[Watched]:
    """Every room that the video server may still have."""
    found = await connection.execute(
        select(R.order_no, R.kind, R.number, R.closed_at, S.display, S.present)
        .outerjoin(S, S.order_no == R.order_no)
        .where(R.destroyed_at.is_(None))
        .order_by(R.id, S.id)
    )
    rooms: dict[str, Watched] = {}
    for row in found:
        room = rooms.setdefault(
            row.order_no,
            Watched(row.order_no, row.kind, row.number, row.closed_at is not None, {}),
        )
        if row.display is not None:
            room.present[row.display] = row.present
    return list(rooms.values())


async def record_presence(
    connection: AsyncConnection, room: Watched, changes: Iterable[tuple[str, bool]], at: datetime
) -> None:
    """Write down who came (True) and who went, by display, and promise that the order's workflow
    hears of it."""
    for display, present in changes:
        values = {"order_no": room.order_no, "display": display, "present": present, "at": at}
        role = await connection.scalar(CHANGED, values)
        if role is not None:
            await promise(
                connection,
                stream=room.order_no,
                workflow=room.kind,
                subject=room.order_no,
                signal="presence",
                args={"role": role, "present": present, "at": at.isoformat()},
            )


async def was_there(connection: AsyncConnection, order_no: str, role: str, since: datetime) -> bool:
    """Whether somebody of this role was seen in the room at or after an instant."""
    seen = exists().where(
        S.order_no == order_no, S.role == role, or_(S.present, S.left_at >= since)
    )
    found = await connection.execute(select(seen))
    return bool(found.scalar_one())


async def record_destroyed(
    connection: AsyncConnection, order_no: str, *, settled: timedelta
) -> None:
    """The video server has it no more. It is looked at no longer once it was closed for `settled`:
    until then somebody who asked before the end may still have it made again."""
    await connection.execute(EMPTIED, {"order_no": order_no})
    await connection.execute(DESTROYED, {"order_no": order_no, "settled": settled})
