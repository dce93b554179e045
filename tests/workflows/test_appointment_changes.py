"""Another slot, an offer from the line, a clinic that is called off: on a clock that skips."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from activities.appointment import Rescheduled
from activities.payment import OwedRefund
from domain.access import Capacity
from domain.appointment import AppointmentStatus
from domain.message import Template
from domain.payment import PaymentReceived, RefundCause, Settlement
from domain.stop_clinic import CallOff
from tests.support.temporal import refusal_of, soon
from workflows.appointment import AppointmentWorkflow, Command, Reschedule

pytestmark = pytest.mark.anyio

S = AppointmentStatus
A = AppointmentWorkflow
PATIENT = Command(Capacity.OWNER, 11)
CLINIC = Command(Capacity.OPERATOR, 13)
ELSEWHERE = Reschedule(PATIENT, 8)
PAID = PaymentReceived("P-1")
ALL = Decimal(1)
DAY = timedelta(days=1)


def later(booking, days=1, schedule_id=8):
    """The same order some days later, with everything that follows from it."""
    moved = timedelta(days=days)
    return replace(
        booking,
        schedule_id=schedule_id,
        doctor_id=9,
        starts_at=booking.starts_at + moved,
        cancel_by=booking.cancel_by + moved,
        check_in_from=booking.check_in_from + moved,
        no_show_at=booking.no_show_at + moved,
        closes_at=booking.closes_at + moved,
        reminders=tuple(at + moved for at in booking.reminders),
    )


def stop(booking, *, within=DAY):
    """The clinic is called off now."""
    return CallOff((booking.schedule_id,), booking.starts_at - 2 * DAY + within, 13)


@pytest.fixture
async def confirmed(world):
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


class TestRescheduling:
    async def test_reminders_and_no_show_are_those_of_the_new_slot(self, world, confirmed, ending):
        appointment, booking = confirmed
        new = later(booking)
        world.appointments.rescheduled = Rescheduled("moved", new)
        assert await appointment.execute_update(A.reschedule, ELSEWHERE) == "confirmed"
        assert (await world.shown(appointment)).due_at == new.no_show_at
        assert await ending(appointment) == "no_show"
        await world.told(Template.APPOINTMENT_RESCHEDULED)
        reminded = [
            told.due
            for told in world.messages.told
            if told.template is Template.APPOINTMENT_REMINDER
        ]
        assert reminded == list(new.reminders)
        assert timedelta(0) <= world.appointments.last.at - new.no_show_at < timedelta(seconds=2)
        assert world.messages.templates.count(Template.APPOINTMENT_CONFIRMED) == 1

    async def test_a_slot_that_is_gone_is_refused_and_nothing_changes(
        self, world, confirmed, ending
    ):
        appointment, booking = confirmed
        refused = await refusal_of(appointment.execute_update(A.reschedule, ELSEWHERE))
        assert refused == ("NotAllowed", "slot_full", "confirmed")
        assert (await world.shown(appointment)).due_at == booking.no_show_at
        assert await ending(appointment) == "no_show"

    async def test_a_refusal_takes_no_version(self, world, confirmed, ending):
        appointment, _ = confirmed
        await refusal_of(appointment.execute_update(A.reschedule, ELSEWHERE))
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert [move.version for move in world.appointments.moves] == [1, 2]

    async def test_after_the_deadline_it_is_too_late(self, world, confirmed, ending):
        appointment, booking = confirmed
        await world.sleep_until(booking.cancel_by)
        refused = await refusal_of(appointment.execute_update(A.reschedule, ELSEWHERE))
        assert refused == ("NotAllowed", "late_reschedule", "confirmed")
        assert await ending(appointment) == "no_show"
        assert world.appointments.wishes == []

    async def test_an_unpaid_order_is_not_moved(self, world, ending):
        appointment, _ = await world.booked()
        refused = await refusal_of(appointment.execute_update(A.reschedule, ELSEWHERE))
        assert refused == ("NotAllowed", "not_allowed", "pending")
        assert await ending(appointment) == "cancelled"

    async def test_the_new_deadline_counts_for_the_next_time(self, world, confirmed, ending):
        appointment, booking = confirmed
        world.appointments.rescheduled = Rescheduled("moved", later(booking))
        await appointment.execute_update(A.reschedule, ELSEWHERE)
        await world.sleep_until(booking.cancel_by)
        world.appointments.rescheduled = Rescheduled("moved", later(booking, 3))
        await appointment.execute_update(A.reschedule, ELSEWHERE)
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert [wish.move.version for wish in world.appointments.wishes] == [2, 3]

    async def test_a_cancellation_waits_until_the_move_is_decided(self, world, confirmed, ending):
        appointment, booking = confirmed
        world.appointments.rescheduled = Rescheduled("moved", later(booking))
        moving = world.troubles.hold("record_reschedule")
        first = asyncio.create_task(appointment.execute_update(A.reschedule, ELSEWHERE))
        await moving.entered.wait()
        second = asyncio.create_task(appointment.execute_update(A.cancel, PATIENT))
        await world.idle_updates(appointment, 2)
        assert world.appointments.statuses == ["confirmed"]
        moving.open()
        assert (await first, await second) == ("confirmed", "cancelled")
        assert await ending(appointment) == "cancelled"
        assert world.appointments.last.version == 3

    async def test_of_many_that_wait_each_comes_after_the_one_before(
        self, world, confirmed, ending
    ):
        """Two moves and a cancellation that all wait for a first move: none overtakes."""
        appointment, booking = confirmed
        world.appointments.rescheduled = Rescheduled("moved", later(booking))
        moving = world.troubles.hold("record_reschedule")
        first = asyncio.create_task(appointment.execute_update(A.reschedule, ELSEWHERE))
        await moving.entered.wait()
        second = asyncio.create_task(appointment.execute_update(A.reschedule, ELSEWHERE))
        await world.idle_updates(appointment, 2)
        cancelling = asyncio.create_task(appointment.execute_update(A.cancel, PATIENT))
        await world.idle_updates(appointment, 3)
        moving.open()
        assert (await first, await second, await cancelling) == (
            "confirmed", "confirmed", "cancelled",
        )  # fmt: skip
        assert await ending(appointment) == "cancelled"
        assert [wish.move.version for wish in world.appointments.wishes] == [2, 3]
        assert world.appointments.last.version == 4

    async def test_an_operators_cancel_waits_for_the_move(self, world, confirmed, ending):
        appointment, booking = confirmed
        world.appointments.rescheduled = Rescheduled("moved", later(booking))
        moving = world.troubles.hold("record_reschedule")
        first = asyncio.create_task(appointment.execute_update(A.reschedule, ELSEWHERE))
        await moving.entered.wait()
        await appointment.cancel()
        moving.open()
        await first
        assert await ending(appointment) == "cancelled"
        assert world.appointments.last.version == 3
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]


class TestOffers:
    async def test_an_offer_is_told_and_lapses_unpaid(self, world, ending):
        start = replace(await world.new_appointment(), offered=True)
        appointment = await world.begin(start)
        assert await ending(appointment) == "cancelled"
        assert world.messages.templates[0] is Template.APPOINTMENT_OFFERED
        assert world.messages.told[0].due == start.booking.pay_by

    async def test_an_offer_paid_in_its_last_second_counts(self, world, ending):
        world.payments.settlement = Settlement(paid=True, payment_no="P-2")
        appointment = await world.begin(replace(await world.new_appointment(), offered=True))
        await ending(appointment)
        assert world.appointments.statuses[0] == "confirmed"

    async def test_begun_too_late_an_offer_has_its_window_from_now_on(self, world, ending):
        start = await offered(world, ago=timedelta(hours=1))
        appointment = await world.begin(start)
        await ending(appointment)
        [extension] = world.appointments.extensions
        assert (extension.move.version, extension.move.actor_role) == (1, "system")
        began = extension.move.at
        assert extension.pay_by == began + WINDOW
        [told, *_] = world.messages.told
        assert (told.template, told.due) == (Template.APPOINTMENT_OFFERED, extension.pay_by)
        assert world.appointments.last.version == 2
        assert world.appointments.last.at >= extension.pay_by

    async def test_an_offer_is_never_open_longer_than_until_the_slot_begins(self, world, ending):
        start = await offered(world, ago=timedelta(hours=1), starts_in=timedelta(minutes=5))
        await ending(await world.begin(start))
        assert [one.pay_by for one in world.appointments.extensions] == [start.booking.starts_at]

    async def test_of_a_slot_that_has_begun_nothing_is_offered(self, world, ending):
        start = await offered(world, ago=timedelta(hours=1), starts_in=-timedelta(minutes=5))
        assert await ending(await world.begin(start)) == "cancelled"
        assert world.appointments.extensions == []
        assert Template.APPOINTMENT_OFFERED not in world.messages.templates


WINDOW = timedelta(minutes=15)


async def offered(world, *, ago, starts_in=2 * DAY):
    """An offer made so long ago, whose workflow begins only now."""
    start, now = await world.new_appointment(), await world.now()
    starts_at = now + starts_in
    booking = replace(start.booking, starts_at=starts_at, pay_by=min(now - ago + WINDOW, starts_at))
    return replace(start, booking=booking, offered=True, offer_window=WINDOW)


class TestCalledOff:
    async def test_who_was_not_told_is_no_no_show_but_has_all_back(self, world, confirmed, ending):
        """The stop is paused, or Temporal was away: only the row knows."""
        appointment, booking = confirmed
        world.appointments.withdrawn = True
        assert await ending(appointment) == "cancelled"
        assert (world.appointments.last.reason, world.appointments.last.version) == ("stopped", 2)
        assert world.appointments.last.at >= booking.no_show_at
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]
        await world.told(Template.APPOINTMENT_CANCELLED_BY_CLINIC)
        untold = {Template.APPOINTMENT_NO_SHOW, Template.APPOINTMENT_CALLED_OFF}
        assert not untold & set(world.messages.templates)

    async def test_who_was_here_and_not_told_has_all_back_at_midnight(
        self, world, checked_in, ending
    ):
        appointment, _ = checked_in
        world.appointments.withdrawn = True
        assert await ending(appointment) == "cancelled"
        assert (world.appointments.last.reason, world.appointments.last.version) == ("stopped", 3)
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]

    async def test_a_cancel_in_the_web_ui_while_the_no_show_is_refused(
        self, world, confirmed, ending
    ):
        appointment, booking = confirmed
        world.appointments.withdrawn = True
        writing = world.troubles.hold("record_appointment")
        await world.sleep_until(booking.no_show_at)
        await writing.entered.wait()
        await appointment.cancel()
        await asyncio.sleep(0.1)
        writing.open()
        assert await ending(appointment) == "cancelled"
        assert (world.appointments.last.reason, world.appointments.last.version) == (
            "terminated", 2,
        )  # fmt: skip
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]

    async def test_when_the_slot_has_begun_there_is_nothing_to_choose(
        self, world, confirmed, ending
    ):
        appointment, booking = confirmed
        await world.sleep_until(booking.starts_at + timedelta(minutes=10))
        await appointment.execute_update(A.call_off, stop(booking))
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]
        await world.told(Template.APPOINTMENT_CANCELLED_BY_CLINIC)
        assert Template.APPOINTMENT_CALLED_OFF not in world.messages.templates

    async def test_unpaid_it_ends_at_once(self, world, ending):
        appointment, start = await world.booked()
        assert await appointment.execute_update(A.call_off, stop(start.booking)) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert world.appointments.last.reason == "stopped"
        await world.told(Template.APPOINTMENT_CANCELLED_BY_CLINIC)

    async def test_who_does_not_choose_gets_all_back(self, world, confirmed, ending):
        appointment, booking = confirmed
        off = stop(booking)
        assert await appointment.execute_update(A.call_off, off) == "confirmed"
        assert (await world.shown(appointment)).waiting_for == "choice"
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]
        assert timedelta(0) <= world.appointments.last.at - off.choose_by < timedelta(seconds=2)
        assert Template.APPOINTMENT_REMINDER not in world.messages.templates
        assert Template.APPOINTMENT_NO_SHOW not in world.messages.templates

    async def test_the_choice_ends_when_the_slot_would_begin(self, world, confirmed, ending):
        appointment, booking = confirmed
        await appointment.execute_update(A.call_off, stop(booking, within=30 * DAY))
        assert await ending(appointment) == "cancelled"
        assert timedelta(0) <= world.appointments.last.at - booking.starts_at < timedelta(seconds=2)

    async def test_the_money_can_be_chosen_at_any_time(self, world, confirmed, ending):
        appointment, booking = confirmed
        await world.sleep_until(booking.cancel_by)  # too late for a cancellation of one's own
        await appointment.execute_update(A.call_off, stop(booking, within=3 * DAY))
        assert await appointment.execute_update(A.cancel, PATIENT) == "cancelled"
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]

    async def test_another_slot_can_be_chosen(self, world, confirmed, ending):
        appointment, booking = confirmed
        new = later(booking)
        world.appointments.rescheduled = Rescheduled("moved", new)
        await appointment.execute_update(A.call_off, stop(booking, within=3 * DAY))
        await world.sleep_until(booking.cancel_by)
        assert await appointment.execute_update(A.reschedule, ELSEWHERE) == "confirmed"
        assert (await world.shown(appointment)).waiting_for == "patient"
        assert await ending(appointment) == "no_show"
        assert world.payments.owed == []

    async def test_told_twice_it_is_called_off_once(self, world, confirmed, ending):
        appointment, booking = confirmed
        for _ in range(2):
            await appointment.execute_update(A.call_off, stop(booking))
        await ending(appointment)
        assert world.messages.templates.count(Template.APPOINTMENT_CALLED_OFF) == 1
        assert [move.event for move in world.appointments.moves] == ["paid", "call_off", "cancel"]

    async def test_an_order_that_left_the_slot_is_let_alone(self, world, confirmed, ending):
        appointment, booking = confirmed
        world.appointments.rescheduled = Rescheduled("moved", later(booking))
        await appointment.execute_update(A.reschedule, ELSEWHERE)
        elsewhere = CallOff((77,), booking.starts_at, 13)
        assert await appointment.execute_update(A.call_off, elsewhere) == "confirmed"
        assert (await world.shown(appointment)).waiting_for == "patient"
        assert await ending(appointment) == "no_show"

    async def test_nobody_checks_in_to_a_clinic_that_is_called_off(self, world, confirmed, ending):
        appointment, booking = confirmed
        await world.sleep_until(booking.check_in_from)
        await appointment.execute_update(A.call_off, stop(booking, within=3 * DAY))
        refused = await refusal_of(appointment.execute_update(A.check_in, PATIENT))
        assert refused == ("NotAllowed", "called_off", "confirmed")
        assert await ending(appointment) == "cancelled"

    async def test_whoever_is_here_waits_for_the_desk_and_is_refunded_at_midnight(
        self, world, checked_in, ending
    ):
        appointment, booking = checked_in
        assert await appointment.execute_update(A.call_off, stop(booking)) == "checked_in"
        assert (await world.shown(appointment)).waiting_for == "desk"
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.CLINIC, ALL)]
        assert Template.APPOINTMENT_CALLED_OFF not in world.messages.templates

    async def test_whoever_is_here_can_take_another_slot_at_the_desk(
        self, world, checked_in, ending
    ):
        appointment, booking = checked_in
        await appointment.execute_update(A.call_off, stop(booking))
        world.appointments.rescheduled = Rescheduled("moved", later(booking))
        wish = Reschedule(CLINIC, 8)
        assert await appointment.execute_update(A.reschedule, wish) == "confirmed"
        assert await ending(appointment) == "no_show"

    async def test_it_goes_on_from_its_row(self, world, ending):
        start = await world.new_appointment()
        choose_by = start.booking.pay_by
        start = replace(start, status=S.CONFIRMED, version=2, payment_no="P-1", choose_by=choose_by)
        appointment = await world.begin(start)
        await soon(lambda: Template.APPOINTMENT_CALLED_OFF in world.messages.templates)
        assert await ending(appointment) == "cancelled"
        assert world.appointments.last.version == 3
