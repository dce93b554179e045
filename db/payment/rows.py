"""The rows of payments, refunds, and the ledger in which every fen has two entries."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered


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
        Index("ix_payment_paid_at", "paid_at"),
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
        # One that failed for good may be followed by another.
        Index(
            "uq_refund_one_a_cause",
            "payment_no",
            "cause",
            unique=True,
            postgresql_where=text("status <> 'failed'"),
        ),
        Index("ix_refund_payment", "payment_no"),
        Index("ix_refund_finished_at", "finished_at"),
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
    settled_by: Mapped[int | None]  # the account that found it paid otherwise


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
