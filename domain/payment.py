"""Money: what a payment and a refund can be, and what is owed back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum


class PaymentStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    CLOSED = "closed"
    REFUNDED = "refunded"  # all of it went back


class RefundStatus(StrEnum):
    PENDING = "pending"  # owed and irrevocable
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the gateway refused for good: a person must look
    SETTLED_ELSEWHERE = "settled_elsewhere"  # a person found it paid by other means


class RefundCause(StrEnum):
    """One refund per (payment, cause)."""

    PATIENT = "patient"
    LATE = "late"
    CLINIC = "clinic"
    ORDER_CLOSED = "order_closed"  # the money came for an order that could not use it any more
    WRONG_AMOUNT = "wrong_amount"


@dataclass(frozen=True)
class PaymentStart:
    """A payment as its workflow knows it, and how far its row is."""

    payment_no: str
    order_no: str
    status: PaymentStatus
    version: int
    settle_at: datetime  # then the payment asks the gateway by itself
    refund_poll: timedelta
    refund_retry_for: timedelta
    right_amount: bool = True  # what came in, if it did, is what was asked for


@dataclass(frozen=True)
class Settlement:
    """The final word on an order's money at its deadline."""

    paid: bool
    payment_no: str | None = None


@dataclass(frozen=True)
class PaymentReceived:
    """Told to the order."""

    payment_no: str


def refundable(received: Decimal, given_back: Decimal, wanted: Decimal) -> Decimal:
    """Never more than came in and has not gone back already. Yuan."""
    return max(min(wanted, received - given_back), Decimal(0))


def share_of(amount: Decimal, share: Decimal) -> Decimal:
    """Yuan, to the fen, half up."""
    return (amount * share).quantize(Decimal("0.01"), ROUND_HALF_UP)


@dataclass(frozen=True)
class MoneyTaken:
    """The gateway took money for a payment. Yuan; aware."""

    amount: Decimal
    at: datetime
    transaction_id: str
