"""What an appointment bears: two at once, lost workflows, operators who pull the plug."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities.payment import OwedRefund
from domain.access import Capacity
from domain.appointment import AppointmentStatus, Reason
from domain.message import Template
from domain.payment import PaymentReceived, RefundCause, Settlement
from tests.support.temporal import soon
from workflows.appointment import AppointmentWorkflow, Command

pytestmark = pytest.mark.anyio

S = AppointmentStatus
PATIENT = Command(Capacity.OWNER, 11)
CLINIC = Command(Capacity.OPERATOR, 13)
PAID = PaymentReceived("P-1")
ALL_BACK_BY_CLINIC = [OwedRefund("P-1", RefundCause.CLINIC)]
A = AppointmentWorkflow


class TestTwoAtOnce:
    @pytest.mark.parametrize(
        ("first", "second"), [(A.cancel, A.check_in), (A.check_in, A.cancel), (A.cancel, A.cancel)]
    )
    async def test_of_two_commands_in_one_task_one_wins(self, world, ending, first, second):
        reading = world.pausing.at_reading(b"P-again")
        appointment, start = await world.resumed(
            S.CONFIRMED, 1, "P-1", late_refund_share=Decimal("0.5")
        )
        await world.told(Template.APPOINTMENT_CONFIRMED)
        await world.sleep_until(start.booking.check_in_from)
        await appointment.signal(A.payment_received, PaymentReceived("P-again"))
        await reading.entered.wait()
        commands = [await begun(appointment.execute_update(u, PATIENT)) for u in (first, second)]
        reading.open()
        won, lost = await asyncio.gather(*commands, return_exceptions=True)
        assert won == ("cancelled" if first is A.cancel else "checked_in")
        assert isinstance(lost, WorkflowUpdateFailedError)
        assert lost.cause.type == "NotAllowed"
        assert lost.cause.details == (str(won),)
        await ending(appointment)
        assert world.appointments.statuses[0] == won

    async def test_a_repeated_command_gets_the_first_answer(self, world):
        appointment, _ = await world.booked()
        answers = [
            await appointment.execute_update(A.cancel, PATIENT, id="same-key") for _ in range(2)
        ]
        await appointment.result()
        answers.append(await appointment.execute_update(A.cancel, PATIENT, id="same-key"))
        assert answers == ["cancelled"] * 3
        assert world.appointments.statuses == ["cancelled"]

    async def test_money_that_comes_with_the_last_task_goes_back(self, world, ending):
        closing = world.pausing.at_writing(b'"cancelled"')
        appointment, _ = await world.booked()
        ended = asyncio.create_task(ending(appointment))
        await closing.entered.wait()
        await appointment.signal(A.payment_received, PAID)
        closing.open()
        assert await ended == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.ORDER_CLOSED)]


class TestBeginningAgain:
    @pytest.mark.parametrize(
        ("status", "version", "payment_no", "end"),
        [
            (S.PENDING, 4, None, "cancelled"),
            (S.CONFIRMED, 5, "P-1", "no_show"),
            (S.CHECKED_IN, 6, "P-1", "completed"),
        ],
        ids=["pending", "confirmed", "checked_in"],
    )
    async def test_a_lost_order_goes_on_from_its_row(
        self, world, ending, status, version, payment_no, end
    ):
        appointment, _ = await world.resumed(status, version, payment_no)
        assert await ending(appointment) == end
        [move] = world.appointments.moves
        assert (move.from_status, move.to_status, move.version) == (status, end, version + 1)
        assert move.payment_no == payment_no

    async def test_one_lost_before_it_gave_the_money_back_does_so(self, world, ending):
        start = await world.new_appointment()
        lost = replace(
            start, status=S.CANCELLED, version=2, payment_no="P-1", reason=Reason.PATIENT
        )
        appointment = await world.begin(lost)
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.PATIENT)]
        assert world.appointments.moves == []  # what the row says stays

    async def test_a_deadline_that_passed_meanwhile_is_kept(self, world):
        start = await world.new_appointment()
        gone = await world.now() - timedelta(hours=1)
        booking = replace(start.booking, pay_by=gone)
        appointment = await world.begin(replace(start, booking=booking))
        assert await appointment.result() == "cancelled"
        assert world.payments.settled == 1

    async def test_rows_are_written_in_the_end(self, world, ending):
        world.troubles.failures["record_appointment"] = 20
        appointment, _ = await world.booked()
        assert await ending(appointment) == "cancelled"
        assert world.appointments.statuses == ["cancelled"]


class TestPullingThePlug:
    """*Cancel* in Temporal's web UI."""

    @pytest.mark.parametrize(
        ("status", "version", "payment_no", "owed"),
        [
            (S.PENDING, 0, None, []),
            (S.CONFIRMED, 1, "P-1", ALL_BACK_BY_CLINIC),
            (S.CHECKED_IN, 2, "P-1", ALL_BACK_BY_CLINIC),
        ],
        ids=["pending", "confirmed", "checked_in"],
    )
    async def test_releases_the_source_and_returns_the_money(
        self, world, ending, status, version, payment_no, owed
    ):
        appointment, _ = await world.resumed(status, version, payment_no)
        await world.idle(appointment)
        await appointment.cancel()
        assert await ending(appointment) == "cancelled"
        [move] = world.appointments.moves
        assert (move.to_status, move.reason) == ("cancelled", "terminated")
        assert move.version == version + 1
        assert world.payments.owed == owed
        await world.told(Template.APPOINTMENT_CANCELLED_BY_CLINIC)

    async def test_while_the_payments_are_asked(self, world, ending):
        asking = world.troubles.hold("settle_order")
        appointment, _ = await world.booked()
        await world.sleep(timedelta(minutes=15))
        await asking.entered.wait()
        world.payments.settlement = Settlement(paid=True, payment_no="P-1")
        await appointment.cancel()
        await soon(lambda: asking.held == 2)
        asking.open()
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == ALL_BACK_BY_CLINIC

    async def test_while_the_end_cannot_be_written(self, world, ending):
        world.troubles.failures["record_appointment"] = 1000
        appointment, _ = await world.booked()
        await world.sleep(timedelta(minutes=15))
        await soon(lambda: world.troubles.failures["record_appointment"] < 1000)
        await appointment.cancel()
        await asyncio.sleep(0.1)
        world.troubles.failures.clear()
        await ending(appointment)
        assert world.appointments.statuses == [
            "cancelled"
        ]  # without it the source is held for ever

    async def test_while_money_cannot_be_promised_back(self, world, ending):
        world.troubles.failures["owe_refund"] = 1000
        appointment, _ = await world.resumed(S.CONFIRMED, 1)
        await appointment.execute_update(A.cancel, PATIENT)
        await soon(lambda: world.troubles.failures["owe_refund"] < 1000)
        await appointment.cancel()
        await asyncio.sleep(0.1)
        world.troubles.failures.clear()
        assert await ending(appointment) == "cancelled"
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.PATIENT)]

    async def test_before_anybody_worked_on_it(self, idle_world, ending):
        appointment, _ = await idle_world.booked()
        await appointment.cancel()
        async with idle_world.working():
            assert await ending(appointment) == "cancelled"
        assert idle_world.appointments.statuses == ["cancelled"]


async def begun(update):
    """Sent, and there before the next one."""
    task = asyncio.create_task(update)
    await asyncio.sleep(0.1)
    return task
