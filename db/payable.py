"""What a payment needs to know of the order it is for, whatever kind of order that is."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.order import OrderKind, kind_of

UNPAID = {
    OrderKind.APPOINTMENT: "status = 'pending'",
    OrderKind.CONSULTATION: "status = 'pending' and paid_at is null",
}


@dataclass(frozen=True)
class Payable:
    """The row is locked until the transaction ends."""

    kind: OrderKind
    order_no: str
    account_id: int
    doctor_id: int | None
    status: str
    price: Decimal
    pay_by: datetime
    payable: bool  # unpaid, and in time


async def lock_payable(
    connection: AsyncConnection, hospital_id: int, order_no: str
) -> Payable | None:
    kind = kind_of(order_no)
    if kind is None:
        return None
    row = (
        await connection.execute(
            text(
                f"""select order_no, account_id, doctor_id, status, price, pay_by,
                           {UNPAID[kind]} and now() < pay_by as payable
                      from {kind}
                     where order_no = :order_no and hospital_id = :hospital_id for update"""
            ),
            {"order_no": order_no, "hospital_id": hospital_id},
        )
    ).one_or_none()
    return Payable(kind, **row._mapping) if row else None


async def payment_that_counts(connection: AsyncConnection, order_no: str) -> str | None:
    """The payment that this order took, if any."""
    kind = kind_of(order_no)
    if kind is None:
        return None
    found: str | None = await connection.scalar(
        text(f"select payment_no from {kind} where order_no = :order_no"), {"order_no": order_no}
    )
    return found
