"""Consultations as people look at them."""

from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import Fields


@dataclass(frozen=True)
class Consultation:
    """An order joined with what its reader wants to see. Sealed values stay sealed here."""

    id: int
    order_no: str
    hospital_id: int
    account_id: int
    patient_id: int
    doctor_id: int | None
    doctor_name: str | None
    doctor_title: str | None
    doctor_account_id: int | None
    department_id: int
    department_name: str
    type: str
    urgency: str
    way: str
    visit_kind: str
    judged: bool
    scheduled_at: datetime | None
    status: str
    version: int
    reason: str
    price: Decimal
    payment_no: str | None
    terms: Fields
    progress: Fields
    sealed: bytes
    attachments: list[int]
    pay_by: datetime
    paid_at: datetime | None
    due_at: datetime | None
    next_step: str | None
    waiting_for: str | None
    rung: list[int]
    started_at: datetime | None
    window_ends: datetime | None
    ended_at: datetime | None
    answered_at: datetime | None
    rating: int | None
    comment: bytes | None
    created_at: datetime
    conclusion: bytes | None  # of the note that ended it
    conclusion_kind: str | None
    account_key: bytes | None
    account_sealed: bytes
    patient_key_id: int
    patient_key: bytes | None
    patient_sealed: bytes
    refund_status: str | None
    refunded_amount: Decimal


COLUMNS = tuple(column.name for column in fields(Consultation))
ORDERS = f"select {', '.join(f'c.{name}' for name in COLUMNS)} from consultation_order c "
BY_ID = text(ORDERS + "where c.id = :id and c.hospital_id = :hospital_id")
BY_NUMBER = text(ORDERS + "where c.order_no = :order_no and c.hospital_id = :hospital_id")
# A doctor's: only its owner knows of an order before it is paid, and nobody treats themselves.
# `queue`: what this doctor could accept now.
WANTED = """
     where c.hospital_id = :hospital_id
       and (cast(:account_id as bigint) is null or c.account_id = :account_id)
       and (cast(:doctor_id as bigint) is null
            or c.paid_at is not null and c.account_id <> :reader_id and case
            when :queue then c.status = 'pending' and case c.way
                 when 'named' then c.doctor_id = :doctor_id
                 when 'emergency' then :doctor_id = any(c.rung)
                 else doctor_in_department(:doctor_id, c.hospital_id, c.department_id) end
            else c.doctor_id = :doctor_id end)
       and (cast(:status as text) is null or c.status = :status)
"""
ORDER = """order by case when :queue then c.urgency = 'emergency' end desc,
                    case when :queue then c.paid_at end, c.id desc"""
PAGE = text(ORDERS + WANTED + ORDER + " limit :size offset (:page - 1) * :size")
TOTAL = text("select count(*) from consultation c" + WANTED)


@dataclass(frozen=True)
class ConsultationFilter:
    """None does not narrow. `queue` is what `doctor_id` could accept, the most urgent first.
    `reader_id` is the account of who looks."""

    hospital_id: int
    reader_id: int
    account_id: int | None
    doctor_id: int | None
    status: str | None
    page: int
    size: int
    queue: bool = False


async def find_consultation(
    connection: AsyncConnection, hospital_id: int, id: int
) -> Consultation | None:
    return await _one(connection, BY_ID, {"id": id, "hospital_id": hospital_id})


async def find_consultation_by_number(
    connection: AsyncConnection, hospital_id: int, order_no: str
) -> Consultation | None:
    return await _one(connection, BY_NUMBER, {"order_no": order_no, "hospital_id": hospital_id})


async def list_consultations(
    connection: AsyncConnection, wanted: ConsultationFilter
) -> tuple[list[Consultation], int]:
    """A page, newest first (a queue: who waits longest), and how many there are in all."""
    rows = await connection.execute(PAGE, vars(wanted))
    total = await connection.scalar(TOTAL, vars(wanted))
    return [Consultation(**row._mapping) for row in rows], total or 0


