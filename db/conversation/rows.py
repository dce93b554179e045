"""The rows of conversations."""

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered


class ConsultationMessageRow(Numbered, Base):
    """One message. Append-only. `seq` counts from 1 without gaps in each order."""

    __tablename__ = "consultation_message"
    __table_args__ = (UniqueConstraint("order_no", "seq"),)

    hospital_id: Mapped[int]
    order_no: Mapped[str]
    seq: Mapped[int]
    side: Mapped[str]  # patient | doctor
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    type: Mapped[str]  # text | image
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))  # the patient's
    sealed: Mapped[bytes]  # {content}
    file_id: Mapped[int | None] = mapped_column(ForeignKey("file.id"))
    # Not the transaction's begin: who waited for the order's row comes later.
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class ConsultationReadingRow(Base):
    """How far one side has read."""

    __tablename__ = "consultation_reading"

    order_no: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    read_up_to: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=text("now()"))
