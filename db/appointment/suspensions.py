"""Those who may not book for a while, as they see it, and how that ends early."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Suspension:
    """Why and until when a person may not book, and what became of an appeal."""

    id: int
    order_no: str  # the no-show that was one too many
    patient_id: int
    patient_key_id: int
    patient_key: bytes | None  # wrapped
    starts_at: datetime
    ends_at: datetime
    lifted_at: datetime | None
    stands: bool  # booking is refused because of it now
    appeal_status: str | None
    appeal_decision: str | None


# Of the account whose order it was: others who hold the same person learn nothing here.
SUSPENSIONS = """
    select s.id, s.order_no, a.patient_id, p.data_key_id as patient_key_id,
           k.wrapped as patient_key, s.starts_at, s.ends_at, s.lifted_at,
           s.lifted_by is null and now() < s.ends_at as stands,
           w.status as appeal_status, w.decision as appeal_decision
      from booking_suspension s
      join appointment a using (order_no)
      join patient p on p.id = a.patient_id
      join data_key k on k.id = p.data_key_id
      left join work_item w on w.kind = 'suspension_lift' and w.subject = s.order_no
     where a.hospital_id = :hospital_id and a.account_id = :account_id"""
MINE = text(SUSPENSIONS + " order by s.id desc")
ONE = text(SUSPENSIONS + " and s.id = :id")


async def suspensions_of(
    connection: AsyncConnection, hospital_id: int, account_id: int
) -> list[Suspension]:
    """Newest first, also those that are over."""
    values = {"hospital_id": hospital_id, "account_id": account_id}
    return [Suspension(**row._mapping) for row in await connection.execute(MINE, values)]


async def find_suspension_of(
    connection: AsyncConnection, hospital_id: int, account_id: int, id: int
) -> Suspension | None:
    values: dict[str, Any] = {"hospital_id": hospital_id, "account_id": account_id, "id": id}
    row = (await connection.execute(ONE, values)).one_or_none()
    return Suspension(**row._mapping) if row else None


async def lift_suspension(
    connection: AsyncConnection, order_no: str, *, by: int | None, at: datetime
) -> None:
    """The suspension that this no-show brought ends now."""
    await connection.execute(
        text(
            """update booking_suspension set lifted_by = :by, lifted_at = :at
                where order_no = :order_no and lifted_by is null"""
        ),
        {"order_no": order_no, "by": by, "at": at},
    )
