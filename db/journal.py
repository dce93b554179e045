"""What happened, to whom, by whom: timelines, audit, who read what, and answers already given."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered
from domain.order import Move


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
    """Something an operator did or someone tried: codes and numbers. Words a person wrote are
    sealed, under the key of the patient whom they are about."""

    __tablename__ = "audit"

    hospital_id: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    event: Mapped[str]
    subject: Mapped[str]
    actor_role: Mapped[str]
    actor_id: Mapped[int | None]
    details: Mapped[Fields]
    data_key_id: Mapped[int | None] = mapped_column(ForeignKey("data_key.id"))
    note: Mapped[bytes | None]


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


APPEND = text(
    """insert into timeline (hospital_id, order_no, version, at, event, from_status, to_status,
                             actor_role, actor_id, reason)
    select hospital_id, :order_no, :version, :at, :event, :from_status, :to_status,
           :actor_role, :actor_id, :reason
      from (select hospital_id from appointment where order_no = :order_no
            union all select hospital_id from consultation where order_no = :order_no
            union all select hospital_id from payment where payment_no = :order_no
            union all select hospital_id from stop_clinic where stop_no = :order_no
            union all select hospital_id from work_item where number = :order_no) as owner
    on conflict (order_no, version) do nothing"""
)


async def append_timeline(connection: AsyncConnection, move: Move) -> None:
    """By (order, version), whether or not a newer version is already there."""
    await connection.execute(APPEND, vars(move))


async def read_timeline(connection: AsyncConnection, order_no: str) -> list[Move]:
    """Oldest first."""
    t = TimelineRow
    rows = await connection.execute(
        select(
            t.order_no, t.version, t.event, t.to_status, t.at, t.actor_role, t.actor_id,
            t.from_status, t.reason,
        )
        .where(t.order_no == order_no)
        .order_by(t.version)
    )  # fmt: skip
    return [Move(*row) for row in rows]


async def audit(
    connection: AsyncConnection,
    hospital_id: int,
    event: str,
    subject: str,
    *,
    actor_role: str,
    actor_id: int | None = None,
    details: Fields | None = None,
    note: tuple[int, bytes] | None = None,
) -> None:
    """Append an entry. `note` is what a person wrote: (data key id, sealed)."""
    await connection.execute(
        insert(AuditRow).values(
            hospital_id=hospital_id,
            event=event,
            subject=subject,
            actor_role=actor_role,
            actor_id=actor_id,
            details=details or {},
            data_key_id=note[0] if note else None,
            note=note[1] if note else None,
        )
    )


async def log_access(
    connection: AsyncConnection,
    hospital_id: int,
    *,
    actor_role: str,
    actor_id: int,
    patient_id: int,
    object: str,
    action: str,
) -> None:
    """Somebody other than the owner is about to read a patient's data."""
    await connection.execute(
        insert(AccessRow).values(
            hospital_id=hospital_id,
            actor_role=actor_role,
            actor_id=actor_id,
            patient_id=patient_id,
            object=object,
            action=action,
        )
    )
