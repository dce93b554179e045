"""Allergies of persons, sealed under the person's key. One that was recorded stays recorded; what
turns out wrong is withdrawn."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ForeignKey, Index, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.account import DataKeyRow, PatientRow
from db.base import Base, Numbered
from db.keyring import Keyring
from domain.allergy import MOST_ALLERGIES, AllergySeverity, AllergyStatus, NewAllergy


class AllergyRow(Numbered, Base):
    __tablename__ = "allergy"
    __table_args__ = (Index("ix_allergy_patient", "patient_id", "id"),)

    hospital_id: Mapped[int]
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    sealed: Mapped[bytes]  # {substance, reaction, severity}, under the person's key
    status: Mapped[str] = mapped_column(server_default=AllergyStatus.ACTIVE)
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    recorded_by: Mapped[int]  # an account
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[int | None]


@dataclass(frozen=True)
class Allergy:
    id: int
    substance: str
    reaction: str | None
    severity: AllergySeverity | None
    status: AllergyStatus
    recorded_at: datetime
    recorded_by: int
    withdrawn_at: datetime | None


async def allergies_of(
    connection: AsyncConnection,
    keyring: Keyring,
    patient_id: int,
    *,
    status: AllergyStatus | None = AllergyStatus.ACTIVE,
) -> list[Allergy]:
    """Of one person, the oldest first; `status` None: withdrawn ones too. None of who was shredded.

    Who may read them is for the caller to say, and a reading by another than the owner leaves its
    row in the access log.
    """
    a = AllergyRow
    wanted = (
        select(
            a.id, a.sealed, a.status, a.recorded_at, a.recorded_by, a.withdrawn_at,
            DataKeyRow.wrapped,
        )
        .join(PatientRow, PatientRow.id == a.patient_id)
        .join(DataKeyRow, DataKeyRow.id == PatientRow.data_key_id)
        .where(a.patient_id == patient_id, DataKeyRow.wrapped.is_not(None))
        .order_by(a.id)
    )  # fmt: skip
    if status is not None:
        wanted = wanted.where(a.status == status)
    found = []
    for row in await connection.execute(wanted):
        opened = keyring.unwrap(row.wrapped).open(row.sealed)
        severity = opened["severity"]
        found.append(
            Allergy(
                id=row.id,
                substance=opened["substance"],
                reaction=opened["reaction"],
                severity=AllergySeverity(severity) if severity else None,
                status=AllergyStatus(row.status),
                recorded_at=row.recorded_at,
                recorded_by=row.recorded_by,
                withdrawn_at=row.withdrawn_at,
            )
        )
    return found


class TooManyAllergies(Exception):
    """The person has as many as can be kept."""


async def record_allergy(
    connection: AsyncConnection,
    keyring: Keyring,
    patient_id: int,
    new: NewAllergy,
    *,
    recorded_by: int,
) -> int | None:
    """The allergy's id; None when there is no such person. Raises TooManyAllergies."""
    found = await connection.execute(
        select(PatientRow.hospital_id, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == PatientRow.data_key_id)
        .where(PatientRow.id == patient_id, DataKeyRow.wrapped.is_not(None))
        .with_for_update(of=PatientRow, key_share=True)  # so that they are counted one by one
    )
    patient = found.one_or_none()
    if patient is None:
        return None
    a = AllergyRow
    counted = await connection.execute(
        select(func.count())
        .select_from(a)
        .where(a.patient_id == patient_id, a.status == AllergyStatus.ACTIVE)
    )
    if counted.scalar_one() >= MOST_ALLERGIES:
        raise TooManyAllergies
    recorded = await connection.execute(
        insert(a)
        .values(
            hospital_id=patient.hospital_id,
            patient_id=patient_id,
            sealed=keyring.unwrap(patient.wrapped).seal(vars(new)),
            recorded_by=recorded_by,
        )
        .returning(a.id)
    )
    return int(recorded.scalar_one())


async def withdraw_allergy(
    connection: AsyncConnection, patient_id: int, allergy_id: int, *, withdrawn_by: int
) -> bool:
    """Whether the person has it; withdrawn again it stays as it was first withdrawn."""
    a = AllergyRow
    its = (a.id == allergy_id) & (a.patient_id == patient_id)
    await connection.execute(
        update(a)
        .where(its, a.status == AllergyStatus.ACTIVE)
        .values(status=AllergyStatus.WITHDRAWN, withdrawn_at=func.now(), withdrawn_by=withdrawn_by)
    )
    return (await connection.execute(select(a.id).where(its))).first() is not None
