"""What happened, to whom, by whom: timelines, audit, who read what, and answers already given."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered


class TimelineRow(Numbered, Base):
    """One move of one order. Appended by (order, version), whatever came after."""

    __tablename__ = "timeline"
    __table_args__ = (UniqueConstraint("order_no", "version"),)

    hospital_id: Mapped[int]
    order_no: Mapped[str]
    version: Mapped[int]
    at: Mapped[datetime]
    event: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    actor_role: Mapped[str]
    actor_id: Mapped[int | None]
    reason: Mapped[str] = mapped_column(server_default="")


class AuditRow(Numbered, Base):
    """Something an operator did or someone tried: codes and numbers, and the operator's words."""

    __tablename__ = "audit"

    hospital_id: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    event: Mapped[str]
    subject: Mapped[str]
    actor_role: Mapped[str]
    actor_id: Mapped[int | None]
    details: Mapped[Fields]


class AccessRow(Numbered, Base):
    """Somebody other than the owner read a patient's data."""

    __tablename__ = "access_log"
    __table_args__ = (Index("ix_access_log_patient", "patient_id", "id"),)

    hospital_id: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor_role: Mapped[str]
    actor_id: Mapped[int]
    patient_id: Mapped[int]
    object: Mapped[str]  # appointment/<orderNo>
    action: Mapped[str]


class IdempotencyRow(Base):
    """An answer already given: to whom, for which key and body, and what to show again."""

    __tablename__ = "idempotency"

    account_id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes]  # method, path and body
    reference: Mapped[str | None]  # number of what was made; None while it is being made
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
