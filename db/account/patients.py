"""The persons (就诊人) that an account holds, each sealed under a data key of their own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.data_keys import drop_unused_key, new_sealing_key
from db.account.rows import DataKeyRow, PatientRow
from db.keyring import DataKey, Keyring
from domain.account import Gender, NewPatient, Relation, searchable


@dataclass(frozen=True)
class PatientDetails:
    name: str
    gender: Gender
    id_card: str
    phone: str  # E.164
    birth_date: date


@dataclass(frozen=True)
class Patient:
    id: int
    account_id: int
    relation: Relation
    created_at: datetime
    details: PatientDetails


@dataclass(frozen=True)
class HeldPatient:
    id: int
    created: bool  # False: the account held this person before
    same_name: bool = True  # as the account gave when it first named this ID number


async def add_patient(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    account_id: int,
    new: NewPatient,
) -> int | None:
    """The new person's id, or None when the account holds this ID number already."""
    key = await new_sealing_key(connection, keyring)
    made = await connection.execute(
        insert(PatientRow)
        .values(
            hospital_id=hospital_id,
            account_id=account_id,
            data_key_id=key.id,
            person_index=keyring.blind("id-card", new.id_card),
            name_index=keyring.blind("name", searchable(new.name)),
            phone_index=keyring.blind("phone", new.phone),
            sealed=_seal(key.key, _details(new)),
            relation=new.relation,
        )
        .on_conflict_do_nothing(index_elements=["account_id", "person_index"])
        .returning(PatientRow.id)
    )
    patient_id = made.scalar()
    if patient_id is None:
        await drop_unused_key(connection, key)
    return patient_id


async def hold_patient(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    account_id: int,
    new: NewPatient,
) -> HeldPatient:
    """The account's person with this ID number, added when it holds none.

    Of a person held before only the phone is taken over: it is the newer one. A different name
    is not; `same_name` is then false, and whether to go on is for the caller to say.
    """
    held = await _held(connection, keyring, account_id, new)
    if held is None:
        patient_id = await add_patient(connection, keyring, hospital_id, account_id, new)
        if patient_id is not None:
            return HeldPatient(patient_id, created=True)
        held = await _held(connection, keyring, account_id, new)
    if held is None:
        raise RuntimeError("the person that was in the way is gone")
    return held


async def patients_of(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, account_id: int
) -> list[Patient]:
    """In the sequence in which they were added; without those that were shredded."""
    return await _load(connection, keyring, hospital_id, PatientRow.account_id == account_id)


async def own_person(connection: AsyncConnection, account_id: int) -> int | None:
    """Who the account's holder is among its persons (本人), or the only person there is."""
    rows = (
        await connection.execute(
            select(PatientRow.id, PatientRow.relation)
            .where(PatientRow.account_id == account_id)
            .order_by(PatientRow.id)
        )
    ).all()
    own = [row.id for row in rows if row.relation == Relation.SELF]
    return next(iter(own), rows[0].id if len(rows) == 1 else None)


async def relation_of(
    connection: AsyncConnection, account_id: int, patient_id: int
) -> Relation | None:
    """What this person is to the account's holder; None when it holds no such person, or one who
    was shredded."""
    found = await connection.execute(
        select(PatientRow.relation)
        .join(DataKeyRow, DataKeyRow.id == PatientRow.data_key_id)
        .where(
            PatientRow.id == patient_id,
            PatientRow.account_id == account_id,
            DataKeyRow.wrapped.is_not(None),
        )
    )
    relation = found.scalar()
    return Relation(relation) if relation is not None else None


async def patients_by_id(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, ids: Iterable[int]
) -> dict[int, Patient]:
    """Those of the hospital among `ids`; without those that were shredded."""
    found = await _load(connection, keyring, hospital_id, PatientRow.id.in_(set(ids)))
    return {patient.id: patient for patient in found}


def open_patient(keyring: Keyring, wrapped: bytes | None, sealed: bytes) -> PatientDetails:
    """`data_key.wrapped` and `patient.sealed` opened. Raises Shredded, UnknownKey."""
    opened = keyring.unwrap(wrapped).open(sealed)
    return PatientDetails(
        name=opened["name"],
        gender=Gender(opened["gender"]),
        id_card=opened["idCard"],
        phone=opened["phone"],
        birth_date=date.fromisoformat(opened["birthDate"]),
    )


def _details(new: NewPatient) -> PatientDetails:
    return PatientDetails(new.name, new.gender, new.id_card, new.phone, new.birth_date)


def _seal(key: DataKey, details: PatientDetails) -> bytes:
    return key.seal(
        {
            "name": details.name,
            "gender": details.gender,
            "idCard": details.id_card,
            "phone": details.phone,
            "birthDate": details.birth_date.isoformat(),
        }
    )


async def _held(
    connection: AsyncConnection, keyring: Keyring, account_id: int, new: NewPatient
) -> HeldPatient | None:
    p = PatientRow
    found = await connection.execute(
        select(p.id, p.name_index, p.phone_index).where(
            p.account_id == account_id, p.person_index == keyring.blind("id-card", new.id_card)
        )
    )
    row = found.first()
    if row is None:
        return None
    if row.phone_index != keyring.blind("phone", new.phone):
        await _take_over_phone(connection, keyring, row.id, new.phone)
    same_name = row.name_index == keyring.blind("name", searchable(new.name))
    return HeldPatient(row.id, created=False, same_name=same_name)


async def _take_over_phone(
    connection: AsyncConnection, keyring: Keyring, patient_id: int, phone: str
) -> None:
    found = await connection.execute(
        select(PatientRow.sealed, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == PatientRow.data_key_id)
        .where(PatientRow.id == patient_id)
        # Not against `key share`: a booking that holds the person's lock, for which this one will
        # wait, takes that to refer to the row.
        .with_for_update(of=PatientRow, key_share=True)
    )
    row = found.one()
    key = keyring.unwrap(row.wrapped)
    await connection.execute(
        update(PatientRow)
        .where(PatientRow.id == patient_id)
        .values(
            phone_index=keyring.blind("phone", phone),
            sealed=key.seal({**key.open(row.sealed), "phone": phone}),
        )
    )


async def _load(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, which: ColumnElement[bool]
) -> list[Patient]:
    p = PatientRow
    rows = await connection.execute(
        select(p.id, p.account_id, p.relation, p.created_at, p.sealed, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == p.data_key_id)
        .where(p.hospital_id == hospital_id, DataKeyRow.wrapped.is_not(None), which)
        .order_by(p.id)
    )
    return [
        Patient(
            id=row.id,
            account_id=row.account_id,
            relation=Relation(row.relation),
            created_at=row.created_at,
            details=open_patient(keyring, row.wrapped, row.sealed),
        )
        for row in rows
    ]
