"""One online consultation, from the order to the doctor's conclusion, or the money's way back."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.consultation import ConsultationActivities, Expected, Ringing
    from domain.access import Capacity
    from domain.consultation import (
        BY_ITSELF,
        Ask,
        ConsultationStart,
        ConsultationStatus,
        Due,
        Reason,
        Step,
        Way,
        next_step,
    )
    from domain.consultation.changes import (
        accepted,
        evidence_given,
        evidence_wanted,
        given_until,
        paid,
        prolonged,
        reassigned,
        silence_is_free,
        somebody_came_or_left,
        switched,
    )
    from domain.consultation.endings import news_of, refund_cause
    from domain.message import Template
    from domain.order import SYSTEM, Actor
    from domain.payment import PaymentReceived, RefundCause
    from domain.phone_call import CallEnded
    from workflows.commands import (
        ByDoctor,
        Command,
        Extend,
        Presence,
        Reassigned,
        Switched,
        Written,
    )
    from workflows.consultation_call import CallingCase
    from workflows.finishing import finish
    from workflows.money import owe_refund, settle
    from workflows.operators import Waiting, show, show_place
    from workflows.options import DB_WRITE

S = ConsultationStatus


@workflow.defn
class ConsultationWorkflow(CallingCase):
    @workflow.init
    def __init__(self, start: ConsultationStart) -> None:
        self.case = start.case
        self.progress = start.progress

    @workflow.run
    async def run(self, start: ConsultationStart) -> ConsultationStatus:
        """One promise after another (`next_step`), until somebody's command ends it."""
        try:
            await self._tell_of_what_is_free()
            while self.progress.status.open:
                due = next_step(self.case, self.progress)
                show(self.progress.status, Waiting(due.waiting_for, due.at, BY_ITSELF[due.step]))
                if await self._nothing_happens(due):
                    await self._keep(due.step)
            await self._give_back()
        except (asyncio.CancelledError, ActivityError) as error:
            if not is_cancelled_exception(error):
                raise
            await self._end_by_operator()
        show(self.progress.status, None)
        await finish(workflow.wait_condition(workflow.all_handlers_finished))
        return self.progress.status

    async def _nothing_happens(self, due: Due) -> bool:
        """Whether it is still as it was when the time comes."""
        before = self.progress
        left = due.at - workflow.now()
        if left > timedelta(0):
            with suppress(TimeoutError):  # the state below says what happened
                await workflow.wait_condition(
                    lambda: self.progress is not before,
                    timeout=left,
                    timeout_summary=due.step.replace("_", " "),
                )
        return self.progress is before

    # What happens by itself

    async def _keep(self, step: Step) -> None:
        match step:
            case Step.CLOSE_UNPAID:
                await self._close_unpaid()
            case Step.RING:
                await self._ring()
            case Step.REMIND_DOCTOR:
                await self._move("remind", reminded=self.progress.reminded + 1)
                await self._tell_doctor(Template.CONSULTATION_WAITING)
            case Step.GIVE_UP_EVIDENCE:
                await self._come_to_nothing("expired", Reason.NO_EVIDENCE)
            case Step.GIVE_UP_WAITING:
                await self._come_to_nothing("expired", Reason.NOT_ACCEPTED)
            case Step.DOCTOR_ABSENT:
                await self._miss_the_doctor()
            case Step.ASK_TO_CONCLUDE:
                await self._move("ask_to_conclude", left_at=None)
                await self._tell_doctor(Template.CONSULTATION_CONCLUDE)
            case Step.REDIAL:
                await self._dial(SYSTEM)
            case Step.SETTLE_CALL:
                await self._settle_call()
            case Step.END_WINDOW:
                await self._end_window()

    async def _tell_of_what_is_free(self) -> None:
        """No payment comes that would tell the doctor of it. Told again it is the same message."""
        p = self.progress
        if p.version == 0 and p.paid_at is not None and self.case.way is Way.NAMED:
            await self._tell_doctor(Template.CONSULTATION_WAITING)

    async def _close_unpaid(self) -> None:
        settlement = await settle(self.case.order_no)
        if settlement.payment_no and settlement.paid:
            await self._take_payment(settlement.payment_no)
        elif (
            self.progress.status is S.PENDING
            and self.progress.paid_at is None
            and workflow.now() >= self.progress.pay_by
        ):
            await self._come_to_nothing("expired", Reason.UNPAID)

    async def _take_payment(self, payment_no: str) -> None:
        """Whether or not the order can still use it: the decision is made before any await."""
        p = self.progress
        if p.status is S.PENDING and p.paid_at is None:
            await self._move("paid", **paid(self.case, payment_no, workflow.now()))
            if self.case.way is Way.NAMED:
                await self._tell_doctor(Template.CONSULTATION_WAITING)
        elif p.payment_no is None:
            # Cancelled meanwhile: `_give_back` returns it.
            self.progress = replace(p, payment_no=payment_no)

    async def _miss_the_doctor(self) -> None:
        """Who came in time has come, however late the news of it."""
        before = self.progress
        since = before.begins_at or workflow.now()
        came = await workflow.execute_activity_method(
            ConsultationActivities.doctor_came, Expected(self.case.order_no, since), **DB_WRITE
        )
        if self.progress is not before:
            return  # something happened meanwhile
        if came:
            self.progress = replace(before, answered=True, came=True)
        else:
            await self._come_to_nothing("missed", Reason.DOCTOR_ABSENT)

    async def _end_window(self) -> None:
        """An answer that was written in time counts, however late the news of it."""
        before = self.progress
        if not before.answered:
            written = await workflow.execute_activity_method(
                ConsultationActivities.has_answered, self.case.order_no, **DB_WRITE
            )
            if self.progress is not before:
                return  # something happened meanwhile
            self.progress = replace(before, answered=written)
        status, reason = silence_is_free(self.case, self.progress)
        await self._end(status, "window_over", reason)

    async def _ring(self) -> None:
        """One doctor on duty after another, each for a while; then all of them at once."""
        ringing: Ringing = await workflow.execute_activity_method(
            ConsultationActivities.next_to_ring,
            Ringing(self.case.order_no, self.progress.rung),
            **DB_WRITE,
        )
        if self.progress.status is not S.PENDING:
            return  # accepted or cancelled meanwhile
        again = workflow.now() + self.case.terms.ring_for
        p = self.progress
        wanted = [doctor for doctor in ringing.doctors if doctor not in p.declined]
        rung = p.rung + tuple(doctor for doctor in wanted if doctor not in p.rung)
        await self._move("ring", rung=rung, ring_at=again)
        for doctor_id in wanted:
            await self._tell_doctor(Template.CONSULTATION_RING, doctor_id)

    async def _give_back(self) -> None:
        """What was paid for an order that came to nothing, also what is being paid right now."""
        p = self.progress
        if p.status is S.COMPLETED:
            await self._tell(Template.CONSULTATION_COMPLETED)
            return
        payment_no = p.payment_no
        if payment_no is None and p.reason is not Reason.UNPAID:
            settlement = await settle(self.case.order_no)
            payment_no = settlement.payment_no if settlement.paid else None
        if payment_no is not None:
            await owe_refund(payment_no, refund_cause(p.reason))
        await self._tell(news_of(p.reason))

    async def _end_by_operator(self) -> None:
        """*Cancel* in Temporal's web UI returns what was paid."""
        if self.progress.status.open:
            await self._come_to_nothing("cancel", Reason.TERMINATED)
        await self._give_back()

    # What machines report

    @workflow.signal
    async def payment_received(self, payment: PaymentReceived) -> None:
        """Money has arrived. Money that this order cannot use goes back."""
        p = self.progress
        if p.status is S.PENDING and p.paid_at is None:
            await self._take_payment(payment.payment_no)
        elif payment.payment_no != p.payment_no:
            await owe_refund(payment.payment_no, RefundCause.ORDER_CLOSED)

    @workflow.signal
    async def answered(self) -> None:
        """The doctor wrote for the first time."""
        if self.progress.status is S.CONSULTING and not self.progress.answered:
            await self._move("answered", answered=True)
            await self._tell(Template.CONSULTATION_ANSWERED)

    @workflow.signal
    async def presence(self, seen: Presence) -> None:
        """Somebody came to the video call, or left it."""
        p, now = self.progress, workflow.now()
        if p.status is S.CONSULTING:
            changed = somebody_came_or_left(self.case, p, seen.role, here=seen.present, now=now)
            by = Actor(seen.role, p.doctor_account_id if seen.role == "doctor" else None)
            await self._move("joined" if seen.present else "left", by=by, **changed)

    @workflow.signal(name="call_ended")
    async def hear_call_ended(self, ended: CallEnded) -> None:
        await self._hear(ended)

    # What people ask for

    @workflow.update
    async def accept(self, wanted: ByDoctor) -> ConsultationStatus:
        self._check(Ask.ACCEPT, doctor_id=wanted.doctor_id, judgement=wanted.note_id)
        changed = accepted(self.case, wanted.doctor_id, wanted.by.account_id, workflow.now())
        await self._move("accept", by=wanted.by.actor, note_id=wanted.note_id, **changed)
        show_place(self.case.department_id, wanted.doctor_id)
        await self._tell(Template.CONSULTATION_ACCEPTED)
        return self.progress.status

    @accept.validator
    def check_accept(self, wanted: ByDoctor) -> None:
        self._check(Ask.ACCEPT, doctor_id=wanted.doctor_id, judgement=wanted.note_id)

    @workflow.update
    async def decline(self, wanted: ByDoctor) -> ConsultationStatus:
        """Whoever was asked by name sends the money back; whoever was rung, the next is rung."""
        by = wanted.by.actor
        if self.case.way is not Way.EMERGENCY:
            return await self._come_to_nothing("decline", Reason.DECLINED, by, wanted.note_id)
        await self._move(
            "decline",
            by=by,
            note_id=wanted.note_id,
            ring_at=workflow.now(),
            declined=(*self.progress.declined, wanted.doctor_id),
        )
        return self.progress.status

    @decline.validator
    def check_decline(self, wanted: ByDoctor) -> None:
        self._check(Ask.DECLINE, doctor_id=wanted.doctor_id)

    @workflow.update
    async def ask_evidence(self, wanted: ByDoctor) -> ConsultationStatus:
        """Once: the time to accept stands still until the patient has sent what is missing."""
        changed = evidence_wanted(self.case, self.progress, workflow.now())
        await self._move("ask_evidence", by=wanted.by.actor, note_id=wanted.note_id, **changed)
        await self._tell(Template.CONSULTATION_EVIDENCE_WANTED)
        return self.progress.status

    @ask_evidence.validator
    def check_ask_evidence(self, wanted: ByDoctor) -> None:
        self._check(Ask.ASK_EVIDENCE, doctor_id=wanted.doctor_id)

    @workflow.update
    async def give_evidence(self, wanted: Written) -> ConsultationStatus:
        changed = evidence_given(self.case, self.progress, workflow.now())
        await self._move("give_evidence", by=wanted.by.actor, note_id=wanted.note_id, **changed)
        await self._tell_doctor(Template.CONSULTATION_WAITING)
        return self.progress.status

    @give_evidence.validator
    def check_give_evidence(self, wanted: Written) -> None:
        self._check(Ask.GIVE_EVIDENCE)

    @workflow.update
    async def prolong(self, by: Command) -> ConsultationStatus:
        """By the doctor, so many times."""
        changed = prolonged(self.case, self.progress, workflow.now())
        await self._move("prolong", by=by.actor, **changed)
        await self._tell(Template.CONSULTATION_PROLONGED)
        return self.progress.status

    @prolong.validator
    def check_prolong(self, by: Command) -> None:
        self._check(Ask.EXTEND)

    @workflow.update
    async def call(self, by: Command) -> ConsultationStatus:
        await self._dial(by.actor)
        return self.progress.status

    @call.validator
    def check_call(self, by: Command) -> None:
        self._check(Ask.CALL)

    @workflow.update
    async def switch(self, wanted: Switched) -> ConsultationStatus:
        """The video call would not work: they go on by phone or text."""
        changed = switched(self.case, self.progress, wanted.form, workflow.now())
        await self._move("switch", by=wanted.by.actor, **changed)
        return self.progress.status

    @switch.validator
    def check_switch(self, wanted: Switched) -> None:
        self._check(Ask.SWITCH)

    @workflow.update
    async def complete(self, wanted: Written) -> ConsultationStatus:
        """With diagnosis and advice, which are in the note."""
        return await self._end(
            S.COMPLETED, "complete", Reason.NONE, wanted.by.actor, wanted.note_id
        )

    @complete.validator
    def check_complete(self, wanted: Written) -> None:
        self._check(Ask.COMPLETE)

    @workflow.update
    async def unsuitable(self, wanted: Written) -> ConsultationStatus:
        """转线下: it must be seen at a physical hospital, and costs nothing (R04)."""
        return await self._come_to_nothing(
            "unsuitable", Reason.UNSUITABLE, wanted.by.actor, wanted.note_id
        )

    @unsuitable.validator
    def check_unsuitable(self, wanted: Written) -> None:
        self._check(Ask.UNSUITABLE)

    @workflow.update
    async def cancel(self, by: Command) -> ConsultationStatus:
        """By the patient until a doctor accepts, by the clinic at any time."""
        reason = Reason.PATIENT if by.capacity is Capacity.OWNER else Reason.CLINIC
        return await self._come_to_nothing("cancel", reason, by.actor, by.note_id)

    @cancel.validator
    def check_cancel(self, by: Command) -> None:
        self._check(Ask.CANCEL, by_patient=by.capacity is Capacity.OWNER)

    @workflow.update
    async def extend(self, extend: Extend) -> ConsultationStatus:
        """An operator gives more time for what it waits for now: payment, a doctor, the window."""
        changed = given_until(self.progress, extend.pay_by)
        await self._move("extend", by=extend.by.actor, **changed)
        return self.progress.status

    @extend.validator
    def check_extend(self, extend: Extend) -> None:
        if not self.progress.status.open or extend.pay_by <= workflow.now():
            raise ApplicationError("not_allowed", str(self.progress.status), type="NotAllowed")

    @workflow.update
    async def reassign(self, wanted: Reassigned) -> ConsultationStatus:
        """By the clinic: another doctor is asked."""
        changed = reassigned(self.progress, wanted.doctor_id, workflow.now())
        await self._move("reassign", by=wanted.by.actor, **changed)
        show_place(self.case.department_id, wanted.doctor_id)
        if self.progress.paid_at is not None and self.progress.evidence_by is None:
            await self._tell_doctor(Template.CONSULTATION_WAITING)
        return self.progress.status

    @reassign.validator
    def check_reassign(self, wanted: Reassigned) -> None:
        self._check(Ask.REASSIGN)
