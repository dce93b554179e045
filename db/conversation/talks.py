"""The order under a conversation."""

from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

FIND = """
    select c.id, c.hospital_id, c.order_no, c.account_id, c.patient_id, c.status,
           case when c.paid_at is not null then c.doctor_id end as doctor_id,
           c.version, c.answered_at is not null as answered, k.id as key_id, k.wrapped
      from consultation c
      join patient p on p.id = c.patient_id
      join data_key k on k.id = p.data_key_id
     where c.id = :id and c.hospital_id = :hospital_id"""


@dataclass(frozen=True)
class Talk:
    id: int
    hospital_id: int
    order_no: str
    account_id: int
    doctor_id: int | None
    patient_id: int
    status: str
    version: int
    answered: bool
    key_id: int
    wrapped: bytes | None = field(repr=False)  # the patient's data key


async def find_talk(
    connection: AsyncConnection, hospital_id: int, id: int, *, lock: bool = False
) -> Talk | None:
    """`lock`: nobody else writes to it, and it does not end, until this transaction does."""
    query = FIND + (" for no key update of c" if lock else "")
    found = await connection.execute(text(query), {"id": id, "hospital_id": hospital_id})
    row = found.one_or_none()
    return Talk(**row._mapping) if row else None
