"""The payment gateway as the hospital sees it: one port, one implementation per channel.

Every call is idempotent by the number the hospital gave (`payment_no`, `refund_no`), so a caller
that died may simply ask again. Instants are aware; money is yuan with two places.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

CURRENCY: Literal["CNY"] = "CNY"


class PaymentState(StrEnum):
    PENDING = "pending"
    PAID = "paid"  # also for money that came after a close
    CLOSED = "closed"  # closed by us, or past `expires_at`
    UNKNOWN = "unknown"  # the gateway never heard of this number


class RefundState(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # final: what is tried next needs a new `refund_no`
    UNKNOWN = "unknown"  # the gateway never heard of this number


class EventKind(StrEnum):
    PAYMENT_SUCCEEDED = "payment_succeeded"
    REFUND_SUCCEEDED = "refund_succeeded"
    REFUND_FAILED = "refund_failed"


class BillKind(StrEnum):
    PAYMENT = "payment"
    REFUND = "refund"


@dataclass(frozen=True)
class Payer:
    """Who pays, for a channel that asks: WeChat's id of a person in our mini program or official
    account. It is personal: it goes to the gateway, and nowhere else."""

    openid: str = field(repr=False)


@dataclass(frozen=True)
class Prepay:
    """Where the payer goes (`pay_url`), or what the payer's app hands to the gateway's
    (`pay_params`, signed); and the gateway's own number of the prepayment if any."""

    pay_url: str | None
    gateway_no: str | None = None
    pay_params: Mapping[str, str] | None = None


@dataclass(frozen=True)
class GatewayPayment:
    """A payment as the gateway knows it now.

    `amount` is None only when unknown; `paid_at` and `transaction_id` are set once it is paid.
    """

    payment_no: str
    state: PaymentState
    amount: Decimal | None = None
    paid_at: datetime | None = None
    transaction_id: str | None = None


@dataclass(frozen=True)
class GatewayRefund:
    """A refund as the gateway knows it now. `finished_at` is set once it succeeded, and once it
    failed where the gateway says when."""

    refund_no: str
    state: RefundState
    payment_no: str | None = None
    amount: Decimal | None = None
    finished_at: datetime | None = None
    gateway_refund_no: str | None = None


@dataclass(frozen=True)
class GatewayEvent:
    """A verified callback. A repeat carries the same `event_id`: the inbox holds it once.

    `amount` is what was paid, or what this refund is about. `transaction_id` is the gateway's
    number of the payment, in refund events too.
    """

    event_id: str
    kind: EventKind
    payment_no: str
    refund_no: str | None
    amount: Decimal
    at: datetime
    transaction_id: str


@dataclass(frozen=True)
class BillLine:
    """One movement of money in the gateway's bill; `refund_no` is set for refunds only.

    `final` is False for a refund that was taken up that day and is still on its way.
    """

    kind: BillKind
    payment_no: str
    refund_no: str | None
    amount: Decimal
    at: datetime
    transaction_id: str
    final: bool = True


@dataclass(frozen=True)
class BadLine:
    """A line of the bill that cannot be read. `number` counts the bill's lines from 1; `reason` is
    a word. What stands in the line is not repeated: it may name a payer."""

    number: int
    reason: str


@dataclass(frozen=True)
class Bill:
    """A day's movements by time, and what could not be read of them."""

    lines: tuple[BillLine, ...] = ()
    bad: tuple[BadLine, ...] = ()


class GatewayError(Exception):
    """Something the gateway, or the way to it, did. `code` is a word, fit for logs."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class GatewayUnavailable(GatewayError):
    """No answer: outcome unknown, ask again with the same number."""


class GatewayRefused(GatewayError):
    """A final no: asking again changes nothing."""


class BadSignature(GatewayError):
    """A callback that is forged, or whose signature is more than five minutes old."""


class BadCallback(GatewayError):
    """A callback that is truly the gateway's, but makes no sense."""


class PaymentGateway(Protocol):
    """Every method but `parse_callback` may raise GatewayUnavailable or GatewayRefused."""

    @property
    def channel(self) -> str:
        """The word in `POST /payments`, the notify URL and the ledger."""

    @property
    def needs_payer(self) -> bool:
        """Whether `prepay` must be told who pays."""

    @property
    def bill_zone(self) -> ZoneInfo:
        """In which zone a day of the bill begins."""

    async def prepay(
        self,
        payment_no: str,
        *,
        amount: Decimal,
        description: str,
        expires_at: datetime,
        payer: Payer | None = None,
    ) -> Prepay:
        """Open a payment in CNY. The same number and amount give the same answer (where it is
        signed parameters, the same prepayment signed anew).

        `payment_no` has at most 32 letters, digits, `-` and `_` (the narrowest gateway's limit).
        `description` is a code such as `appointment`; it holds nothing about health.
        GatewayRefused: `amount_differs` when the number is known with another amount,
        `already_expired`; `bad_payer` where a payer is needed and this is none.
        """

    async def query(self, payment_no: str) -> GatewayPayment:
        """What the gateway knows. An unknown number is a state, not an error."""

    async def close(self, payment_no: str) -> GatewayPayment:
        """Let nobody pay any more, and say how it stands now.

        CLOSED: nothing was taken. PAID: the money came first, and stays. UNKNOWN: there was
        nothing to close. A gateway may take money even after CLOSED; it then reports it.
        """

    async def refund(
        self, refund_no: str, *, payment_no: str, amount: Decimal, total: Decimal, reason: str
    ) -> GatewayRefund:
        """Give back `amount` of a payment of `total`. Usually PENDING at first.

        `reason` is a code. The same `refund_no` with the same payment and amount gives the
        refund's present state. GatewayRefused: `unknown_payment`, `not_paid`, `total_differs`,
        `refund_exceeds_paid`, `refund_differs`, `too_late`, `payer_gone`.
        """

    async def query_refund(self, refund_no: str) -> GatewayRefund:
        """What the gateway knows. An unknown number is a state, not an error."""

    @property
    def refused_in_own_form(self) -> bool:
        """Whether the gateway expects `{"code": "FAIL", "message": …}` where a callback of its is
        refused; others get a problem document."""

    def parse_callback(self, headers: Mapping[str, str], body: bytes) -> GatewayEvent:
        """Verify, then read. `body` is what came over the wire, byte by byte.

        Raises BadSignature or BadCallback. A repeat passes: the caller knows it by `event_id`.
        """

    async def bill(self, day: date) -> Bill:
        """Money taken, and refunds made or asked for, on that day (see `bill_zone`). Nothing moved:
        an empty bill. GatewayUnavailable when it is not out yet."""


def to_fen(amount: Decimal) -> int:
    """Yuan → fen. GatewayRefused `bad_amount` unless positive and whole in fen."""
    # The size is looked at first: int() of 1E+999999 would take a while.
    if not amount.is_finite() or amount.adjusted() > 12:
        raise GatewayRefused("bad_amount")
    fen = int(amount.scaleb(2))
    if fen <= 0 or to_yuan(fen) != amount:
        raise GatewayRefused("bad_amount")
    return fen


def to_yuan(fen: int) -> Decimal:
    """Fen → yuan with two places."""
    return Decimal(fen).scaleb(-2)
