"""What the payment lifecycle does: at the gateway, in the rows and in the ledger."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.gateways.payment import (
    GatewayPayment,
    GatewayRefused,
    PaymentGateway,
    PaymentState,
    RefundState,
)
from activities.lifecycles import Lifecycles, NoLifecycle
from db.payable import payment_that_counts
from db.payment import (
    Payment,
    Refund,
    all_went_back,
    find_payment,
    find_refund,
    have_double_looked_at,
    is_overdue,
    money_in_inbox,
    owe_refund,
    owner_of,
    payments_of,
    record_payment,
    record_refund,
    refunds_of,
)
from db.work_item import open_work_item, withdraw_work_item
from domain.hospital import PaymentPolicy, WorkItemPolicy
from domain.order import Move, NumberPrefix, kind_of, new_number
from domain.payment import (
    MoneyTaken,
    PaymentReceived,
    PaymentStatus,
    RefundCause,
    RefundStatus,
    Settlement,
)
from domain.work_item import WorkItemKind, for_desk, with_reminder

# What a gateway says of a refund that it will never make (see PaymentGateway.refund).
NO_REFUND = frozenset(
    {
        "unknown_payment", "not_paid", "total_differs", "refund_exceeds_paid", "refund_differs",
        "too_late", "payer_gone",
    }
)  # fmt: skip


@dataclass(frozen=True)
class PaymentMove:
    """A payment's move, with the money that came in if it did."""

    move: Move
    money: MoneyTaken | None = None


@dataclass(frozen=True)
class OwedRefund:
    """Part of a payment goes back. `share` is of what came in: 1 is all of it."""

    payment_no: str
    cause: RefundCause
    share: Decimal = Decimal(1)


