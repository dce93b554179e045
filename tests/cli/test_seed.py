"""The demonstration: whole, of nobody, and the same after any number of starts."""

import asyncio
import re
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.fields import to_e164, to_id_card
from api.passwords import Passwords
from cli import migrate as migrate_command
from cli import seed as seed_command
from cli.seed import seed
from db.account import find_account, patients_of
from db.credential import KeptCredential, credential_of, keep_credential, read_credential
from db.keyring import Keyring, create_keyring
from domain.access import Role
from domain.account import password_refusal, person_refusal
from domain.credential import refusal
from domain.hospital import Compliance, DoctorLevel, HospitalConfig
from domain.schedule import first_overlap, parse_time_slot
from runtime.config import load_config
from runtime.demo import Demo, demo_accounts, e164, load_demo
from runtime.settings import DEFAULT_CONFIG

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def config() -> HospitalConfig:
    return load_config(DEFAULT_CONFIG, {})


@pytest.fixture(scope="module")
def demo() -> Demo:
    return load_demo(DEFAULT_CONFIG)


async def counts(engine: AsyncEngine) -> dict[str, int]:
    tables = ("account", "patient", "doctor", "department", "schedule", "source")
    async with engine.connect() as connection:
        return {
            table: (await connection.execute(text(f"select count(*) from {table}"))).scalar_one()
            for table in tables
        }


async def run(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring, demo: Demo | None
) -> None:
    async with engine.begin() as connection:
        await seed(connection, config, keyring, demo)


def test_the_delivered_people_are_valid_and_nobodys(demo: Demo) -> None:
    phones = demo.phones
    assert len(set(phones)) == len(phones)
    assert [to_e164(phone) for phone in phones] == [e164(phone) for phone in phones]
    assert all(password_refusal(demo.password, e164(phone)) is None for phone in phones)
    persons = [person for patient in demo.patients for person in patient.persons]
    assert len({person.id_card for person in persons}) == len(persons)
    for person in persons:
        assert to_id_card(person.id_card) == person.id_card
        assert person_refusal(person.id_card, person.gender, date(2026, 11, 22)) is None
        assert person.id_card.startswith("110000")  # a region that issues none
    people = [*demo.doctors, *demo.staff, *persons, *demo.patients]
    assert all(person.name.startswith("示例") for person in people)


def test_the_delivered_staff_can_do_every_part(demo: Demo) -> None:
    levels = Counter(doctor.level for doctor in demo.doctors if doctor.sessions)
    assert all(levels[level] >= 2 for level in DoctorLevel)
    roles = Counter(staff.role for staff in demo.staff)
    assert roles == {
        Role.PHARMACIST: 2,
        Role.CHIEF_PHARMACIST: 1,
        Role.NURSE: 1,
        Role.OPERATOR: 2,
    }
    assert len(demo.patients) >= 4
    for doctor in demo.doctors:
        assert first_overlap(map(parse_time_slot, demo.slots_of(doctor))) is None
        assert {session.name for session in demo.sessions} >= set(doctor.sessions)
        assert 5 <= doctor.sources <= 20


