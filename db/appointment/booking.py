"""Birth: one call, one transaction, one winner for every source."""

from dataclasses import dataclass

from psycopg.rows import dict_row

from db.appointment.orders import COLUMNS, Appointment
from db.appointment.rules import BookingRules
from db.base import Driver


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


# For the driver itself: of all statements this one is asked most, and at the same moment.
BOOK = """
    select b.code, o.*
      from book_appointment(
               %(hospital_id)s, %(account_id)s, %(schedule_id)s, %(patient_id)s, %(held)s,
               %(order_no)s, cast(%(fees)s as jsonb), cast(%(terms)s as jsonb),
               cast(%(rules)s as jsonb), %(symptoms)s, %(key)s, %(body_hash)s) b
      left join lateral read_appointment(
               case when b.code in ('booked', 'repeated') then b.order_no end) o on true"""


async def book(
    driver: Driver, new: NewAppointment, rules: BookingRules
) -> tuple[str, Appointment | None]:
    """Take one source and write the order with the promise of its workflow: all or nothing.

    Answers a code and, for `booked` and `repeated`, the order; any other code is a refusal and
    nothing was written.
    """
    async with driver.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            BOOK, {**vars(new), "fees": rules.fees, "terms": rules.terms, "rules": rules.rules}
        )
        [row] = await cursor.fetchall()
    if row["order_no"] is None:
        return row["code"], None
    return row["code"], Appointment(**{name: row[name] for name in COLUMNS})
