"""Messages to Temporal, written in the transaction of the rows they belong to, and what the
world told us, kept before it is acted on."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered

CHANNEL = "outbox"  # LISTEN/NOTIFY: something is waiting here


class OutboxRow(Numbered, Base):
    """A promise to Temporal. Those of one stream (an order) are kept in sequence."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_stream", "stream", "id"),
        Index("ix_outbox_due", "due_at", "id"),
    )

    stream: Mapped[str]  # order number
    workflow: Mapped[str]  # appointment | payment | message | work_item
    subject: Mapped[str]  # order or payment number: the workflow is `<workflow>/<subject>`
    signal: Mapped[str | None]  # None: only start it
    args: Mapped[Fields | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())  # later after a failure
    attempts: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]  # a code


class InboxRow(Numbered, Base):
    """An event from a provider, by its event id: a repeat is a no-op."""

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("source", "event_id"),
        Index("ix_inbox_subject", "subject"),
    )

    source: Mapped[str]
    event_id: Mapped[str]
    subject: Mapped[str]  # payment number, provider's message id
    kind: Mapped[str]
    content: Mapped[Fields]  # ids, codes, amounts
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


async def promise(
    connection: AsyncConnection,
    *,
    stream: str,
    workflow: str,
    subject: str,
    signal: str | None = None,
    args: Fields | None = None,
) -> None:
    """Promise Temporal a start or a signal, together with what this transaction writes."""
    await connection.execute(
        insert(OutboxRow).values(
            stream=stream, workflow=workflow, subject=subject, signal=signal, args=args
        )
    )


async def receive(
    connection: AsyncConnection,
    *,
    source: str,
    event_id: str,
    subject: str,
    kind: str,
    content: Fields,
) -> bool:
    """Keep what the world told us. False when it told us before."""
    kept = await connection.execute(
        insert(InboxRow)
        .values(source=source, event_id=event_id, subject=subject, kind=kind, content=content)
        .on_conflict_do_nothing()
        .returning(InboxRow.id)
    )
    return kept.one_or_none() is not None
