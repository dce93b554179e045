"""One appointment, from the held source to the visit, the no-show or the cancellation."""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.appointment import AppointmentActivities, Rescheduling
    from domain.access import Capacity
    from domain.appointment import (
        AppointmentStart,
        AppointmentStatus,
        Reason,
        cancel_reason,
        reschedule_refusal,
    )
    from domain.message import Template
    from domain.order import SYSTEM, Actor
    from domain.payment import PaymentReceived, RefundCause
    from domain.stop_clinic import CallOff
    from workflows.appointment_case import OpenAppointment
    from workflows.commands import Command, Extend, Reschedule
    from workflows.finishing import finish
    from workflows.money import owe_refund, settle
    from workflows.operators import Waiting, show, show_place
    from workflows.options import DB_WRITE
    from workflows.telling import tell


S = AppointmentStatus


NOTICED_AT_ONCE = timedelta(minutes=2)  # a timer that is noticed later than this was missed


@workflow.defn
class AppointmentWorkflow(OpenAppointment):
    @workflow.init
    def __init__(self, start: AppointmentStart) -> None:
        self.booking = start.booking
        self.status = start.status
        self.version = start.version
        self.payment_no = start.payment_no
        self.pay_by = start.booking.pay_by
        self.offered = start.offered
        self.offer_window = start.offer_window
        self.choose_by = start.choose_by
        self.reason = start.reason
        self.replanned = 0  # how often a deadline moved or another slot was taken
        self.moving = False  # to another slot: others wait
        self.greeted = False

    @workflow.run
    async def run(self, start: AppointmentStart) -> AppointmentStatus:
        try:
            await self._await_payment()
            while self.status in (S.CONFIRMED, S.CHECKED_IN):
                await self._await_patient()
                await self._await_visit()
            await self._give_back()
        except (asyncio.CancelledError, ActivityError) as error:
            if not is_cancelled_exception(error):
                raise
            await self._end_by_operator()
        show(self.status, None)
        await finish(workflow.wait_condition(workflow.all_handlers_finished))
        return self.status

    # The lifecycle, in order

    async def _await_payment(self) -> None:
        if self.status is S.PENDING and self.offered:
            await self._offer()
        while self.status is S.PENDING:
            show(self.status, Waiting("payment", self.pay_by, "the source is released"))
            if not await self._stays(S.PENDING, until=self.pay_by, timer="payment due"):
                continue  # it moved, or an operator gave more time
            settlement = await settle(self.booking.order_no)
            if settlement.payment_no and settlement.paid:
                await self._take_payment(settlement.payment_no)
            elif self.status is S.PENDING and workflow.now() >= self.pay_by:
                await self._move(S.CANCELLED, "expired", Reason.UNPAID)

    async def _offer(self) -> None:
        """Tell who was first in line. Where most of the time to pay was over before anybody could
        be told (Temporal was away), it begins now."""
        now, window = workflow.now(), self.offer_window
        late = window is not None and self.pay_by - now < window / 2
        if late and window and workflow.patched("an-offer-has-its-window"):
            until = min(now + window, self.booking.starts_at)
            if until <= now:
                return  # the slot has begun: there is nothing to offer
            if until > self.pay_by:
                await finish(self._give_time(until, SYSTEM))
        if self.status is S.PENDING:
            await self._tell(Template.APPOINTMENT_OFFERED, self.pay_by)

    async def _await_patient(self) -> None:
        while self.status is S.CONFIRMED:
            if self.choose_by is not None:
                await self._await_choice(self.choose_by)
            else:
                await self._await_check_in()

    async def _await_check_in(self) -> None:
        booking, plan = self.booking, self.replanned
        show(self.status, Waiting("patient", booking.no_show_at, "it becomes a no-show"))
        if not self.greeted:
            self.greeted = True
            await self._tell(Template.APPOINTMENT_CONFIRMED)
        for due in [at for at in booking.reminders if at > workflow.now()]:
            if plan != self.replanned:
                return
            if await self._stays(S.CONFIRMED, until=due, timer="reminder") and self._ahead:
                await self._tell(Template.APPOINTMENT_REMINDER, due)
        missed = plan == self.replanned and await self._nobody_comes()
        if missed and await self._move(S.NO_SHOW, "missed") is S.NO_SHOW:
            await self._tell_of_no_show()

    async def _nobody_comes(self) -> bool:
        """Until it counts as not coming. Where nobody could have said that they are here, because
        the workers or Temporal were away, there is as much time once more."""
        due = self.booking.no_show_at
        missed = await self._stays(S.CONFIRMED, until=due, timer="no-show")
        late = workflow.now() - due > NOTICED_AT_ONCE
        if missed and late and workflow.patched("time-to-check-in-again"):
            again = workflow.now() + (due - self.booking.starts_at)
            show(self.status, Waiting("patient", again, "it becomes a no-show"))
            missed = await self._stays(S.CONFIRMED, until=again, timer="no-show, once more")
        return missed

    async def _await_choice(self, choose_by: datetime) -> None:
        """The clinic was called off: the patient takes another slot, or has the money back."""
        show(self.status, Waiting("choice", choose_by, "it is cancelled and refunded"))
        if choose_by > workflow.now() or not workflow.patched("no-choice-in-the-past"):
            await self._tell(Template.APPOINTMENT_CALLED_OFF, choose_by)
        if await self._stays(S.CONFIRMED, until=choose_by, timer="choice"):
            await self._move(S.CANCELLED, "cancel", Reason.STOPPED)

    async def _await_visit(self) -> None:
        while self.status is S.CHECKED_IN:
            midnight = self.booking.closes_at
            if self.choose_by is None:
                show(self.status, Waiting("doctor", midnight, "it is completed by itself"))
            else:
                show(self.status, Waiting("desk", midnight, "it is cancelled and refunded"))
            if not await self._stays(S.CHECKED_IN, until=midnight, timer="midnight"):
                continue
            if self.choose_by is None:
                await self._move(S.COMPLETED, "complete", Reason.MIDNIGHT)
            else:
                await self._move(S.CANCELLED, "cancel", Reason.STOPPED)

    # What machines report (signals) and what people ask for (updates)

    @workflow.signal
    async def payment_received(self, payment: PaymentReceived) -> None:
        """Money has arrived. Money that this order cannot use goes back."""
        if self.status is S.PENDING and self.payment_no is None:
            await self._take_payment(payment.payment_no)
        elif payment.payment_no != self.payment_no:
            await owe_refund(payment.payment_no, RefundCause.ORDER_CLOSED)

    @workflow.update
    async def check_in(self, command: Command) -> AppointmentStatus:
        await self._after_moving(S.CHECKED_IN, command)
        return await self._move(S.CHECKED_IN, "check_in", by=command.actor)

    @check_in.validator
    def check_check_in(self, command: Command) -> None:
        self._allow(S.CHECKED_IN, command)

    @workflow.update
    async def complete(self, command: Command) -> AppointmentStatus:
        await self._after_moving(S.COMPLETED, command)
        return await self._move(S.COMPLETED, "complete", by=command.actor)

    @complete.validator
    def check_complete(self, command: Command) -> None:
        self._allow(S.COMPLETED, command)

    @workflow.update
    async def cancel(self, command: Command) -> AppointmentStatus:
        """By the patient before the deadline, by the clinic at any time."""
        await self._after_moving(S.CANCELLED, command)
        reason = cancel_reason(
            self.status,
            self.booking,
            workflow.now(),
            command.capacity,
            called_off=self.choose_by is not None,
        )
        return await self._move(S.CANCELLED, "cancel", reason, by=command.actor)

    @cancel.validator
    def check_cancel(self, command: Command) -> None:
        self._allow(S.CANCELLED, command)

    @workflow.update
    async def reschedule(self, wanted: Reschedule) -> AppointmentStatus:
        """Another slot at the same price: one transaction, while every other command waits."""
        if self.moving:
            await self._undisturbed()
            self.check_reschedule(wanted)
        self.moving = True
        try:
            move = self._next_move(S.CONFIRMED, "reschedule", Reason.NONE, wanted.by.actor)
            outcome = await workflow.execute_activity_method(
                AppointmentActivities.record_reschedule,
                Rescheduling(move, wanted.schedule_id),
                **DB_WRITE,
            )
            if outcome.booking is None:
                if not workflow.patched("a-refusal-takes-no-version"):
                    self.version = move.version  # a row that was written since is ahead by it
                raise ApplicationError(outcome.code, str(self.status), type="NotAllowed")
            self.version = move.version
            self.booking, self.status, self.choose_by = outcome.booking, S.CONFIRMED, None
            self.replanned += 1
        finally:
            self.moving = False
        show_place(self.booking.department_id, self.booking.doctor_id)
        await tell(self.booking.order_no, Template.APPOINTMENT_RESCHEDULED, version=move.version)
        return S.CONFIRMED

    @reschedule.validator
    def check_reschedule(self, wanted: Reschedule) -> None:
        code = reschedule_refusal(
            self.status,
            self.booking,
            workflow.now(),
            wanted.by.capacity,
            called_off=self.choose_by is not None,
        )
        if code:
            raise ApplicationError(code, str(self.status), type="NotAllowed")

    @workflow.update
    async def call_off(self, off: CallOff) -> AppointmentStatus:
        """The clinic does not take place. Unpaid, the order ends here; paid, the patient chooses;
        whoever is here already is told at the desk. An order that left the slot is let alone."""
        await self._undisturbed()
        gone = self.booking.schedule_id not in (0, *off.schedule_ids)
        if not self.status.open or self.choose_by is not None or gone:
            return self.status
        by = Actor.person(Capacity.OPERATOR, off.account_id)
        if self.status is S.PENDING:
            return await self._move(S.CANCELLED, "call_off", Reason.STOPPED, by=by)
        here = self.status is S.CHECKED_IN
        self.choose_by = (
            self.booking.closes_at if here else min(off.choose_by, self.booking.starts_at)
        )
        self.replanned += 1
        move = self._next_move(self.status, "call_off", Reason.STOPPED, by)
        await self._write(move)
        return self.status

    @workflow.update
    async def extend(self, extend: Extend) -> AppointmentStatus:
        await self._give_time(extend.pay_by, extend.by.actor)
        await self._tell(Template.APPOINTMENT_EXTENDED, extend.pay_by)
        return self.status

    @extend.validator
    def check_extend(self, extend: Extend) -> None:
        later = self.pay_by < extend.pay_by <= self.booking.starts_at
        if self.status is not S.PENDING or not later:
            raise ApplicationError("not_allowed", str(self.status), type="NotAllowed")

    async def _end_by_operator(self) -> None:
        """*Cancel* in Temporal's web UI releases what is held and returns what was paid."""
        await self._undisturbed()
        if self.status.open:
            await self._move(S.CANCELLED, "cancel", Reason.TERMINATED)
        await self._give_back()
