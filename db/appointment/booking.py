"""Birth: one call, one transaction, one winner for every source."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.orders import Appointment, appointment_of
from db.appointment.rules import BookingRules


@dataclass(frozen=True)
class NewAppointment:
    hospital_id: int
    account_id: int
    schedule_id: int
    patient_id: int
    held: bool  # the account held this person before this request
    order_no: str
    symptoms: bytes | None  # sealed
    key: str | None  # Idempotency-Key
    body_hash: bytes | None


BOOK = text(
    """select b.code, o.*
         from book_appointment(
                  :hospital_id, :account_id, :schedule_id, :patient_id, :held, :order_no,
                  cast(:fees as jsonb), cast(:terms as jsonb), cast(:rules as jsonb),
                  :symptoms, :key, :body_hash) b
         left join lateral read_appointment(
                  case when b.code in ('booked', 'repeated') then b.order_no end) o on true"""
)


async def book(
    connection: AsyncConnection, new: NewAppointment, rules: BookingRules
) -> tuple[str, Appointment | None]:
    """Take one source and write the order with the promise of its workflow: all or nothing.

    Answers a code and, for `booked` and `repeated`, the order; any other code is a refusal and
    nothing was written.
    """
    row = (
        await connection.execute(
            BOOK, {**vars(new), "fees": rules.fees, "terms": rules.terms, "rules": rules.rules}
        )
    ).one()
    return row.code, appointment_of(row) if row.order_no is not None else None
