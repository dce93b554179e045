"""Refunds: promised once per cause, never more than came in."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.outbox import promise
from db.payment.ledger import transfer
from db.payment.rows import RefundRow
from domain.payment import RefundCause, RefundStatus, refundable, share_of


@dataclass(frozen=True)
class Refund:
    refund_no: str
    payment_no: str
    order_no: str
    amount: Decimal
    cause: RefundCause
    status: RefundStatus
    version: int


def _refunds() -> Any:
    r = RefundRow
    return select(
        r.refund_no, r.payment_no, r.order_no, r.amount, r.cause, r.status, r.version
    ).order_by(r.id)


def _refund(row: Any) -> Refund:
    return Refund(
        **{**row._mapping, "cause": RefundCause(row.cause), "status": RefundStatus(row.status)}
    )


async def refunds_of(connection: AsyncConnection, payment_no: str) -> list[Refund]:
    rows = await connection.execute(_refunds().where(RefundRow.payment_no == payment_no))
    return [_refund(row) for row in rows]


async def find_refund(connection: AsyncConnection, refund_no: str) -> Refund | None:
    row = (
        await connection.execute(_refunds().where(RefundRow.refund_no == refund_no))
    ).one_or_none()
    return _refund(row) if row else None


async def owe_refund(
    connection: AsyncConnection,
    payment_no: str,
    refund_no: str,
    cause: RefundCause,
    share: Decimal,
) -> str | None:
    """Promise money back, once per cause and never more than came in.

    Answers the refund's number, that of an earlier call for the same cause, or None when nothing
    is left to give back. The row lock makes the sum true.
    """
    payment = (
        await connection.execute(
            text(
                """select hospital_id, order_no, received from payment
                    where payment_no = :payment_no for update"""
            ),
            {"payment_no": payment_no},
        )
    ).one()
    earlier = await refunds_of(connection, payment_no)
    for refund in earlier:
        if refund.cause is cause:
            return refund.refund_no
    owed = sum((r.amount for r in earlier if r.status is not RefundStatus.FAILED), Decimal(0))
    amount = refundable(payment.received, owed, share_of(payment.received, share))
    if not amount:
        return None
    await connection.execute(
        insert(RefundRow).values(
            hospital_id=payment.hospital_id,
            refund_no=refund_no,
            payment_no=payment_no,
            order_no=payment.order_no,
            amount=amount,
            cause=cause,
            status=RefundStatus.PENDING,
        )
    )
    await promise(
        connection,
        stream=payment.order_no,
        workflow="payment",
        subject=payment_no,
        signal="refund_owed",
        args={"refund_no": refund_no},
    )
    return refund_no


async def record_refund(
    connection: AsyncConnection, refund: Refund, status: RefundStatus, at: datetime
) -> None:
    """The gateway's last word on a refund; what went back is in the ledger by the same commit."""
    await connection.execute(
        text(
            """update refund set status = :status, version = version + 1, finished_at = :at
                where refund_no = :refund_no and status <> 'succeeded'"""
        ),
        {"refund_no": refund.refund_no, "status": status, "at": at},
    )
    if status is RefundStatus.SUCCEEDED:
        key = f"refund:{refund.refund_no}"
        await transfer(connection, key, refund.payment_no, at, -refund.amount)


async def all_went_back(connection: AsyncConnection, payment_no: str) -> bool:
    """Whether nothing of what came in is left here."""
    left: Decimal | None = await connection.scalar(
        text(
            """select received - coalesce((select sum(amount) from refund r
                       where r.payment_no = p.payment_no and r.status = 'succeeded'), 0)
                 from payment p where payment_no = :payment_no"""
        ),
        {"payment_no": payment_no},
    )
    return left == 0