async def _one(connection: AsyncConnection, query: Any, values: Fields) -> Consultation | None:
    row = (await connection.execute(query, values)).one_or_none()
    return Consultation(**row._mapping) if row else None


async def may_accept(connection: AsyncConnection, order: Consultation, doctor_id: int) -> bool:
    """Whether this doctor is one of those whom a waiting order asks."""
    if order.status != "pending" or order.paid_at is None:
        return False
    if order.way == "named":
        return order.doctor_id == doctor_id
    if order.way == "emergency":
        return doctor_id in order.rung
    return await in_department(connection, order, doctor_id)


async def in_department(connection: AsyncConnection, order: Consultation, doctor_id: int) -> bool:
    """Whether the doctor belongs to the department that the order asks, or to one below it."""
    found: bool = await connection.scalar(
        text("select doctor_in_department(:doctor_id, :hospital_id, :department_id)"),
        {
            "doctor_id": doctor_id,
            "hospital_id": order.hospital_id,
            "department_id": order.department_id,
        },
    )
    return found


@dataclass(frozen=True)
class Waiting:
    """`ahead` wait longer for the same doctor or pool. `usual_response` is measured: the median of
    the last 90 days from payment to acceptance, None before there are five."""

    ahead: int
    usual_response: timedelta | None


async def waiting_of(connection: AsyncConnection, order: Consultation) -> Waiting:
    row = (
        await connection.execute(
            text(
                """select (select count(*) from consultation c
                           where c.hospital_id = :hospital_id and c.status = 'pending'
                             and c.department_id = :department_id and c.way = :way
                             and c.doctor_id is not distinct from :doctor_id
                             and (c.paid_at, c.id) < (:paid_at, :id)) as ahead,
                          (select case when count(*) >= 5 then percentile_cont(0.5)
                                       within group (order by c.started_at - c.paid_at) end
                             from consultation c
                            where c.hospital_id = :hospital_id and c.type = :type
                              and c.way = :way and c.department_id = :department_id
                              and (:doctor_id is null or c.doctor_id = :doctor_id)
                              and c.started_at > now() - interval '90 days') as usual"""
            ),
            {
                "hospital_id": order.hospital_id,
                "department_id": order.department_id,
                "way": order.way,
                "doctor_id": order.doctor_id if order.way == "named" else None,
                "type": order.type,
                "paid_at": order.paid_at,
                "id": order.id,
            },
        )
    ).one()
    return Waiting(row.ahead, row.usual)


async def rate(
    connection: AsyncConnection, id: int, rating: int, comment: bytes | None, within: timedelta
) -> bool:
    """Once, after completion, in time. False: it is none of these."""
    done = await connection.execute(
        text(
            """update consultation set rating = :rating, comment = :comment, rated_at = now()
                where id = :id and status = 'completed' and rating is null
                  and now() < ended_at + :within"""
        ),
        {"id": id, "rating": rating, "comment": comment, "within": within},
    )
    return done.rowcount == 1


@dataclass(frozen=True)
class Visit:
    """An entry of the health record (就诊记录). Sealed under the person's data key."""

    id: int
    record_date: date
    department_name: str | None
    doctor_name: str | None
    sealed: bytes


async def earlier_visits(connection: AsyncConnection, patient_id: int) -> list[Visit]:
    """The newest twenty."""
    rows = await connection.execute(
        text(
            """select r.id, r.record_date, dep.name as department_name, d.name as doctor_name,
                      r.sealed
                 from health_record r
                 left join department dep
                   on dep.hospital_id = r.hospital_id and dep.id = r.department_id
                 left join doctor d on d.id = r.doctor_id
                where r.patient_id = :patient_id and r.type = 'visit'
                order by r.record_date desc, r.id desc limit 20"""
        ),
        {"patient_id": patient_id},
    )
    return [Visit(*row) for row in rows]
