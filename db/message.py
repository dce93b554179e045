"""Messages to people: what was sent, by which way, and the in-app feed."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ForeignKey, Index, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered


class MessageRow(Numbered, Base):
    """One message about one business fact on one channel, at most once by `key`."""

    __tablename__ = "message"
    __table_args__ = (
        Index("ix_message_account", "account_id", "channel", "id"),
        Index("ix_message_provider", "provider_id"),
        Index("ix_message_to", "to_index", "id"),
    )

    hospital_id: Mapped[int]
    key: Mapped[str] = mapped_column(unique=True)  # <orderNo>:<what>:<due>:<channel>
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    channel: Mapped[str]
    template: Mapped[str]
    language: Mapped[str]
    params: Mapped[Fields]  # codes and instants; no name, no number
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    sealed: Mapped[bytes]  # {to, subject, text}
    to_index: Mapped[bytes]
    status: Mapped[str]  # claimed | sent | delivered | failed
    attempts: Mapped[int] = mapped_column(server_default="0")
    provider_id: Mapped[str | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]


@dataclass(frozen=True)
class NewMessage:
    hospital_id: int
    key: str
    account_id: int | None
    channel: str
    template: str
    language: str
    params: Fields
    data_key_id: int
    sealed: bytes
    to_index: bytes


async def claim_message(connection: AsyncConnection, message: NewMessage) -> int | None:
    """Write the message down before it goes out: its id, or None when its key was claimed before.

    Whoever claims commits, then sends, then tells the outcome: a process that dies in between
    leaves a claim, and nobody sends the same fact a second time without asking the provider.
    """
    claimed = await connection.execute(
        insert(MessageRow)
        .values(status="claimed", attempts=1, **vars(message))
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(MessageRow.id)
    )
    return claimed.scalar()


async def message_sent(connection: AsyncConnection, id: int, provider_id: str) -> None:
    """The provider has it. A receipt that was faster is not undone."""
    await connection.execute(
        update(MessageRow)
        .where(MessageRow.id == id, MessageRow.status == "claimed")
        .values(status="sent", provider_id=provider_id, sent_at=func.now(), error_code=None)
    )


async def message_failed(connection: AsyncConnection, id: int, error_code: str) -> None:
    """It certainly did not go out. Only codes: no number and no text."""
    await connection.execute(
        update(MessageRow)
        .where(MessageRow.id == id, MessageRow.status == "claimed")
        .values(status="failed", error_code=error_code)
    )