async def test_every_demo_account_logs_in_and_is_what_it_says(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    await run(engine, config, keyring, demo)
    async with engine.connect() as connection:
        accounts = await demo_accounts(connection, keyring, 1, demo)
        assert [account.phone for account in accounts] == demo.phones
        passwords = Passwords()
        for account in accounts:
            found = await find_account(connection, keyring, 1, e164(account.phone))
            assert found is not None
            assert (found.id, found.roles) == (account.user_id, {account.role})
            assert found.doctor_id == account.doctor_id
            assert (account.doctor_id is not None) == (account.role is Role.DOCTOR)
        assert await passwords.matches(demo.password, found.password_hash)
        held = await patients_of(connection, keyring, 1, accounts[0].user_id)
        assert [patient.details.name for patient in held] == [
            person.name for person in demo.patients[0].persons
        ]


async def test_every_demo_doctor_may_practise_and_an_operators_record_is_left_alone(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    assert all(doctor.credential.licence_no.startswith("DEMO-") for doctor in demo.doctors)
    await run(engine, config, keyring, demo)
    async with engine.begin() as connection:
        accounts = await demo_accounts(connection, keyring, 1, demo)
        doctors = [account.doctor_id for account in accounts if account.doctor_id is not None]
        today = date(2026, 11, 23)
        for doctor in doctors:
            credential = await credential_of(connection, doctor)
            assert refusal(credential, today, Compliance.CN_2022) is None
        await keep_credential(connection, keyring, 1, doctors[0], KeptCredential())
    await run(engine, config, keyring, demo)
    async with engine.connect() as connection:
        assert await read_credential(connection, keyring, 1, doctors[0]) == KeptCredential()


async def test_a_second_start_changes_nothing_and_is_quick(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    await run(engine, config, keyring, demo)
    before = await counts(engine)
    begun = time.perf_counter()
    await run(engine, config, keyring, demo)
    assert time.perf_counter() - begun < 3
    assert await counts(engine) == before
    assert before["doctor"] == 12
    assert before["source"] > before["schedule"] > 500


async def test_two_starts_at_once_make_everything_once(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    await asyncio.gather(*(run(engine, config, keyring, demo) for _ in range(3)))
    found = await counts(engine)
    assert (found["account"], found["doctor"]) == (len(demo.phones), len(demo.doctors))


async def test_calendars_reach_the_horizon_and_an_operators_day_is_left_alone(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    await run(engine, config, keyring, demo)
    horizon = timedelta(days=config.policies.appointment.horizon_days)
    async with engine.begin() as connection:
        today = await connection.execute(text("select (now() at time zone 'Asia/Shanghai')::date"))
        last = today.scalar_one() + horizon
        days = await connection.execute(
            text("select doctor_id, max(date) as last, min(date) as first from schedule group by 1")
        )
        found = days.all()
        assert len(found) == sum(1 for doctor in demo.doctors if doctor.sessions)
        assert {row.last for row in found} == {last}
        one = found[0].doctor_id
        await connection.execute(
            text(
                "delete from source where schedule_id in "
                "(select id from schedule where doctor_id = :one and date >= :last)"
            ),
            {"one": one, "last": last - timedelta(days=1)},
        )
        await connection.execute(
            text("delete from schedule where doctor_id = :one and date = :last"),
            {"one": one, "last": last},
        )
        await connection.execute(
            text(
                "delete from schedule where doctor_id = :one and date = :day "
                "and time_slot <> (select min(time_slot) from schedule where doctor_id = :one)"
            ),
            {"one": one, "day": last - timedelta(days=1)},
        )

    async def slots(day: date) -> int:
        async with engine.connect() as connection:
            counted = await connection.execute(
                text("select count(*) from schedule where doctor_id = :one and date = :day"),
                {"one": one, "day": day},
            )
            return int(counted.scalar_one())

    assert (await slots(last), await slots(last - timedelta(days=1))) == (0, 1)
    await run(engine, config, keyring, demo)
    assert await slots(last) > 1
    assert await slots(last - timedelta(days=1)) == 1


async def test_without_a_demonstration_only_the_configuration_is_loaded(
    engine: AsyncEngine, config: HospitalConfig, keyring: Keyring
) -> None:
    await run(engine, config, keyring, None)
    found = await counts(engine)
    assert found.pop("department") == len(config.departments)
    assert set(found.values()) == {0}


async def test_a_hospital_with_other_departments_has_the_demonstration_too(
    engine: AsyncEngine, keyring: Keyring, demo: Demo
) -> None:
    from tests.support.catalogue import a_config

    await run(engine, a_config(), keyring, demo)
    assert (await counts(engine))["doctor"] == len(demo.doctors)


# The commands


@pytest.fixture
def environ(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    create_keyring(tmp_path / "keyring.json")
    values = {
        "HOSPITAL_ENV": "dev",
        "HOSPITAL_DATABASE_URL": database_url,
        "HOSPITAL_KEYRING": str(tmp_path / "keyring.json"),
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def test_the_commands_succeed_again_and_again_also_without_temporal(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    nothing: Any = None
    for _ in range(2):
        assert migrate_command.main(nothing) == 0
        assert seed_command.main(nothing) == 0
    said = capsys.readouterr()
    assert "The database is up to date." in said.out
    assert "Temporal at 127.0.0.1:1 does not answer" in said.err


def test_a_database_that_is_away_is_one_line(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing: Any = None
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert migrate_command.main(nothing) == 1
    assert seed_command.main(nothing) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(re.match(r"hospital: the database cannot be (migrated|seeded): ", x) for x in lines)
