"""Messages, written one after another in each order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.rows import DataKeyRow
from db.conversation.rows import ConsultationMessageRow
from db.conversation.talks import Talk
from db.keyring import Keyring, Shredded
from db.outbox import promise
from domain.conversation import MessageType, Side

M = ConsultationMessageRow
ANSWERED = text(
    "update consultation set answered_at = clock_timestamp() where id = :id and answered_at is null"
)


@dataclass(frozen=True)
class NewMessage:
    side: Side
    account_id: int
    type: MessageType
    content: str = field(repr=False)
    file_id: int | None = None


@dataclass(frozen=True)
class Message:
    id: int
    order_no: str
    seq: int
    side: Side
    account_id: int
    type: MessageType
    content: str | None = field(repr=False)  # None: shredded
    file_id: int | None
    created_at: datetime


async def write_message(
    connection: AsyncConnection, keyring: Keyring, talk: Talk, new: NewMessage
) -> int:
    """The message's number in its order. The order's row is locked by the caller: numbers have no
    gaps, and whoever sees one sees all before it. The doctor's first word is promised to the
    workflow, which hears of nothing else here."""
    last = await connection.scalar(select(func.max(M.seq)).where(M.order_no == talk.order_no))
    seq = (last or 0) + 1
    await connection.execute(
        insert(M).values(
            hospital_id=talk.hospital_id,
            order_no=talk.order_no,
            seq=seq,
            side=new.side,
            account_id=new.account_id,
            type=new.type,
            data_key_id=talk.key_id,
            sealed=keyring.unwrap(talk.wrapped).seal({"content": new.content}),
            file_id=new.file_id,
        )
    )
    if new.side is Side.DOCTOR and not talk.answered:
        first = await connection.execute(ANSWERED, {"id": talk.id})
        if first.rowcount:
            await promise(
                connection,
                stream=talk.order_no,
                workflow="consultation",
                subject=talk.order_no,
                signal="answered",
            )
    return seq


async def messages_after(
    connection: AsyncConnection, keyring: Keyring, order_no: str, after: int, size: int
) -> list[Message]:
    """Oldest first."""
    rows = await connection.execute(
        _messages().where(M.order_no == order_no, M.seq > after).order_by(M.seq).limit(size)
    )
    return opened(keyring, rows.all())


async def find_message(
    connection: AsyncConnection, keyring: Keyring, order_no: str, seq: int
) -> Message | None:
    found = await messages_after(connection, keyring, order_no, seq - 1, 1)
    return found[0] if found and found[0].seq == seq else None


def _messages() -> Any:
    return select(
        M.id, M.order_no, M.seq, M.side, M.account_id, M.type, M.sealed, M.file_id, M.created_at,
        DataKeyRow.wrapped,
    ).join(DataKeyRow, DataKeyRow.id == M.data_key_id)  # fmt: skip


def opened(keyring: Keyring, rows: Sequence[Any]) -> list[Message]:
    return [
        Message(
            id=row.id,
            order_no=row.order_no,
            seq=row.seq,
            side=Side(row.side),
            account_id=row.account_id,
            type=MessageType(row.type),
            content=_content(keyring, row),
            file_id=row.file_id,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _content(keyring: Keyring, row: Any) -> str | None:
    try:
        content: str = keyring.unwrap(row.wrapped).open(row.sealed)["content"]
    except Shredded:
        return None
    return content
