"""`./hospital seed`: the configuration into the database and, in development, a demonstration.

May run at any time, also twice at once: what is there is left as it is, and the demonstration's
calendars are filled up to the end of the booking horizon.
"""

import argparse
import asyncio
import os
import sys
from collections import defaultdict
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.passwords import Passwords
from db.account import create_account, hold_patient
from db.base import engine_for
from db.catalogue import DoctorRow, NewDoctor, ScheduleRow, create_doctor
from db.catalogue import load_config as load_catalogue
from db.credential import KeptCredential, credential_of, keep_credential
from db.keyring import Keyring
from db.schedule import Batch, check_doctor, create_batch
from domain.access import Role
from domain.account import NewPatient
from domain.hospital import DoctorLevel, HospitalConfig
from domain.schedule import expand, parse_time_slot
from runtime.config import load_config
from runtime.demo import Demo, DemoDoctor, DemoPatient, demo_accounts, e164, load_demo
from runtime.settings import Settings, read_settings

LOCK = 7236872  # any number: two seeds at once wait for one another


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def main(_args: argparse.Namespace) -> int:
    """Raises SettingsError or ConfigError; 1 when the database cannot be used."""
    settings = read_settings(os.environ)
    config = load_config(settings.config_path, os.environ)
    demo = load_demo(settings.config_path) if settings.dev else None
    try:
        keyring = Keyring.load(settings.keyring_path)
    except (OSError, ValueError) as error:
        print(f"hospital: the keyring cannot be read: {error}", file=sys.stderr)
        return 1
    try:
        asyncio.run(_seed(settings, config, keyring, demo))
    except DBAPIError as error:
        print(f"hospital: the database cannot be seeded: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _one_line(error: DBAPIError) -> str:
    return str(error.orig).partition("\n")[0]


async def _seed(
    settings: Settings, config: HospitalConfig, keyring: Keyring, demo: Demo | None
) -> None:
    engine = engine_for(settings.database_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await seed(connection, config, keyring, demo)
    finally:
        await engine.dispose()


async def seed(
    connection: AsyncConnection, config: HospitalConfig, keyring: Keyring, demo: Demo | None
) -> None:
    """All of it, in one transaction. `demo` None: the configuration alone."""
    await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    await load_catalogue(connection, config)
    if demo is not None:
        await _make_people(connection, config, keyring, demo)
        await _entitle_doctors(connection, config, keyring, demo)
        await _fill_calendars(connection, config, keyring, demo)


# People


async def _make_people(
    connection: AsyncConnection, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    hospital_id = config.hospital.id
    accounts = await demo_accounts(connection, keyring, hospital_id, demo)
    there = {account.phone for account in accounts}
    if there.issuperset(demo.phones):
        return
    password_hash = await Passwords().hash(demo.password)

    async def account(phone: str, name: str, role: Role) -> int:
        return await create_account(
            connection,
            keyring,
            hospital_id,
            phone=e164(phone),
            name=name,
            password_hash=password_hash,
            roles=(role,),
        )

    for patient in demo.patients:
        account_id = await account(patient.phone, patient.name, Role.PATIENT)
        await _hold_persons(connection, config, keyring, account_id, patient)
    for number, doctor in enumerate(demo.doctors):
        account_id = await account(doctor.phone, doctor.name, Role.DOCTOR)
        await _make_doctor(connection, config, account_id, doctor, number)
    for staff in demo.staff:
        await account(staff.phone, staff.name, staff.role)


async def _hold_persons(
    connection: AsyncConnection,
    config: HospitalConfig,
    keyring: Keyring,
    account_id: int,
    patient: DemoPatient,
) -> None:
    for person in patient.persons:
        new = NewPatient(
            name=person.name,
            gender=person.gender,
            id_card=person.id_card,
            phone=e164(patient.phone),
            relation=person.relation,
        )
        await hold_patient(connection, keyring, config.hospital.id, account_id, new)


async def _make_doctor(
    connection: AsyncConnection,
    config: HospitalConfig,
    account_id: int,
    doctor: DemoDoctor,
    number: int,
) -> None:
    from db.pinyin import search_words  # noqa: PLC0415 half a second, for the first run alone

    known = select(DoctorRow.id).where(DoctorRow.account_id == account_id)
    if (await connection.execute(known)).first():
        return
    departments = [department.id for department in config.departments]
    own = doctor.department in departments
    new = NewDoctor(
        department_id=doctor.department if own else departments[number % len(departments)],
        name=doctor.name,
        pinyin=search_words(doctor.name),
        level=doctor.level,
        title=_title(config, doctor.level),
        speciality=doctor.speciality,
        introduction=doctor.introduction,
        rating=doctor.rating,
        account_id=account_id,
    )
    await create_doctor(connection, config.hospital.id, new)


async def _entitle_doctors(
    connection: AsyncConnection, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    """Also who was there before credentials were; what an operator recorded is left as it is."""
    by_phone = {doctor.phone: doctor.credential for doctor in demo.doctors}
    for account in await demo_accounts(connection, keyring, config.hospital.id, demo):
        if account.doctor_id is None or account.phone not in by_phone:
            continue
        if await credential_of(connection, account.doctor_id) is None:
            kept = KeptCredential(**vars(by_phone[account.phone]))
            await keep_credential(connection, keyring, config.hospital.id, account.doctor_id, kept)


def _title(config: HospitalConfig, level: DoctorLevel) -> str:
    """What the hospital calls this level."""
    online = config.consultation_prices
    prices = (*config.registration_fees, *online.text, *online.video, *online.phone)
    return next((price.name for price in prices if price.level is level), level.value)


# Calendars


async def _fill_calendars(
    connection: AsyncConnection, config: HospitalConfig, keyring: Keyring, demo: Demo
) -> None:
    """Every day from today to the end of the horizon on which a demo doctor has no slot yet."""
    by_phone = {doctor.phone: doctor for doctor in demo.doctors}
    doctors = {
        account.doctor_id: by_phone[account.phone]
        for account in await demo_accounts(connection, keyring, config.hospital.id, demo)
        if account.doctor_id is not None and account.role is Role.DOCTOR
    }
    today = await _today(connection, config)
    days = [today + timedelta(days=n) for n in range(config.policies.appointment.horizon_days + 1)]
    filled = await _filled_days(connection, list(doctors), today)
    for doctor_id, doctor in doctors.items():
        missing = [day for day in days if day not in filled[doctor_id]]
        if missing and doctor.sessions:
            await _fill(connection, config, demo, doctor_id, doctor, missing)


async def _today(connection: AsyncConnection, config: HospitalConfig) -> date:
    """By the database's clock, which decides what has begun."""
    zone = config.hospital.time_zone
    asked = text("select (now() at time zone :zone)::date")
    today: date = (await connection.execute(asked, {"zone": zone})).scalar_one()
    return today


async def _filled_days(
    connection: AsyncConnection, doctor_ids: list[int], since: date
) -> dict[int, set[date]]:
    s = ScheduleRow
    rows = await connection.execute(
        select(s.doctor_id, s.date).where(s.doctor_id.in_(doctor_ids), s.date >= since).distinct()
    )
    filled: dict[int, set[date]] = defaultdict(set)
    for doctor_id, day in rows:
        filled[doctor_id].add(day)
    return filled


async def _fill(
    connection: AsyncConnection,
    config: HospitalConfig,
    demo: Demo,
    doctor_id: int,
    doctor: DemoDoctor,
    days: list[date],
) -> None:
    found = await connection.execute(
        select(DoctorRow.department_id).where(DoctorRow.id == doctor_id)
    )
    department_id: int = found.scalar_one()
    at = await check_doctor(connection, config.hospital.id, doctor_id, department_id)
    slots = [parse_time_slot(slot) for slot in demo.slots_of(doctor)]
    zone = ZoneInfo(config.hospital.time_zone)
    sessions, _ = expand(days, slots, zone=zone, now=at)
    batch = Batch(
        config.hospital.id, doctor_id, department_id, sessions, doctor.sources, doctor.location, at
    )
    await create_batch(connection, batch)
