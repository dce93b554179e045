"""Days of an appointment's life, on a clock that skips."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from temporalio.api.enums.v1 import EventType

from activities.payment import OwedRefund
from domain.access import Capacity
from domain.appointment import AppointmentStatus
from domain.message import Template
from domain.payment import PaymentReceived, RefundCause, Settlement
from tests.support.temporal import count_events, refusal_of, soon
from workflows.appointment import AppointmentWorkflow, Command, Extend

pytestmark = pytest.mark.anyio

S = AppointmentStatus
PATIENT = Command(Capacity.OWNER, 11)
DOCTOR = Command(Capacity.ITS_DOCTOR, 12)
CLINIC = Command(Capacity.OPERATOR, 13)
PAID = PaymentReceived("P-1")
ALL = Decimal(1)
MINUTE = timedelta(minutes=1)
A = AppointmentWorkflow


@pytest.fixture
async def confirmed(world):
    """A paid order two days ahead, and what it was booked as."""
    appointment, start = await world.booked()
    await appointment.signal(A.payment_received, PAID)
    await world.told(Template.APPOINTMENT_CONFIRMED)
    return appointment, start.booking


@pytest.fixture
async def checked_in(world, confirmed):
    appointment, booking = confirmed
    await world.sleep_until(booking.check_in_from)
    await appointment.execute_update(A.check_in, PATIENT)
    return appointment, booking


def near(at, expected):
    """Timers are never early, and late by little."""
    return timedelta(0) <= at - expected < timedelta(seconds=2)


class TestPaying:
    async def test_unpaid_is_cancelled_at_its_deadline(self, world, ending):
        appointment, start = await world.booked()
        assert await ending(appointment) == "cancelled"
        assert world.payments.settled == 1  # asked before it was given up
        assert world.appointments.last.reason == "unpaid"
        assert world.appointments.last.version == 1
        assert near(world.appointments.last.at, start.booking.pay_by)
        await world.told(Template.APPOINTMENT_UNPAID_CLOSED)
        assert world.payments.owed == []

    async def test_money_that_came_in_the_last_second_counts(self, world, ending):
        world.payments.settlement = Settlement(paid=True, payment_no="P-2")
        appointment, start = await world.booked()
        await ending(appointment)
        first = world.appointments.moves[0]
        assert (first.to_status, first.payment_no) == ("confirmed", "P-2")
        assert near(first.at, start.booking.pay_by)

    async def test_the_news_of_money_may_come_while_the_payments_are_asked(self, world, ending):
        asking = world.troubles.hold("settle_order")
        appointment, _ = await world.booked()
        await world.sleep(15 * MINUTE)
        await asking.entered.wait()
        await appointment.signal(A.payment_received, PAID)
        await soon(lambda: world.appointments.statuses == ["confirmed"])
        asking.open()
        await ending(appointment)
        assert world.appointments.statuses == ["confirmed", "no_show"]

    async def test_a_repeated_payment_changes_nothing(self, world, confirmed):
        appointment, _ = confirmed
        await appointment.signal(A.payment_received, PAID)
        await appointment.signal(A.payment_received, PAID)
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        await appointment.result()
        assert world.appointments.statuses == ["confirmed", "cancelled"]
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.PATIENT, ALL)]

    async def test_a_second_payment_goes_back(self, world, confirmed, ending):
        appointment, _ = confirmed
        await appointment.signal(A.payment_received, PaymentReceived("P-2"))
        assert await ending(appointment) == "no_show"
        assert world.payments.owed == [OwedRefund("P-2", RefundCause.ORDER_CLOSED, ALL)]

    async def test_money_for_an_order_that_is_just_cancelled_goes_back(self, world, ending):
        writing = world.troubles.hold("record_appointment")
        appointment, _ = await world.booked()
        cancelling = asyncio.create_task(appointment.execute_update(A.cancel, PATIENT))
        await writing.entered.wait()
        await appointment.signal(A.payment_received, PAID)
        await soon(lambda: world.payments.owed)
        writing.open()
        await cancelling
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.ORDER_CLOSED, ALL)]

    async def test_a_free_order_begins_confirmed(self, world, ending):
        start = replace(await world.new_appointment(), status=S.CONFIRMED)
        appointment = await world.begin(start)
        assert await ending(appointment) == "no_show"
        await world.told(Template.APPOINTMENT_CONFIRMED)
        assert (world.appointments.last.version, world.payments.settled) == (1, 0)

    async def test_a_free_order_that_is_cancelled_owes_nothing(self, world):
        start = replace(await world.new_appointment(), status=S.CONFIRMED)
        appointment = await world.begin(start)
        await appointment.execute_update(A.cancel, PATIENT)
        assert await appointment.result() == "cancelled"
        assert world.payments.owed == []


class TestMoreTime:
    async def test_an_operator_moves_the_deadline(self, world, ending):
        appointment, start = await world.booked()
        later = start.booking.pay_by + timedelta(hours=1)
        assert await appointment.execute_update(A.extend, Extend(CLINIC, later)) == "pending"
        assert (await world.shown(appointment)).due_at == later
        assert await ending(appointment) == "cancelled"
        [extension] = world.appointments.extensions
        assert (extension.pay_by, extension.move.version) == (later, 1)
        assert (extension.move.event, extension.move.actor_id) == ("extend", 13)
        assert near(world.appointments.last.at, later)
        assert world.appointments.last.version == 2
        assert world.payments.settled == 1  # not asked at the old deadline
        await world.told(Template.APPOINTMENT_EXTENDED)
        assert later in [told.due for told in world.messages.told]

    async def test_more_time_may_come_while_the_payments_are_asked(self, world, ending):
        asking = world.troubles.hold("settle_order")
        appointment, start = await world.booked()
        await world.sleep(15 * MINUTE)
        await asking.entered.wait()
        later = start.booking.pay_by + timedelta(hours=1)
        await appointment.execute_update(A.extend, Extend(CLINIC, later))
        asking.open()
        assert await ending(appointment) == "cancelled"
        assert near(world.appointments.last.at, later)

    async def test_no_time_is_given_twice_or_taken_away_or_past_the_visit(self, world):
        appointment, start = await world.booked()
        for pay_by in (
            start.booking.pay_by,
            start.booking.pay_by - MINUTE,
            start.booking.starts_at + MINUTE,
        ):
            refused = await refusal_of(appointment.execute_update(A.extend, Extend(CLINIC, pay_by)))
            assert refused == ("NotAllowed", "not_allowed", "pending")

    async def test_a_paid_order_needs_no_more_time(self, confirmed):
        appointment, booking = confirmed
        refused = await refusal_of(
            appointment.execute_update(A.extend, Extend(CLINIC, booking.starts_at))
        )
        assert refused == ("NotAllowed", "not_allowed", "confirmed")


class TestComing:
    async def test_a_patient_who_never_comes(self, world, confirmed, ending):
        appointment, booking = confirmed
        assert await ending(appointment) == "no_show"
        assert world.appointments.statuses == ["confirmed", "no_show"]
        assert near(world.appointments.last.at, booking.no_show_at)
        await world.told(Template.APPOINTMENT_NO_SHOW)
        assert Template.APPOINTMENT_SUSPENDED not in world.messages.templates

    async def test_who_could_not_say_that_they_are_here_has_as_much_time_once_more(
        self, world, ending
    ):
        """As when the workers were away over the slot's start."""
        start = await world.new_appointment()
        now, half_an_hour = await world.now(), timedelta(minutes=30)
        begun = replace(
            start.booking,
            reminders=(),
            check_in_from=now - 3 * half_an_hour,
            starts_at=now - 2 * half_an_hour,
            no_show_at=now - half_an_hour,
        )
        again = replace(start, booking=begun, status=S.CONFIRMED)
        late = await world.begin(again)
        await world.sleep(20 * MINUTE)
        await late.execute_update(A.check_in, PATIENT)
        assert world.appointments.statuses == ["checked_in"]
        other = await world.new_appointment()
        gone = replace(begun, order_no=other.booking.order_no)
        missed = await world.begin(replace(again, booking=gone))
        at = await world.now()
        assert await ending(missed) == "no_show"
        assert near(world.appointments.last.at, at + half_an_hour)

    async def test_reminders_are_told_when_they_are_due(self, world, confirmed):
        appointment, booking = confirmed
        await appointment.result()
        reminders = [t for t in world.messages.told if t.template is Template.APPOINTMENT_REMINDER]
        assert [told.due for told in reminders] == list(booking.reminders)
        assert all(near(told.at, told.due) for told in reminders)

    async def test_only_reminders_that_are_still_ahead_are_told(self, world):
        start = await world.new_appointment()
        gone, ahead = await world.now() - MINUTE, start.booking.starts_at - MINUTE
        booking = replace(start.booking, reminders=(gone, ahead))
        appointment = await world.begin(replace(start, booking=booking, status=S.CONFIRMED))
        await appointment.result()
        told = [t.due for t in world.messages.told if t.template is Template.APPOINTMENT_REMINDER]
        assert told == [ahead]

    async def test_nobody_is_reminded_of_a_visit_that_has_begun(self, world):
        start = await world.new_appointment()
        late = start.booking.starts_at + MINUTE  # as when the workers were away
        booking = replace(start.booking, reminders=(late,))
        appointment = await world.begin(replace(start, booking=booking, status=S.CONFIRMED))
        assert await appointment.result() == "no_show"
        await world.told(Template.APPOINTMENT_NO_SHOW)
        assert Template.APPOINTMENT_REMINDER not in world.messages.templates

    async def test_a_no_show_that_suspends_is_told_so(self, world, confirmed, ending):
        appointment, booking = confirmed
        until = world.appointments.suspended_until = booking.starts_at + timedelta(days=90)
        assert await ending(appointment) == "no_show"
        await world.told(Template.APPOINTMENT_NO_SHOW, Template.APPOINTMENT_SUSPENDED)
        assert until in [told.due for told in world.messages.told]

    async def test_check_in_opens_half_an_hour_before(self, world, confirmed):
        appointment, booking = confirmed
        await world.sleep_until(booking.check_in_from - MINUTE)
        refused = await refusal_of(appointment.execute_update(A.check_in, PATIENT))
        assert refused == ("NotAllowed", "check_in_not_open", "confirmed")
        await world.sleep_until(booking.check_in_from)
        assert await appointment.execute_update(A.check_in, PATIENT) == "checked_in"

    async def test_a_late_patient_may_check_in_until_the_no_show(self, world, confirmed):
        appointment, booking = confirmed
        await world.sleep_until(booking.no_show_at - MINUTE)
        assert await appointment.execute_update(A.check_in, PATIENT) == "checked_in"
        assert world.appointments.last.at > booking.starts_at  # goes to the end of the queue

    async def test_a_visit_is_completed_by_its_doctor(self, world, checked_in, ending):
        appointment, _ = checked_in
        assert await appointment.execute_update(A.complete, DOCTOR) == "completed"
        assert await ending(appointment) == "completed"
        assert world.appointments.statuses == ["confirmed", "checked_in", "completed"]
        assert [move.version for move in world.appointments.moves] == [1, 2, 3]
        assert (world.appointments.last.actor_role, world.appointments.last.actor_id) == (
            "doctor",
            12,
        )

    async def test_a_visit_nobody_completes_is_completed_at_midnight(
        self, world, checked_in, ending
    ):
        appointment, booking = checked_in
        assert await ending(appointment) == "completed"
        assert world.appointments.last.reason == "midnight"
        assert near(world.appointments.last.at, booking.closes_at)

    async def test_who_is_not_there_is_not_completed(self, confirmed):
        appointment, _ = confirmed
        refused = await refusal_of(appointment.execute_update(A.complete, DOCTOR))
        assert refused == ("NotAllowed", "not_allowed", "confirmed")


