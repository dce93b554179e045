"""The row of a work item: the worklist is a query over these."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ForeignKey, Index, Interval, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered

OPEN = "status in ('open', 'claimed')"


class WorkItemRow(Numbered, Base):
    """What people look at. The workflow decides; this row reports, a version at a time."""

    __tablename__ = "work_item"
    __table_args__ = (
        UniqueConstraint("hospital_id", "kind", "subject", "round"),
        Index("ix_work_item_open", "hospital_id", "role", "id", postgresql_where=text(OPEN)),
        Index("ix_work_item_order", "order_no"),
    )

    hospital_id: Mapped[int]
    number: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    subject: Mapped[str]
    round: Mapped[int]
    order_no: Mapped[str | None]
    role: Mapped[str]
    decisions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    lease: Mapped[timedelta] = mapped_column(Interval)
    excluded: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    escalates_at: Mapped[datetime | None]
    escalates_to: Mapped[str | None]
    due_at: Mapped[datetime | None]
    at_deadline: Mapped[str]
    details: Mapped[Fields]  # codes and amounts
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="0")
    claimed_by: Mapped[int | None]
    lease_until: Mapped[datetime | None]
    escalated: Mapped[bool] = mapped_column(server_default="false")
    decision: Mapped[str] = mapped_column(server_default="")
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    closed_at: Mapped[datetime | None]
    # Words about it are sealed under this key: the patient's whom it concerns, if it does one.
    data_key_id: Mapped[int | None] = mapped_column(ForeignKey("data_key.id"))
    note: Mapped[bytes | None]  # what was written when it was opened
