"""Appointments as people look at them."""

from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import Fields


@dataclass(frozen=True)
class Appointment:
    """An order joined with what its reader wants to see. Sealed values stay sealed here."""

    id: int
    order_no: str
    hospital_id: int
    account_id: int
    patient_id: int
    schedule_id: int
    source_id: int
    doctor_id: int
    doctor_name: str
    doctor_title: str
    department_id: int
    department_name: str
    date: date
    time_slot: str
    location: str
    starts_at: datetime
    status: str
    version: int
    reason: str
    price: Decimal
    payment_no: str | None
    terms: Fields
    pay_by: datetime
    queue_number: int
    check_in_time: datetime | None
    created_at: datetime
    symptoms: bytes | None
    account_key: bytes | None
    account_sealed: bytes
    patient_key_id: int
    patient_key: bytes | None
    patient_sealed: bytes
    refund_status: str | None
    refunded_amount: Decimal
    choose_by: datetime | None


COLUMNS = tuple(column.name for column in fields(Appointment))
ORDERS = "select * from appointment_order a "  # a view: db/migrations/sql
BY_ID = text(ORDERS + "where a.id = :id and a.hospital_id = :hospital_id")
BY_NUMBER = text(ORDERS + "where a.order_no = :order_no and a.hospital_id = :hospital_id")
WANTED = """
     where a.hospital_id = :hospital_id
       and (cast(:account_id as bigint) is null or a.account_id = :account_id)
       and (cast(:doctor_id as bigint) is null or a.doctor_id = :doctor_id)
       and (cast(:status as text) is null or a.status = :status)
       and (cast(:date as date) is null or a.date = :date)
"""
PAGE = text(ORDERS + WANTED + "order by a.id desc limit :size offset (:page - 1) * :size")
TOTAL = text("select count(*) from appointment a" + WANTED)


async def find_appointment(
    connection: AsyncConnection, hospital_id: int, id: int
) -> Appointment | None:
    return await _one(connection, BY_ID, {"id": id, "hospital_id": hospital_id})


async def find_appointment_by_number(
    connection: AsyncConnection, hospital_id: int, order_no: str
) -> Appointment | None:
    return await _one(connection, BY_NUMBER, {"order_no": order_no, "hospital_id": hospital_id})


@dataclass(frozen=True)
class OrderFilter:
    """None does not narrow."""

    hospital_id: int
    account_id: int | None
    doctor_id: int | None
    status: str | None
    date: date | None
    page: int
    size: int


async def list_appointments(
    connection: AsyncConnection, wanted: OrderFilter
) -> tuple[list[Appointment], int]:
    """A page, newest first, and how many there are in all."""
    rows = await connection.execute(PAGE, vars(wanted))
    total = await connection.scalar(TOTAL, vars(wanted))
    return [Appointment(**row._mapping) for row in rows], total or 0


def appointment_of(row: Row[Any]) -> Appointment:
    """From a row that has all of the view's columns, and may have others."""
    return Appointment(**{name: row._mapping[name] for name in COLUMNS})


async def _one(connection: AsyncConnection, query: Any, values: Fields) -> Appointment | None:
    row = (await connection.execute(query, values)).one_or_none()
    return Appointment(**row._mapping) if row else None
