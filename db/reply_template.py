"""What a doctor writes often (常用回复). Sealed under the doctor's own account: an answer that was
copied may name a patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ForeignKey, Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.account import DataKeyRow, sealing_key_of_account
from db.base import Base, Numbered
from db.catalogue import DoctorRow
from db.keyring import Keyring

MOST = 100


class ReplyTemplateRow(Numbered, Base):
    __tablename__ = "reply_template"

    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctor.id"), index=True)
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    sealed: Mapped[bytes]  # {title, text}
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True)
class ReplyTemplate:
    id: int
    title: str
    text: str
    updated_at: datetime


async def templates_of(
    connection: AsyncConnection, keyring: Keyring, doctor_id: int
) -> list[ReplyTemplate]:
    """In the sequence in which they were made."""
    return [_open(keyring, row) for row in await _rows(connection, doctor_id, None)]


async def find_template(
    connection: AsyncConnection, keyring: Keyring, doctor_id: int, id: int
) -> ReplyTemplate | None:
    """None also when it is another doctor's."""
    rows = await _rows(connection, doctor_id, id)
    return _open(keyring, rows[0]) if rows else None


async def add_template(
    connection: AsyncConnection,
    keyring: Keyring,
    account_id: int,
    doctor_id: int,
    title: str,
    text: str,
) -> int | None:
    """The new one's id, or None when the doctor has as many as allowed."""
    await connection.execute(
        select(DoctorRow.id).where(DoctorRow.id == doctor_id).with_for_update(key_share=True)
    )
    t = ReplyTemplateRow
    counted = await connection.execute(
        select(func.count()).select_from(t).where(t.doctor_id == doctor_id)
    )
    if counted.scalar_one() >= MOST:
        return None
    key = await sealing_key_of_account(connection, keyring, account_id)
    made = await connection.execute(
        insert(t)
        .values(
            doctor_id=doctor_id,
            data_key_id=key.id,
            sealed=key.key.seal({"title": title, "text": text}),
        )
        .returning(t.id)
    )
    return int(made.scalar_one())


async def change_template(
    connection: AsyncConnection,
    keyring: Keyring,
    account_id: int,
    doctor_id: int,
    id: int,
    title: str,
    text: str,
) -> bool:
    """Whether the doctor has it."""
    key = await sealing_key_of_account(connection, keyring, account_id)
    t = ReplyTemplateRow
    changed = await connection.execute(
        update(t)
        .where(t.id == id, t.doctor_id == doctor_id)
        .values(
            data_key_id=key.id,
            sealed=key.key.seal({"title": title, "text": text}),
            updated_at=func.now(),
        )
        .returning(t.id)
    )
    return changed.first() is not None


async def drop_template(connection: AsyncConnection, doctor_id: int, id: int) -> bool:
    """Whether the doctor had it."""
    t = ReplyTemplateRow
    gone = await connection.execute(
        delete(t).where(t.id == id, t.doctor_id == doctor_id).returning(t.id)
    )
    return gone.first() is not None


Found = Row[int, bytes, datetime, bytes | None]


async def _rows(connection: AsyncConnection, doctor_id: int, id: int | None) -> Sequence[Found]:
    t = ReplyTemplateRow
    wanted = (
        select(t.id, t.sealed, t.updated_at, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == t.data_key_id)
        .where(t.doctor_id == doctor_id, DataKeyRow.wrapped.is_not(None))
        .order_by(t.id)
    )
    if id is not None:
        wanted = wanted.where(t.id == id)
    return (await connection.execute(wanted)).all()


def _open(keyring: Keyring, row: Found) -> ReplyTemplate:
    opened = keyring.unwrap(row.wrapped).open(row.sealed)
    return ReplyTemplate(row.id, opened["title"], opened["text"], row.updated_at)
