"""What entitles a doctor to practise (执业资质).

The licence number is sealed under a key of its own: a doctor need not have an account.
"""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.account import DataKeyRow, SealingKey, new_sealing_key
from db.base import Base
from db.catalogue import DoctorRow
from db.keyring import Keyring
from domain.credential import Credential


class DoctorCredentialRow(Base):
    __tablename__ = "doctor_credential"

    doctor_id: Mapped[int] = mapped_column(
        ForeignKey("doctor.id"), primary_key=True, autoincrement=False
    )
    hospital_id: Mapped[int]
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    sealed: Mapped[bytes | None]  # {licenceNo}; None: no licence is recorded
    licence_valid_until: Mapped[date | None]
    practising_since: Mapped[date | None]
    institution: Mapped[str]  # where the doctor is registered (主要执业机构)
    institution_consent_until: Mapped[date | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True)
class KeptCredential:
    """A doctor's credentials as an operator keeps them."""

    licence_no: str | None = None
    licence_valid_until: date | None = None
    practising_since: date | None = None
    institution: str = ""
    institution_consent_until: date | None = None


async def credential_of(connection: AsyncConnection, doctor_id: int) -> Credential | None:
    """For `domain.credential.refusal`; None when nothing is recorded. Opens nothing."""
    c = DoctorCredentialRow
    rows = await connection.execute(
        select(
            c.sealed.is_not(None),
            c.licence_valid_until,
            c.practising_since,
            c.institution_consent_until,
        ).where(c.doctor_id == doctor_id)
    )
    row = rows.one_or_none()
    return Credential(*row) if row else None


async def read_credential(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, doctor_id: int
) -> KeptCredential | None:
    """None when nothing is recorded, or the hospital has no such doctor."""
    c = DoctorCredentialRow
    rows = await connection.execute(
        select(
            c.sealed, c.licence_valid_until, c.practising_since, c.institution,
            c.institution_consent_until, DataKeyRow.wrapped,
        )
        .join(DataKeyRow, DataKeyRow.id == c.data_key_id)
        .where(c.doctor_id == doctor_id, c.hospital_id == hospital_id)
    )  # fmt: skip
    row = rows.one_or_none()
    if row is None:
        return None
    readable = row.sealed is not None and row.wrapped is not None
    return KeptCredential(
        licence_no=keyring.unwrap(row.wrapped).open(row.sealed)["licenceNo"] if readable else None,
        licence_valid_until=row.licence_valid_until,
        practising_since=row.practising_since,
        institution=row.institution,
        institution_consent_until=row.institution_consent_until,
    )


class NoSuchDoctor(Exception):
    """The hospital has none with this id."""


async def keep_credential(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    doctor_id: int,
    new: KeptCredential,
) -> KeptCredential | None:
    """Replaces what was recorded; the earlier one, which equals `new` when nothing changed.
    Raises NoSuchDoctor."""
    doctor = await connection.execute(
        select(DoctorRow.id)
        .where(DoctorRow.id == doctor_id, DoctorRow.hospital_id == hospital_id)
        .with_for_update(key_share=True)  # two who write at once come one after another
    )
    if doctor.first() is None:
        raise NoSuchDoctor
    before = await read_credential(connection, keyring, hospital_id, doctor_id)
    if before != new:
        await _write(connection, keyring, hospital_id, doctor_id, new)
    return before


async def _write(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    doctor_id: int,
    new: KeptCredential,
) -> None:
    key = await _key_of(connection, keyring, doctor_id)
    number = None if new.licence_no is None else key.key.seal({"licenceNo": new.licence_no})
    values = {
        "data_key_id": key.id,
        "sealed": number,
        "licence_valid_until": new.licence_valid_until,
        "practising_since": new.practising_since,
        "institution": new.institution,
        "institution_consent_until": new.institution_consent_until,
    }
    await connection.execute(
        insert(DoctorCredentialRow)
        .values(doctor_id=doctor_id, hospital_id=hospital_id, **values)
        .on_conflict_do_update(
            index_elements=["doctor_id"], set_={**values, "updated_at": func.now()}
        )
    )


async def _key_of(connection: AsyncConnection, keyring: Keyring, doctor_id: int) -> SealingKey:
    found = await connection.execute(
        select(DataKeyRow.id, DataKeyRow.wrapped)
        .join(DoctorCredentialRow, DoctorCredentialRow.data_key_id == DataKeyRow.id)
        .where(DoctorCredentialRow.doctor_id == doctor_id, DataKeyRow.wrapped.is_not(None))
    )
    row = found.one_or_none()
    if row is None:
        return await new_sealing_key(connection, keyring)
    return SealingKey(row.id, keyring.unwrap(row.wrapped))
