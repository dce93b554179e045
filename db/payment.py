"""Payments, refunds, and the ledger in which every fen has two entries."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered
from db.journal import append_timeline
from db.outbox import InboxRow, promise
from domain.hospital import PaymentPolicy
from domain.order import Move
from domain.payment import (
    MoneyTaken,
    PaymentStart,
    PaymentStatus,
    RefundCause,
    RefundStatus,
    refundable,
    share_of,
)


class PaymentRow(Numbered, Base):
    __tablename__ = "payment"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_positive"),
        Index(
            "uq_payment_one_open",
            "order_no",
            unique=True,
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_payment_order", "order_no"),
    )

    hospital_id: Mapped[int]
    payment_no: Mapped[str] = mapped_column(unique=True)
    order_no: Mapped[str]
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    amount: Mapped[Decimal]
    channel: Mapped[str]
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="0")
    pay_url: Mapped[str | None]
    expires_at: Mapped[datetime]
    transaction_id: Mapped[str | None]
    received: Mapped[Decimal] = mapped_column(server_default="0")
    paid_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefundRow(Numbered, Base):
    __tablename__ = "refund"
    __table_args__ = (
        UniqueConstraint("payment_no", "cause"),
        CheckConstraint("amount > 0", name="amount_positive"),
    )

    hospital_id: Mapped[int]
    refund_no: Mapped[str] = mapped_column(unique=True)
    payment_no: Mapped[str] = mapped_column(ForeignKey("payment.payment_no"))
    order_no: Mapped[str] = mapped_column(index=True)
    amount: Mapped[Decimal]
    cause: Mapped[str]
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class LedgerTransferRow(Numbered, Base):
    """One movement of money, told once by its key. Triggers refuse change and deletion."""

    __tablename__ = "ledger_transfer"

    hospital_id: Mapped[int]
    key: Mapped[str] = mapped_column(unique=True)  # paid:<paymentNo>, refund:<refundNo>
    payment_no: Mapped[str] = mapped_column(index=True)
    at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LedgerEntryRow(Numbered, Base):
    """One side of a transfer; a trigger at commit holds that the sides add up to nothing."""

    __tablename__ = "ledger_entry"
    __table_args__ = (CheckConstraint("amount <> 0", name="amount_not_zero"),)

    transfer_id: Mapped[int] = mapped_column(ForeignKey("ledger_transfer.id"), index=True)
    ledger_account: Mapped[str]  # gateway:sandbox | patients | …
    amount: Mapped[Decimal]  # debit positive, credit negative; yuan


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
    """The order's one open payment, and whether it is new. The caller holds the order's row."""
    made = await connection.execute(
        insert(PaymentRow)
        .values(
            hospital_id=hospital_id,
            account_id=account_id,
            payment_no=payment_no,
            order_no=order_no,
            amount=amount,
            channel=channel,
            status=PaymentStatus.PENDING,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing()
        .returning(PaymentRow.id)
    )
    new = made.one_or_none() is not None
    if new:
        await promise(connection, stream=order_no, workflow="payment", subject=payment_no)
    row = (
        await connection.execute(
            _payments().where(PaymentRow.order_no == order_no, PaymentRow.status == "pending")
        )
    ).one()
    return _payment(row), new


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
    """What a callback already said, before the gateway is asked."""
    content = await connection.scalar(
        select(InboxRow.content)
        .where(InboxRow.subject == payment_no, InboxRow.kind == "payment_succeeded")
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
        await _transfer(connection, f"paid:{move.order_no}", move.order_no, money.at, money.amount)
    await append_timeline(connection, move)


async def _transfer(
    connection: AsyncConnection, key: str, payment_no: str, at: datetime, amount: Decimal
) -> None:
    """Two entries, once by key: the gateway owes us what we owe the patient. A refund is the
    same transfer with the other sign."""
    await connection.execute(
        text(
            """with payment as (
                   select hospital_id, channel from payment where payment_no = :payment_no
               ), transfer as (
                   insert into ledger_transfer (hospital_id, key, payment_no, at)
                   select hospital_id, :key, :payment_no, :at from payment
                   on conflict (key) do nothing returning id
               )
               insert into ledger_entry (transfer_id, ledger_account, amount)
               select transfer.id, side.ledger_account, side.amount
                 from transfer, payment,
                      lateral (values ('gateway:' || payment.channel, cast(:amount as numeric)),
                                      ('patients', -cast(:amount as numeric)))
                      as side (ledger_account, amount)"""
        ),
        {"key": key, "payment_no": payment_no, "at": at, "amount": amount},
    )


# Refunds


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
        await _transfer(connection, key, refund.payment_no, at, -refund.amount)


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
