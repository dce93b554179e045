"""Rooms are opened, given seats, and closed."""

from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.data_keys import drop_unused_key, new_sealing_key
from db.account.rows import DataKeyRow
from db.keyring import Keyring
from db.video.rows import VideoRoomRow, VideoSeatRow
from domain.video import new_display, new_room_number, new_room_secret, new_token

R, S = VideoRoomRow, VideoSeatRow
CONSULTATION = "consultation"


@dataclass(frozen=True)
class Seat:
    account_id: int
    role: str
    display: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Room:
    """An open room with all that the video server has to know about it."""

    order_no: str
    number: int
    secret: str = field(repr=False)
    seats: tuple[Seat, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(seat.token for seat in self.seats)

    def seat_of(self, account_id: int) -> Seat:
        return next(seat for seat in self.seats if seat.account_id == account_id)


async def open_room(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    order_no: str,
    *,
    kind: str = CONSULTATION,
) -> None:
    """Write the room down, once. `kind` is the workflow that hears who joins and leaves."""
    if await connection.scalar(select(R.id).where(R.order_no == order_no)):
        return
    key = await new_sealing_key(connection, keyring)
    made = await connection.execute(
        insert(R)
        .values(
            hospital_id=hospital_id,
            order_no=order_no,
            kind=kind,
            number=new_room_number(),
            data_key_id=key.id,
            sealed=key.key.seal({"secret": new_room_secret()}),
        )
        .on_conflict_do_nothing(index_elements=["order_no"])
        .returning(R.id)
    )
    if made.one_or_none() is None:
        await drop_unused_key(connection, key)


async def take_seat(
    connection: AsyncConnection, keyring: Keyring, order_no: str, account_id: int, role: str
) -> Room | None:
    """The room with a seat for this account in it, always the same one. None when the room is
    closed, or was never opened."""
    # Shared: whoever closes the room waits for us, or we see that it is closed.
    found = await connection.execute(
        select(R.closed_at, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == R.data_key_id)
        .where(R.order_no == order_no, R.closed_at.is_(None))
        .with_for_update(read=True, of=R)
    )
    room = found.one_or_none()
    if room is None:
        return None
    key = keyring.unwrap(room.wrapped)
    await connection.execute(
        insert(S)
        .values(
            order_no=order_no,
            account_id=account_id,
            role=role,
            display=new_display(),
            sealed=key.seal({"token": new_token()}),
        )
        .on_conflict_do_nothing(index_elements=["order_no", "account_id"])
    )
    return await load_room(connection, keyring, order_no)


async def load_room(connection: AsyncConnection, keyring: Keyring, order_no: str) -> Room | None:
    """The room with its seats, open or closed. None when it was never opened."""
    found = await connection.execute(
        select(R.number, R.sealed, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == R.data_key_id)
        .where(R.order_no == order_no)
    )
    room = found.one_or_none()
    if room is None:
        return None
    key = keyring.unwrap(room.wrapped)
    seats = await connection.execute(
        select(S.account_id, S.role, S.display, S.sealed)
        .where(S.order_no == order_no)
        .order_by(S.id)
    )
    return Room(
        order_no,
        room.number,
        key.open(room.sealed)["secret"],
        tuple(
            Seat(row.account_id, row.role, row.display, key.open(row.sealed)["token"])
            for row in seats
        ),
    )


async def close_room(
    connection: AsyncConnection, hospital_id: int, order_no: str, *, kind: str = CONSULTATION
) -> None:
    """Nobody gets in any more, and whoever watches the rooms destroys it. Safe to repeat. A room
    that was never opened stays closed too, for somebody who is just about to open it."""
    now = func.now()
    await connection.execute(
        insert(R)
        .values(
            hospital_id=hospital_id,
            order_no=order_no,
            kind=kind,
            number=new_room_number(),
            closed_at=now,
            destroyed_at=now,
        )
        .on_conflict_do_update(
            index_elements=["order_no"], set_={"closed_at": func.coalesce(R.closed_at, now)}
        )
    )