class TestCancelling:
    async def test_by_the_patient_in_time_all_goes_back(self, world, confirmed, ending):
        appointment, booking = confirmed
        await world.sleep_until(booking.cancel_by - MINUTE)
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert world.appointments.last.reason == "patient"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.PATIENT, ALL)]
        await world.told(Template.APPOINTMENT_CANCELLED)
        assert world.payments.settled == 0

    async def test_by_the_patient_too_late_is_refused(self, world, confirmed):
        appointment, booking = confirmed
        await world.sleep_until(booking.cancel_by)
        refused = await refusal_of(appointment.execute_update(A.cancel, PATIENT))
        assert refused == ("NotAllowed", "late_cancel", "confirmed")

    async def test_by_the_patient_late_a_share_goes_back_where_promised(self, world, ending):
        appointment, start = await world.resumed(S.CONFIRMED, 1, late_refund_share=Decimal("0.30"))
        await world.sleep_until(start.booking.cancel_by)
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.LATE, Decimal("0.30"))]

    async def test_money_on_its_way_goes_back_too(self, world, ending):
        world.payments.settlement = Settlement(paid=True, payment_no="P-9")
        appointment, _ = await world.booked()
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-9", RefundCause.PATIENT, ALL)]

    async def test_a_payment_that_was_closed_unpaid_owes_nothing(self, world):
        world.payments.settlement = Settlement(paid=False, payment_no="P-9")
        appointment, _ = await world.booked()
        await appointment.execute_update(A.cancel, PATIENT)
        await appointment.result()
        assert world.payments.owed == []

    @pytest.mark.parametrize(
        ("status", "version", "payment_no"),
        [(S.PENDING, 0, None), (S.CONFIRMED, 1, "P-1"), (S.CHECKED_IN, 2, "P-1")],
        ids=["pending", "confirmed", "checked_in"],
    )
    async def test_by_the_clinic_at_any_time(self, world, ending, status, version, payment_no):
        appointment, start = await world.resumed(status, version, payment_no)
        if status is not S.PENDING:
            await world.sleep_until(start.booking.starts_at)  # far too late for a patient
        assert await appointment.execute_update(A.cancel, CLINIC) == "cancelled"
        assert await ending(appointment) == "cancelled"
        last = world.appointments.last
        assert (last.reason, last.actor_role, last.version) == ("clinic", "operator", version + 1)
        owed = [OwedRefund("P-1", RefundCause.CLINIC, ALL)] if payment_no else []
        assert world.payments.owed == owed
        await world.told(Template.APPOINTMENT_CANCELLED_BY_CLINIC)

    async def test_who_is_there_already_cannot_cancel(self, checked_in):
        appointment, _ = checked_in
        refused = await refusal_of(appointment.execute_update(A.cancel, PATIENT))
        assert refused == ("NotAllowed", "not_allowed", "checked_in")


