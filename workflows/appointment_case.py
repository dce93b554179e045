"""How an appointment moves on, whoever or whatever moves it: one row, one version, one message."""

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.appointment import AppointmentActivities, Extension
    from domain.appointment import (
        CALLED_OFF,
        AppointmentMove,
        AppointmentStatus,
        Booking,
        Reason,
        refund_share,
        refusal,
    )
    from domain.message import Template
    from domain.order import SYSTEM, Actor
    from domain.payment import RefundCause
    from workflows.commands import Command
    from workflows.finishing import finish
    from workflows.money import owe_refund, settle
    from workflows.options import DB_WRITE
    from workflows.telling import tell

S = AppointmentStatus


class OpenAppointment:
    """What every step of `AppointmentWorkflow` is made of."""

    booking: Booking
    status: AppointmentStatus
    version: int
    payment_no: str | None
    pay_by: datetime
    choose_by: datetime | None
    reason: Reason
    replanned: int
    moving: bool

    def _allow(self, to: AppointmentStatus, command: Command) -> None:
        code = refusal(
            self.status,
            to,
            self.booking,
            workflow.now(),
            command.capacity,
            called_off=self.choose_by is not None,
        )
        if code:
            raise ApplicationError(code, str(self.status), type="NotAllowed")

    async def _after_moving(self, to: AppointmentStatus, command: Command) -> None:
        if self.moving:  # and not otherwise: what was just allowed is done before any await
            await self._undisturbed()
            self._allow(to, command)

    async def _undisturbed(self) -> None:
        while self.moving:  # of those that wait, the first to wake may move it again
            await workflow.wait_condition(lambda: not self.moving)

    async def _take_payment(self, payment_no: str) -> None:
        """Whether or not the order can still use it: the decision is made before any await."""
        if self.status is S.PENDING:
            self.payment_no = payment_no
            await self._move(S.CONFIRMED, "paid")
        elif self.payment_no is None:
            self.payment_no = payment_no  # cancelled meanwhile: `_give_back` returns it

    async def _move(
        self,
        to: AppointmentStatus,
        event: str,
        reason: Reason = Reason.NONE,
        by: Actor = SYSTEM,
    ) -> AppointmentStatus:
        # Before the first await, so that the next validator already sees it.
        move = self._next_move(to, event, reason, by)
        self.status, self.reason = to, reason
        return to if await self._write(move) else self.status

    async def _write(self, move: AppointmentMove) -> bool:
        self.version = move.version
        return await finish(self._record(move))

    async def _record(self, move: AppointmentMove) -> bool:
        refused = await workflow.execute_activity_method(
            AppointmentActivities.record_appointment, move, **DB_WRITE
        )
        if refused == CALLED_OFF:  # nothing was written, and nobody came to say so until now
            self.status, self.version = S(move.from_status or self.status), move.version - 1
            self.choose_by = workflow.now()  # there is nothing left to choose
        return refused is None

    async def _give_time(self, until: datetime, by: Actor) -> None:
        self.pay_by = until
        self.replanned += 1
        move = self._next_move(self.status, "extend", Reason.NONE, by)
        self.version = move.version
        await workflow.execute_activity_method(
            AppointmentActivities.record_appointment_extension, Extension(move, until), **DB_WRITE
        )

    def _next_move(
        self, to: AppointmentStatus, event: str, reason: Reason, by: Actor
    ) -> AppointmentMove:
        return AppointmentMove(
            order_no=self.booking.order_no,
            version=self.version + 1,
            event=event,
            from_status=self.status,
            to_status=to,
            at=workflow.now(),
            actor_role=by.role,
            actor_id=by.id,
            reason=reason,
            payment_no=self.payment_no,
            choose_by=self.choose_by,
        )

    async def _stays(self, status: AppointmentStatus, *, until: datetime, timer: str) -> bool:
        """Whether it is still in that status, nothing replanned, when the time comes."""
        plan = self.replanned
        left = until - workflow.now()
        if left > timedelta(0):
            with suppress(TimeoutError):  # the state below says what happened
                await workflow.wait_condition(
                    lambda: self.status is not status or self.replanned != plan,
                    timeout=left,
                    timeout_summary=timer,
                )
        await self._undisturbed()
        return self.status is status and self.replanned == plan

    @property
    def _ahead(self) -> bool:
        """Workers that were away can be late: nobody is reminded of a visit that has begun."""
        return workflow.now() < self.booking.starts_at

    async def _tell_of_no_show(self) -> None:
        suspended = await workflow.execute_activity_method(
            AppointmentActivities.find_suspension, self.booking.order_no, **DB_WRITE
        )
        await self._tell(Template.APPOINTMENT_NO_SHOW)
        if suspended is not None:
            await self._tell(Template.APPOINTMENT_SUSPENDED, suspended)

    async def _tell(self, template: Template, due: datetime | None = None) -> None:
        await finish(tell(self.booking.order_no, template, due))

    async def _give_back(self) -> None:
        """A cancelled order owes what was paid for it, also what is being paid right now."""
        if self.status is not S.CANCELLED:
            return
        if self.payment_no is None and self.reason is not Reason.UNPAID:
            settlement = await settle(self.booking.order_no)
            self.payment_no = settlement.payment_no if settlement.paid else None
        if self.payment_no is not None:
            share = refund_share(self.reason, self.booking)
            await owe_refund(self.payment_no, _cause(self.reason), share)
        await self._tell(_news_of(self.reason))


def _cause(reason: Reason) -> RefundCause:
    return {
        Reason.PATIENT: RefundCause.PATIENT,
        Reason.LATE: RefundCause.LATE,
        Reason.UNPAID: RefundCause.ORDER_CLOSED,
    }.get(reason, RefundCause.CLINIC)


def _news_of(reason: Reason) -> Template:
    return {
        Reason.PATIENT: Template.APPOINTMENT_CANCELLED,
        Reason.LATE: Template.APPOINTMENT_CANCELLED,
        Reason.UNPAID: Template.APPOINTMENT_UNPAID_CLOSED,
    }.get(reason, Template.APPOINTMENT_CANCELLED_BY_CLINIC)