@dataclass(frozen=True)
class PaymentActivities:
    engine: AsyncEngine
    gateways: Mapping[str, PaymentGateway]  # by channel
    lifecycles: Lifecycles
    zone: ZoneInfo  # the hospital's: numbers begin with its date
    count: Callable[[str], None]  # by outcome
    retry_for: timedelta = PaymentPolicy().refund_retry_for  # then a person looks at a refund
    work_items: WorkItemPolicy = field(default_factory=WorkItemPolicy)

    @activity.defn
    async def ask_for_money(self, payment_no: str) -> MoneyTaken | None:
        """Whether money was taken: our inbox first, then the gateway's own answer."""
        async with self.engine.connect() as connection:
            payment = await self._payment(connection, payment_no)
            known = await money_in_inbox(connection, payment_no)
        if known:
            return known
        answer = await self.gateways[payment.channel].query(payment_no)
        return _money(answer)

    @activity.defn
    async def close_payment(self, payment_no: str) -> MoneyTaken | None:
        """Let nobody pay any more. Money that came first is the answer."""
        async with self.engine.connect() as connection:
            payment = await self._payment(connection, payment_no)
        return _money(await self.gateways[payment.channel].close(payment_no))

    @activity.defn
    async def record_payment_move(self, change: PaymentMove) -> bool:
        """Row, ledger and timeline in one commit. Whether the amount was the one asked for."""
        async with self.engine.begin() as connection:
            await record_payment(connection, change.move, change.money)
            payment = await self._payment(connection, change.move.order_no)
        self.count(change.move.event)
        return payment.received == payment.amount

    @activity.defn
    async def deliver_payment(self, payment_no: str) -> RefundCause | None:
        """Tell the order that it is paid. Why the money must go back instead, or None."""
        async with self.engine.connect() as connection:
            payment = await self._payment(connection, payment_no)
        if payment.received != payment.amount:
            return RefundCause.WRONG_AMOUNT
        kind = kind_of(payment.order_no)
        if kind is None:
            raise LookupError(f"payment {payment_no} is for no order")
        try:
            await self.lifecycles.tell(
                kind, payment.order_no, "payment_received", PaymentReceived(payment_no)
            )
        except NoLifecycle:
            async with self.engine.connect() as connection:
                used = await payment_that_counts(connection, payment.order_no)
            return None if used == payment_no else RefundCause.ORDER_CLOSED
        return None

    @activity.defn
    async def settle_order(self, order_no: str) -> Settlement:
        """Have every payment of this order settled or closed, and say whether one was made.

        Money that the gateway took in time counts, however late the news of it is.
        """
        async with self.engine.connect() as connection:
            payments = await payments_of(connection, order_no)
        for payment in payments:
            if payment.status is PaymentStatus.PENDING:
                settled: Settlement = await self.lifecycles.ask(
                    "payment", payment.payment_no, "settle_or_close", result=Settlement
                )
                if settled.paid:
                    return settled
            elif payment.status is PaymentStatus.PAID and payment.received == payment.amount:
                return Settlement(paid=True, payment_no=payment.payment_no)
        return Settlement(paid=False)

    @activity.defn
    async def owe_refund(self, owed: OwedRefund) -> str | None:
        """Promise money back: once per cause, never more than came in. The refund's number."""
        refund_no = new_number(NumberPrefix.REFUND, datetime.now(self.zone).date())
        async with self.engine.begin() as connection:
            return await owe_refund(connection, owed.payment_no, refund_no, owed.cause, owed.share)

    @activity.defn
    async def refunds_to_make(self, payment_no: str) -> tuple[str, ...]:
        async with self.engine.connect() as connection:
            refunds = await refunds_of(connection, payment_no)
        return tuple(r.refund_no for r in refunds if r.status is RefundStatus.PENDING)

    @activity.defn
    async def make_refund(self, refund_no: str) -> RefundStatus:
        """Ask the gateway to give the money back, or how it stands. Safe to repeat: the gateway
        knows the refund by its number. What is final is in the rows before this returns."""
        async with self.engine.connect() as connection:
            refund = await find_refund(connection, refund_no)
            if refund is None or refund.status is RefundStatus.SUCCEEDED:
                return RefundStatus.SUCCEEDED
            if refund.status is RefundStatus.SETTLED_ELSEWHERE:
                return refund.status  # decided since the workflow looked
            payment = await self._payment(connection, refund.payment_no)
            overdue = await is_overdue(connection, refund_no, self.retry_for)
        if overdue:  # before the gateway is asked: it may be away
            async with self.engine.begin() as connection:
                await self._have_looked_at(connection, refund, "overdue")
        try:
            answer = await self.gateways[payment.channel].refund(
                refund_no,
                payment_no=refund.payment_no,
                amount=refund.amount,
                total=payment.received,
                reason=refund.cause,
            )
            state, at = answer.state, answer.finished_at
        except GatewayRefused as refused:
            if refused.code not in NO_REFUND:
                raise  # our keys or our clock: mended some day, and then the money goes back
            activity.logger.error(
                "refund refused", extra={"refund_no": refund_no, "why": refused.code}
            )
            state, at = RefundState.FAILED, None
        if state not in (RefundState.SUCCEEDED, RefundState.FAILED):
            return RefundStatus.PENDING
        status = RefundStatus(state)
        async with self.engine.begin() as connection:
            twice = await record_refund(connection, refund, status, at or datetime.now(UTC))
            if twice:
                await have_double_looked_at(connection, refund_no, self.work_items)
            if status is RefundStatus.FAILED:
                await self._have_looked_at(connection, refund, "failed")
            else:
                await withdraw_work_item(connection, WorkItemKind.REFUND_STUCK, refund_no)
        self.count(f"refund_{status}")
        return status

    @activity.defn
    async def nothing_left(self, payment_no: str) -> bool:
        """Whether all that came in went back."""
        async with self.engine.connect() as connection:
            return await all_went_back(connection, payment_no)

    async def _have_looked_at(self, connection: AsyncConnection, refund: Refund, why: str) -> None:
        """A refund that does not go through by itself waits for an operator, who is not the one
        that gets the money. Once at a time."""
        payer = await owner_of(connection, refund.hospital_id, refund.payment_no)
        desk = for_desk(WorkItemKind.REFUND_STUCK, refund.refund_no, self.work_items.lease)
        stuck = replace(
            with_reminder(desk, datetime.now(UTC) + self.work_items.remind_after),
            order_no=refund.order_no,
            excluded=() if payer is None else (payer,),
            details={
                "why": why,
                "payment_no": refund.payment_no,
                "amount": str(refund.amount),
                "cause": refund.cause,
            },
        )
        await open_work_item(connection, refund.hospital_id, stuck)

    async def _payment(self, connection: AsyncConnection, payment_no: str) -> Payment:
        payment = await find_payment(connection, payment_no)
        if payment is None:
            raise LookupError(f"payment {payment_no} has no row")
        return payment


def _money(answer: GatewayPayment) -> MoneyTaken | None:
    if answer.state is not PaymentState.PAID:
        return None
    if answer.amount is None or answer.paid_at is None:
        raise ValueError(f"the gateway calls {answer.payment_no} paid without saying what and when")
    return MoneyTaken(answer.amount, answer.paid_at, answer.transaction_id or "")
