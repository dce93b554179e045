"""Messages to people: what was sent, by which way, and the in-app feed."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, func
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
