"""One payment, from the prepay to the last refund.

It ends whenever there is nothing to do, and is started again from its row by the next callback or
refund: the rows and the gateway hold what lasts.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.payment import OwedRefund, PaymentActivities, PaymentMove
    from domain.message import Template
    from domain.order import GATEWAY as BY_GATEWAY
    from domain.order import SYSTEM, Actor, Move
    from domain.payment import (
        MoneyTaken,
        PaymentStart,
        PaymentStatus,
        RefundCause,
        RefundStatus,
        Settlement,
    )
    from workflows.commands import RefundNews
    from workflows.operators import Waiting, show
    from workflows.options import DB_WRITE, GATEWAY, REFUND
    from workflows.telling import tell

from workflows.finishing import finish

S = PaymentStatus
# Banks take days: asked every minute, a history would reach Temporal's limit (50,000 events) first.
SLOWEST_POLL = timedelta(hours=1)


@workflow.defn
class PaymentWorkflow:
    @workflow.init
    def __init__(self, start: PaymentStart) -> None:
        self.start = start
        self.status = start.status
        self.version = start.version
        self.news: MoneyTaken | None = None  # from a callback
        self.right_amount = start.right_amount
        self.settle_wanted = False
        self.heard_of_refund = False
        self.heard = 0  # signals: none may come between the last look and the end
        self.handled = -1  # of them

    @workflow.run
    async def run(self, start: PaymentStart) -> PaymentStatus:
        while self.handled != self.heard:
            try:
                await self._await_money()
                self.handled = self.heard  # what comes from here on may need another round
                await self._hand_over()
                await self._pay_back()
                show(self.status, None)
                await workflow.wait_condition(workflow.all_handlers_finished)
            except (asyncio.CancelledError, ActivityError) as error:
                self._settle_by_operator(error)
        return self.status

    # The lifecycle, in order

    async def _await_money(self) -> None:
        if self.status is S.PENDING:
            until = self.start.settle_at
            show(self.status, Waiting("payment", until, "the gateway is asked, then it is closed"))
            with suppress(TimeoutError):  # the state below says what happened
                await workflow.wait_condition(
                    lambda: self.news is not None or self.settle_wanted,
                    timeout=max(until - workflow.now(), timedelta(0)),
                    timeout_summary="settle",
                )
        if self.news is None and self.status is S.PENDING:
            self.news = await self._settle()
        if self.news is not None and self.status in (S.PENDING, S.CLOSED):
            await finish(self._take(self.news))

    async def _hand_over(self) -> None:
        """The order is told; an order that is closed cannot use the money, so it goes back."""
        if self.status is not S.PAID:
            return
        useless: RefundCause | None = await workflow.execute_activity_method(
            PaymentActivities.deliver_payment, self.start.payment_no, **DB_WRITE
        )
        if useless is not None:
            owed = OwedRefund(self.start.payment_no, useless, Decimal(1))
            await workflow.execute_activity_method(PaymentActivities.owe_refund, owed, **DB_WRITE)

    async def _pay_back(self) -> None:
        """Make every refund that is owed, until the gateway has said its last word on each."""
        overdue = workflow.now() + self.start.refund_retry_for
        pause = self.start.refund_poll
        while refunds := await self._refunds_to_make():
            show(self.status, _whom_refunds_wait_for(overdue))
            unfinished = [no for no in refunds if await self._refund(no) is RefundStatus.PENDING]
            if unfinished:
                await self._hear_of_refund(pause)
                pause = min(2 * pause, SLOWEST_POLL)
        if self.status is S.PAID and await workflow.execute_activity_method(
            PaymentActivities.nothing_left, self.start.payment_no, **DB_WRITE
        ):
            await finish(self._move(S.REFUNDED, "refunded", BY_GATEWAY))

    # What machines report (signals) and what the order asks for (an update)

    @workflow.signal
    def money_taken(self, money: MoneyTaken) -> None:
        """A verified callback. Repeats change nothing; the money is in the ledger once."""
        self.news = self.news or money
        self.heard += 1

    @workflow.signal
    def refund_owed(self, news: RefundNews) -> None:
        self.heard += 1
        self.heard_of_refund = True

    @workflow.signal
    def refund_finished(self, news: RefundNews) -> None:
        self.heard += 1
        self.heard_of_refund = True

    @workflow.update
    async def settle_or_close(self) -> Settlement:
        """The last word: paid in time, or closed so that nobody can pay any more."""
        self.settle_wanted = True
        await workflow.wait_condition(lambda: self.status is not S.PENDING)
        paid = self.status is S.PAID and self.right_amount
        return Settlement(paid, self.start.payment_no)

    # How it is done

    def _settle_by_operator(self, error: BaseException) -> None:
        """*Cancel* in Temporal's web UI settles now. Money is never dropped: what came in, or is
        owed, goes its way as ever."""
        if not is_cancelled_exception(error):
            raise error
        self.settle_wanted = True
        self.handled = -1

    async def _settle(self) -> MoneyTaken | None:
        payment_no = self.start.payment_no
        taken = await workflow.execute_activity_method(
            PaymentActivities.ask_for_money, payment_no, **GATEWAY
        )
        if taken is None:
            taken = await workflow.execute_activity_method(
                PaymentActivities.close_payment, payment_no, **GATEWAY
            )
        if taken is None and self.news is None:
            await finish(self._move(S.CLOSED, "closed", SYSTEM))
        return self.news or taken

    async def _refunds_to_make(self) -> tuple[str, ...]:
        self.heard_of_refund = False  # before the look: what is owed after it is heard of
        return await workflow.execute_activity_method(
            PaymentActivities.refunds_to_make, self.start.payment_no, **DB_WRITE
        )

    async def _refund(self, refund_no: str) -> RefundStatus:
        try:
            status = await workflow.execute_activity_method(
                PaymentActivities.make_refund, refund_no, **REFUND
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return RefundStatus.PENDING  # the gateway is away: nothing is known, ask again later
        if status is RefundStatus.SUCCEEDED:
            # Its row promised the same fact. A worker of the release before wrote a row that did
            # not, and may still be at it.
            await finish(tell(refund_no, Template.PAYMENT_REFUNDED))
        return status

    async def _hear_of_refund(self, patience: timedelta) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self.heard_of_refund,
                timeout=patience,
                timeout_summary="ask about the refund",
            )

    async def _take(self, money: MoneyTaken) -> None:
        self.right_amount = await self._move(S.PAID, "paid", BY_GATEWAY, money)

    async def _move(
        self, to: PaymentStatus, event: str, by: Actor, money: MoneyTaken | None = None
    ) -> bool:
        self.version += 1
        move = Move(
            order_no=self.start.payment_no,
            version=self.version,
            event=event,
            from_status=self.status,
            to_status=to,
            at=workflow.now(),
            actor_role=by.role,
        )
        right = await workflow.execute_activity_method(
            PaymentActivities.record_payment_move, PaymentMove(move, money), **DB_WRITE
        )
        self.status = to  # after the row: whoever waits for the settlement may read it
        return right


def _whom_refunds_wait_for(overdue: datetime) -> Waiting:
    if workflow.now() < overdue:
        return Waiting("gateway", overdue, "an operator should look")
    return Waiting("operator", overdue, "the gateway is asked again")
