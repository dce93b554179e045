"""Payments: their birth, what the gateway told of them, and their moves."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.journal import append_timeline
from db.outbox import InboxRow, promise
from db.payment.ledger import transfer
from db.payment.rows import PaymentRow
from domain.hospital import PaymentPolicy
from domain.order import Move
from domain.payment import MoneyTaken, PaymentStart, PaymentStatus

# Birth


@dataclass(frozen=True)
class Payment:
    """A payment's row."""

    payment_no: str
    order_no: str
    amount: Decimal
    channel: str
    status: PaymentStatus
    version: int
    pay_url: str | None
    expires_at: datetime
    received: Decimal


def _payments() -> Any:
    p = PaymentRow
    return select(
        p.payment_no, p.order_no, p.amount, p.channel, p.status, p.version, p.pay_url,
        p.expires_at, p.received,
    )  # fmt: skip


async def find_payment(connection: AsyncConnection, payment_no: str) -> Payment | None:
    row = (
        await connection.execute(_payments().where(PaymentRow.payment_no == payment_no))
    ).one_or_none()
    return _payment(row) if row else None


async def owner_of(connection: AsyncConnection, hospital_id: int, payment_no: str) -> int | None:
    """The account that pays."""
    found: int | None = await connection.scalar(
        select(PaymentRow.account_id).where(
            PaymentRow.payment_no == payment_no, PaymentRow.hospital_id == hospital_id
        )
    )
    return found


async def payments_of(connection: AsyncConnection, order_no: str) -> list[Payment]:
    """All attempts to pay an order, oldest first."""
    rows = await connection.execute(
        _payments().where(PaymentRow.order_no == order_no).order_by(PaymentRow.id)
    )
    return [_payment(row) for row in rows]


def _payment(row: Any) -> Payment:
    return Payment(**{**row._mapping, "status": PaymentStatus(row.status)})


async def open_payment(
    connection: AsyncConnection,
    *,
    hospital_id: int,
    account_id: int,
    payment_no: str,
    order_no: str,
    amount: Decimal,
    channel: str,
    expires_at: datetime,
) -> tuple[Payment, bool]:
    """The order's one open payment, and whether it is new.

    The caller holds the order's row, so that nobody else opens one. An open payment's row is
    locked: one that is being closed just now is waited for, and then is in the way no more.
    """
    p = PaymentRow
    standing = await connection.execute(
        _payments().where(p.order_no == order_no, p.status == "pending").with_for_update()
    )
    if row := standing.one_or_none():
        return _payment(row), False
    await connection.execute(
        insert(p).values(
            hospital_id=hospital_id,
            account_id=account_id,
            payment_no=payment_no,
            order_no=order_no,
            amount=amount,
            channel=channel,
            status=PaymentStatus.PENDING,
            expires_at=expires_at,
        )
    )
    await promise(connection, stream=order_no, workflow="payment", subject=payment_no)
    made = await connection.execute(_payments().where(p.payment_no == payment_no))
    return _payment(made.one()), True


async def keep_pay_url(connection: AsyncConnection, payment_no: str, pay_url: str) -> None:
    await connection.execute(
        text("update payment set pay_url = :pay_url where payment_no = :payment_no"),
        {"payment_no": payment_no, "pay_url": pay_url},
    )


async def load_payment_start(
    connection: AsyncConnection, payment_no: str, policy: PaymentPolicy
) -> PaymentStart | None:
    payment = await find_payment(connection, payment_no)
    if payment is None:
        return None
    return PaymentStart(
        payment_no=payment.payment_no,
        order_no=payment.order_no,
        status=payment.status,
        version=payment.version,
        settle_at=payment.expires_at + policy.settle_grace,
        refund_poll=policy.refund_poll,
        refund_retry_for=policy.refund_retry_for,
        right_amount=payment.received in (0, payment.amount),
    )


# What the gateway told


async def money_in_inbox(connection: AsyncConnection, payment_no: str) -> MoneyTaken | None:
    """What a callback of the payment's own gateway already said, before that gateway is asked."""
    content = await connection.scalar(
        select(InboxRow.content)
        .join(PaymentRow, PaymentRow.payment_no == InboxRow.subject)
        .where(
            InboxRow.subject == payment_no,
            InboxRow.kind == "payment_succeeded",
            InboxRow.source == PaymentRow.channel,
        )
        .limit(1)
    )
    if content is None:
        return None
    return MoneyTaken(
        Decimal(content["amount"]),
        datetime.fromisoformat(content["at"]),
        content["transaction_id"],
    )


# The workflow's writes


async def record_payment(
    connection: AsyncConnection, move: Move, money: MoneyTaken | None = None
) -> None:
    """Write a payment's move; money that came in is in the ledger by the same commit."""
    await connection.execute(
        text(
            """update payment set status = :to_status, version = :version,
                   received = coalesce(:amount, received), paid_at = coalesce(:at, paid_at),
                   transaction_id = coalesce(:transaction_id, transaction_id)
             where payment_no = :order_no and version < :version"""
        ),
        {
            "order_no": move.order_no,
            "to_status": move.to_status,
            "version": move.version,
            "amount": money and money.amount,
            "at": money and money.at,
            "transaction_id": money and money.transaction_id,
        },
    )
    if money:
        await transfer(connection, f"paid:{move.order_no}", move.order_no, money.at, money.amount)
    await append_timeline(connection, move)
