"""Credentials, consents, reply templates and allergies in PostgreSQL: sealed, kept, once."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

import db.reply_template
from db.account import create_account, hold_patient
from db.allergy import TooManyAllergies, allergies_of, record_allergy, withdraw_allergy
from db.catalogue import load_config
from db.consent import give_consent, has_consented, lacking_consents
from db.credential import (
    KeptCredential,
    NoSuchDoctor,
    credential_of,
    keep_credential,
    read_credential,
)
from db.keyring import Keyring
from db.reply_template import add_template, templates_of
from domain.account import Gender, NewPatient
from domain.allergy import AllergySeverity, AllergyStatus, NewAllergy
from domain.consent import ConsentKind, ConsentText, needed_consents
from domain.credential import Credential
from runtime.consents import load_consents
from tests.support.api import id_card
from tests.support.catalogue import a_config, a_doctor

pytestmark = pytest.mark.anyio

CARE = ConsentKind.ONLINE_CARE
TODAY = date(2026, 11, 23)
KEPT = KeptCredential("110990000000001", date(2030, 1, 1), date(2010, 7, 1), "示例医院")
PENICILLIN = NewAllergy("青霉素", "皮疹", AllergySeverity.MODERATE)
LIN = NewPatient("林小满", Gender.FEMALE, id_card(date(1990, 3, 7), sequence=4), "+8613900139000")


@pytest.fixture
async def doctor(engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        await load_config(connection, a_config())
        return await a_doctor(connection)


@pytest.fixture
async def account(engine: AsyncEngine, keyring: Keyring) -> int:
    async with engine.begin() as connection:
        return await create_account(
            connection, keyring, 1, phone="+8613800138000", name="林", password_hash="-"
        )


@pytest.fixture
async def patient(engine: AsyncEngine, keyring: Keyring, account: int) -> int:
    async with engine.begin() as connection:
        return (await hold_patient(connection, keyring, 1, account, LIN)).id


async def did(engine: AsyncEngine, what: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """In a transaction of its own."""
    async with engine.begin() as connection:
        return await what(connection, *args, **named)


async def rows(engine: AsyncEngine, statement: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(statement))).all())


async def shred(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("update data_key set wrapped = null"))


# Credentials


async def test_a_credential_is_kept_sealed_and_read_again(
    engine: AsyncEngine, keyring: Keyring, doctor: int
) -> None:
    assert await did(engine, credential_of, doctor) is None
    assert await did(engine, read_credential, keyring, 1, doctor) is None
    assert await did(engine, keep_credential, keyring, 1, doctor, KEPT) is None
    assert await did(engine, read_credential, keyring, 1, doctor) == KEPT
    expected = Credential(True, KEPT.licence_valid_until, KEPT.practising_since, None)
    assert await did(engine, credential_of, doctor) == expected
    assert KEPT.licence_no not in str(await rows(engine, "select * from doctor_credential"))


async def test_another_credential_replaces_it_under_the_same_key(
    engine: AsyncEngine, keyring: Keyring, doctor: int
) -> None:
    await did(engine, keep_credential, keyring, 1, doctor, KEPT)
    keys = await rows(engine, "select count(*) from data_key")
    nothing = KeptCredential()
    assert await did(engine, keep_credential, keyring, 1, doctor, nothing) == KEPT
    assert await did(engine, keep_credential, keyring, 1, doctor, nothing) == nothing
    assert await did(engine, credential_of, doctor) == Credential(False)
    assert await rows(engine, "select count(*) from data_key") == keys


async def test_two_who_record_at_once_come_one_after_another(
    engine: AsyncEngine, keyring: Keyring, doctor: int
) -> None:
    before = await asyncio.gather(
        *(did(engine, keep_credential, keyring, 1, doctor, KEPT) for _ in range(5))
    )
    assert sorted(map(str, before)) == sorted(["None", *[str(KEPT)] * 4])
    assert (await rows(engine, "select count(*) from data_key"))[0][0] == 1


async def test_an_unknown_doctor_has_no_credentials(
    engine: AsyncEngine, keyring: Keyring, doctor: int
) -> None:
    for hospital_id, doctor_id in ((1, doctor + 1), (2, doctor)):
        with pytest.raises(NoSuchDoctor):
            await did(engine, keep_credential, keyring, hospital_id, doctor_id, KEPT)
    await did(engine, keep_credential, keyring, 1, doctor, KEPT)
    assert await did(engine, read_credential, keyring, 2, doctor) is None


async def test_a_shredded_licence_number_is_gone_and_can_be_recorded_anew(
    engine: AsyncEngine, keyring: Keyring, doctor: int
) -> None:
    await did(engine, keep_credential, keyring, 1, doctor, KEPT)
    await shred(engine)
    found = await did(engine, read_credential, keyring, 1, doctor)
    assert (found.licence_no, found.institution) == (None, "示例医院")
    await did(engine, keep_credential, keyring, 1, doctor, KEPT)
    assert await did(engine, read_credential, keyring, 1, doctor) == KEPT


# Consents


def a_text(kind: ConsentKind = CARE) -> ConsentText:
    text = load_consents().current(kind, TODAY)
    assert text is not None
    return text


async def test_a_text_is_accepted_once_however_often(
    engine: AsyncEngine, account: int, patient: int
) -> None:
    given = await asyncio.gather(
        *(did(engine, give_consent, 1, account, patient, a_text()) for _ in range(5))
    )
    assert len(set(given)) == 1
    [(digest,)] = await rows(engine, "select text_hash from consent")
    assert bytes(digest) == a_text().digest


async def test_consent_is_of_one_account_person_kind_and_version(
    engine: AsyncEngine, account: int, patient: int
) -> None:
    version = a_text().version
    assert not await did(engine, has_consented, account, patient, CARE, version)
    await did(engine, give_consent, 1, account, patient, a_text())
    assert await did(engine, has_consented, account, patient, CARE, version)
    for other in (
        (account + 1, patient, CARE, version),
        (account, patient + 1, CARE, version),
        (account, patient, ConsentKind.GUARDIAN, version),
        (account, patient, CARE, "2020-01"),
    ):
        assert not await did(engine, has_consented, *other)


async def test_what_is_lacking_is_told(engine: AsyncEngine, account: int, patient: int) -> None:
    async def lacking(age: int, today: date = TODAY) -> list[ConsentKind]:
        kinds = needed_consents(age)
        found = await did(engine, lacking_consents, load_consents(), account, patient, kinds, today)
        return [text.kind for text in found]

    assert await lacking(30) == [CARE]
    assert await lacking(7) == [CARE, ConsentKind.GUARDIAN]
    await did(engine, give_consent, 1, account, patient, a_text())
    assert await lacking(30) == []
    assert await lacking(7) == [ConsentKind.GUARDIAN]
    assert await lacking(7, date(2020, 1, 1)) == []  # no text was valid


@pytest.mark.parametrize(
    "change", ["update consent set version = '0'", "delete from consent", "delete from allergy"]
)
async def test_what_was_accepted_or_recorded_is_never_removed(
    engine: AsyncEngine, change: str
) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        await did(engine, lambda connection: connection.execute(text(change)))


# Reply templates


async def test_templates_are_sealed_and_limited_also_at_once(
    engine: AsyncEngine,
    keyring: Keyring,
    doctor: int,
    account: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(db.reply_template, "MOST", 3)
    added = await asyncio.gather(
        *(did(engine, add_template, keyring, account, doctor, "问候", "您好") for _ in range(8))
    )
    assert sum(one is not None for one in added) == 3
    found = await did(engine, templates_of, keyring, doctor)
    assert [(one.title, one.text) for one in found] == [("问候", "您好")] * 3
    assert "您好" not in str(await rows(engine, "select sealed from reply_template"))
    await shred(engine)
    assert await did(engine, templates_of, keyring, doctor) == []


# Allergies


async def test_an_allergy_is_sealed_under_the_persons_key(
    engine: AsyncEngine, keyring: Keyring, account: int, patient: int
) -> None:
    new = await did(engine, record_allergy, keyring, patient, PENICILLIN, recorded_by=account)
    (found,) = await did(engine, allergies_of, keyring, patient)
    assert (found.id, found.recorded_by, found.status) == (new, account, AllergyStatus.ACTIVE)
    assert NewAllergy(found.substance, found.reaction, found.severity) == PENICILLIN
    assert isinstance(found.severity, AllergySeverity)
    (row,) = await rows(engine, "select sealed from allergy")
    assert b"moderate" not in row[0]
    assert "青霉素".encode() not in row[0]
    await shred(engine)
    assert await did(engine, allergies_of, keyring, patient) == []
    assert (
        await did(engine, record_allergy, keyring, patient, PENICILLIN, recorded_by=account)
    ) is None


async def test_what_was_withdrawn_stays_in_the_history(
    engine: AsyncEngine, keyring: Keyring, account: int, patient: int
) -> None:
    bare = NewAllergy("花生")
    new = await did(engine, record_allergy, keyring, patient, bare, recorded_by=account)
    assert await did(engine, withdraw_allergy, patient, new, withdrawn_by=account)
    assert await did(engine, allergies_of, keyring, patient) == []
    (kept,) = await did(engine, allergies_of, keyring, patient, status=None)
    assert (kept.substance, kept.status) == ("花生", AllergyStatus.WITHDRAWN)
    assert await did(engine, withdraw_allergy, patient, new, withdrawn_by=account + 1)
    (again,) = await did(engine, allergies_of, keyring, patient, status=None)
    assert again.withdrawn_at == kept.withdrawn_at
    assert not await did(engine, withdraw_allergy, patient + 1, new, withdrawn_by=account)


async def test_a_person_has_only_so_many_allergies(
    engine: AsyncEngine,
    keyring: Keyring,
    account: int,
    patient: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("db.allergy.MOST_ALLERGIES", 1)
    new = await did(engine, record_allergy, keyring, patient, PENICILLIN, recorded_by=account)
    with pytest.raises(TooManyAllergies):
        await did(engine, record_allergy, keyring, patient, PENICILLIN, recorded_by=account)
    await did(engine, withdraw_allergy, patient, new, withdrawn_by=account)
    assert await did(engine, record_allergy, keyring, patient, PENICILLIN, recorded_by=account)