class TestShowing:
    async def test_operators_see_whom_an_order_waits_for(self, world, confirmed):
        appointment, booking = confirmed
        waiting = await world.shown(appointment)
        assert (waiting.status, waiting.waiting_for) == ("confirmed", "patient")
        assert waiting.due_at == booking.no_show_at
        assert "no-show" in waiting.details
        await world.sleep_until(booking.check_in_from)
        await appointment.execute_update(A.check_in, PATIENT)
        waiting = await world.shown(appointment)
        assert (waiting.status, waiting.waiting_for) == ("checked_in", "doctor")
        assert waiting.due_at == booking.closes_at
        await appointment.execute_update(A.complete, DOCTOR)
        await appointment.result()
        ended = await world.shown(appointment)
        assert (ended.status, ended.waiting_for, ended.due_at) == ("completed", None, None)
        assert ended.details == "**completed**: nothing more will happen."

    async def test_what_it_was_started_with_is_not_said_again(self, world):
        appointment, start = await world.booked()
        waiting = await world.shown(appointment)
        assert (waiting.status, waiting.waiting_for) == ("pending", "payment")
        assert waiting.due_at == start.booking.pay_by
        assert waiting.details.startswith("**pending**: waiting for **payment** since ")
        upserts = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
        assert await count_events(appointment, upserts) == 0
        await appointment.result()
        assert await count_events(appointment, upserts) == 1
