"""The people of the demonstration: `config/demo.yaml` as values, and who of them is there."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account import AccountRow
from db.catalogue import DoctorRow
from db.keyring import Keyring
from domain.access import Role
from domain.account import Gender, Relation
from domain.hospital import DoctorLevel
from runtime.config import load_values
from runtime.settings import beside


@dataclass(frozen=True)
class DemoSession:
    name: str
    slots: tuple[str, ...]  # 09:00-10:00


@dataclass(frozen=True)
class DemoPerson:
    name: str
    gender: Gender
    id_card: str
    relation: Relation


@dataclass(frozen=True)
class DemoPatient:
    phone: str  # as people write it; `e164` is how it is kept
    name: str
    persons: tuple[DemoPerson, ...]


@dataclass(frozen=True)
class DemoStaff:
    phone: str
    name: str
    role: Role


@dataclass(frozen=True)
class DemoCredential:
    licence_no: str
    licence_valid_until: date
    practising_since: date
    institution: str
    institution_consent_until: date


@dataclass(frozen=True)
class DemoDoctor:
    phone: str
    name: str
    level: DoctorLevel
    department: int
    speciality: str
    introduction: str
    rating: Decimal
    location: str
    sources: int  # per slot
    sessions: tuple[str, ...]  # names of DemoSession; none: an empty calendar
    credential: DemoCredential


@dataclass(frozen=True)
class Demo:
    password: str
    sessions: tuple[DemoSession, ...]
    patients: tuple[DemoPatient, ...]
    staff: tuple[DemoStaff, ...]
    doctors: tuple[DemoDoctor, ...]

    @property
    def phones(self) -> list[str]:
        people = (self.patients, self.doctors, self.staff)
        return [person.phone for group in people for person in group]

    def slots_of(self, doctor: DemoDoctor) -> list[str]:
        return [
            slot
            for session in self.sessions
            if session.name in doctor.sessions
            for slot in session.slots
        ]


@dataclass(frozen=True)
class DemoAccount:
    """A login to try things with."""

    role: Role
    name: str
    phone: str
    password: str
    user_id: int
    doctor_id: int | None = None


def e164(phone: str) -> str:
    return f"+86{phone}"


def load_demo(config_path: Path) -> Demo:
    """`demo.yaml` beside the hospital's configuration, else ours. Raises ConfigError."""
    return load_values(Demo, beside(config_path, "demo.yaml"))


async def demo_accounts(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, demo: Demo
) -> list[DemoAccount]:
    """Those that are there, patients first. A password that was changed is not known here."""
    people: list[tuple[Role, str, str]] = [
        *((Role.PATIENT, patient.name, patient.phone) for patient in demo.patients),
        *((Role.DOCTOR, doctor.name, doctor.phone) for doctor in demo.doctors),
        *((staff.role, staff.name, staff.phone) for staff in demo.staff),
    ]
    indexes = {phone: keyring.blind("phone", e164(phone)) for _, _, phone in people}
    rows = await connection.execute(
        select(AccountRow.phone_index, AccountRow.id, DoctorRow.id)
        .outerjoin(DoctorRow, DoctorRow.account_id == AccountRow.id)
        .where(
            AccountRow.hospital_id == hospital_id,
            AccountRow.phone_index.in_(indexes.values()),
            AccountRow.active,
        )
    )
    there = {bytes(index): (account_id, doctor_id) for index, account_id, doctor_id in rows}
    return [
        DemoAccount(role, name, phone, demo.password, *there[indexes[phone]])
        for role, name, phone in people
        if indexes[phone] in there
    ]
