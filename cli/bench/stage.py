"""What a bench needs to be there: people, doctors and slots that nobody else uses.

Its doctors and its department are inactive, so that no list of the catalogue shows them. Persons
whose last order has been closed are used again by the next run.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import TextClause, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from stdnum.cn.ric import calc_check_digit

from api.passwords import Passwords
from cli.bench.target import BenchError
from db.account import add_patient, create_account
from db.account.accounts import set_password
from db.catalogue import DepartmentRow, DoctorRow, NewDoctor, create_doctor
from db.keyring import Keyring
from db.schedule import Batch, create_batch
from domain.account import Gender, NewPatient
from domain.hospital import DoctorLevel, HospitalConfig
from domain.schedule import TimeSlot, expand

ACCOUNTS = 16
LOCK = 7236873  # any number: two benches would book for the same persons
DEPARTMENT = 990_000  # beyond those of the configuration
PLACE = "性能测试"
SLOTS_A_DAY = 15

Query = TextClause
PERSONS = text(
    """select p.id, p.account_id from patient p
        where p.account_id = any(:accounts)
          and not exists (
              select 1 from appointment a
               where a.hospital_id = p.hospital_id and a.person_index = p.person_index
                 and a.status in ('pending', 'confirmed', 'checked_in'))
        order by p.id limit :count"""
)
# One statement is one look: bookings that go on meanwhile cannot make it disagree.
OVERSOLD = text(
    """select count(*) from schedule s
        where s.id = any(:slots) and (
              s.used_sources > s.total_sources
           or s.used_sources <> (select count(*) from source held
                                  where held.schedule_id = s.id and held.order_no is not null)
           or s.used_sources <> (select count(*) from appointment a
                                  where a.schedule_id = s.id
                                    and a.status in ('pending', 'confirmed', 'checked_in')))"""
)
BOOKED = text("select count(*) from appointment where schedule_id = any(:slots)")
STILL_OPEN = text(
    """select count(*) from appointment
        where schedule_id = any(:slots) and status in ('pending', 'confirmed', 'checked_in')"""
)
NEWEST = text(
    """select order_no from appointment where schedule_id = any(:slots)
        order by id desc limit :count"""
)
# Nobody shall book them afterwards; those who did keep their orders.
WITHDRAW = text("update schedule set withdrawn = true where location = :place and not withdrawn")
EXPIRING = text(
    """select count(*) from appointment a join schedule s on s.id = a.schedule_id
        where s.location = :place and a.status = 'pending'"""
)


@dataclass(frozen=True)
class Login:
    account_id: int
    phone: str
    password: str


@dataclass(frozen=True)
class Person:
    id: int
    account_id: int


async def ensure_alone(connection: AsyncConnection) -> None:
    """Keep other benches out for as long as this connection lives."""
    got = await connection.execute(text("select pg_try_advisory_lock(:lock)"), {"lock": LOCK})
    if not got.scalar():
        raise BenchError("another bench is running on this database")
    await connection.commit()  # the lock is the connection's; a transaction left open is in the way


async def make_logins(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int
) -> list[Login]:
    """Accounts with a password of this run alone."""
    password = secrets.token_urlsafe(18)
    password_hash = await Passwords().hash(password)
    logins = []
    for number in range(ACCOUNTS):
        phone = f"+86138000090{number:02d}"
        account_id = await create_account(
            connection, keyring, hospital_id, phone=phone, name=PLACE, password_hash=password_hash
        )
        await set_password(connection, account_id, password_hash)
        logins.append(Login(account_id, phone, password))
    return logins


async def find_persons(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    logins: Sequence[Login],
    count: int,
) -> list[Person]:
    """So many persons without an open order, made where there are too few."""
    accounts = [login.account_id for login in logins]
    rows = await connection.execute(PERSONS, {"accounts": accounts, "count": count})
    persons = [Person(*row) for row in rows]
    there = await connection.execute(
        text("select count(*) from patient where account_id = any(:accounts)"),
        {"accounts": accounts},
    )
    first: int = there.scalar_one()
    for number in range(first, first + count - len(persons)):
        login = logins[number % len(logins)]
        new = invented(number, login.phone)
        made = await add_patient(connection, keyring, hospital_id, login.account_id, new)
        if made is None:
            raise BenchError("the persons of an earlier bench were changed; use a new --data-dir")
        persons.append(Person(made, login.account_id))
    return persons


def invented(number: int, phone: str) -> NewPatient:
    """Nobody has this ID number: there is no region 990000."""
    born = date(1950, 1, 1) + timedelta(days=number % 20_000)
    digits = f"990000{born:%Y%m%d}{2 * (number // 20_000) + 1:03d}"
    id_card = digits + str(calc_check_digit(digits + "0"))
    return NewPatient(name=PLACE, gender=Gender.MALE, id_card=id_card, phone=phone)


async def make_slots(
    connection: AsyncConnection,
    config: HospitalConfig,
    days: Sequence[date],
    *,
    slots: int,
    sources: int,
) -> tuple[int, list[int]]:
    """A new doctor with so many slots on each day (at most SLOTS_A_DAY): the doctor's id and the
    slots', in order of time."""
    hospital_id = config.hospital.id
    await ensure_department(connection, hospital_id)
    doctor = NewDoctor(DEPARTMENT, PLACE, "", _level(config), PLACE)
    doctor_id = await create_doctor(connection, hospital_id, doctor)
    await connection.execute(
        update(DoctorRow).where(DoctorRow.id == doctor_id).values(active=False)
    )
    at: datetime = (await connection.execute(text("select clock_timestamp()"))).scalar_one()
    zone = ZoneInfo(config.hospital.time_zone)
    sessions, _ = expand(days, times(slots), zone=zone, now=at)
    batch = Batch(hospital_id, doctor_id, DEPARTMENT, sessions, sources, PLACE, at)
    await create_batch(connection, batch)
    made = await connection.execute(
        text("select id from schedule where doctor_id = :doctor_id order by starts_at"),
        {"doctor_id": doctor_id},
    )
    return doctor_id, list(made.scalars())


def times(count: int) -> list[TimeSlot]:
    """Slots of forty minutes, one after another, from eight in the morning."""
    starts = [datetime.combine(date.min, time(8)) + timedelta(minutes=40 * n) for n in range(count)]
    return [TimeSlot(start.time(), (start + timedelta(minutes=40)).time()) for start in starts]


async def ensure_department(connection: AsyncConnection, hospital_id: int) -> None:
    await connection.execute(
        insert(DepartmentRow)
        .values(
            hospital_id=hospital_id, id=DEPARTMENT, name=PLACE, level=1, position=0, active=False
        )
        .on_conflict_do_nothing()
    )


def _level(config: HospitalConfig) -> DoctorLevel:
    """One whose fee must be paid: an order that costs nothing skips a part of its life."""
    for fee in config.registration_fees:
        if fee.price > Decimal(0):
            return fee.level
    raise BenchError("no level of doctors has a registration fee")
