"""One message by one way after another, and orders that do not wait for theirs."""

from datetime import timedelta

import pytest
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.message import Outgoing
from domain.appointment import AppointmentStatus
from domain.message import Channel, Template
from domain.payment import PaymentReceived
from runtime.lifecycles import _message
from tests.support.temporal import soon, started
from workflows.appointment import AppointmentWorkflow
from workflows.message import DeliveryReceipt, MessageWorkflow
from workflows.queues import LIFECYCLES

pytestmark = pytest.mark.anyio

IN_APP, SMS, EMAIL = Channel.IN_APP, Channel.SMS, Channel.EMAIL
FACT = "A-1:appointment_confirmed"


@pytest.fixture
async def message(world):
    """Sends one, by SMS and else by e-mail."""
    world.messages.channels = (SMS, EMAIL)

    async def sent():
        return await world.env.client.start_workflow(
            MessageWorkflow.run,
            Outgoing(FACT, "A-1", Template.APPOINTMENT_CONFIRMED),
            id=f"message/{FACT}",
            task_queue=LIFECYCLES,
        )

    return sent


class TestArriving:
    async def test_by_the_first_way_with_its_receipt(self, world, message, ending):
        world.messages.receipts_from = frozenset({SMS})
        sending = await message()
        await soon(lambda: SMS in world.messages.tried)
        await sending.signal(MessageWorkflow.receipt, DeliveryReceipt("sms", True))
        assert await ending(sending) == "sms"
        assert world.messages.tried == [IN_APP, SMS]

    async def test_a_receipt_may_come_before_the_sending_returns(self, world, message, ending):
        world.messages.receipts_from = frozenset({SMS})
        slow = world.troubles.hold("send_message")
        sending = await message()
        await slow.entered.wait()
        await sending.signal(MessageWorkflow.receipt, DeliveryReceipt("sms", True))
        slow.open()
        assert await ending(sending) == "sms"

    async def test_a_way_without_receipts_is_trusted(self, world, message, ending):
        assert await ending(await message()) == "sms"
        assert world.messages.tried == [IN_APP, SMS]

    async def test_a_way_that_is_closed_for_good_is_left_at_once(self, world, message, ending):
        world.messages.closed = frozenset({SMS})
        assert await ending(await message()) == "email"
        assert world.messages.tried == [IN_APP, SMS, EMAIL]

    async def test_a_way_that_fails_is_tried_five_times(self, world, message, ending):
        world.messages.channels = (EMAIL,)
        world.troubles.failures["send_message"] = 5  # all of in-app
        assert await ending(await message()) == "email"
        assert world.messages.tried == [EMAIL]

    async def test_without_a_receipt_in_time_the_next_way(self, world, message, ending):
        world.messages.receipts_from = frozenset({SMS})
        begun = await world.now()
        assert await ending(await message()) == "email"
        assert await world.now() - begun >= timedelta(minutes=2)

    async def test_a_receipt_that_says_no_is_the_next_way(self, world, message, ending):
        world.messages.receipts_from = frozenset({SMS})
        sending = await message()
        await soon(lambda: SMS in world.messages.tried)
        await sending.signal(MessageWorkflow.receipt, DeliveryReceipt("sms", False))
        assert await ending(sending) == "email"

    async def test_when_no_way_works_it_is_there_in_the_app(self, world, message, ending):
        world.messages.closed = frozenset({SMS, EMAIL})
        assert await ending(await message()) == "in_app"

    async def test_a_call_to_the_doctor_is_told_in_the_app_and_once(self, world, ending):
        """As the relay starts it from its promise."""
        call = _message("A-1:appointment_called:1")
        world.messages.channels = ()
        assert await ending(await started(world.env.client, call)) == "in_app"
        assert world.messages.tried == [IN_APP]
        with pytest.raises(WorkflowAlreadyStartedError):
            await started(world.env.client, call)


class TestTelling:
    async def test_the_same_fact_is_told_once(self, world):
        """An order that begins again from its row says again that it is confirmed."""
        appointment, start = await world.resumed(AppointmentStatus.CONFIRMED, 1)
        # Terminated while its message is on its way, the test server's clock stands still for ever.
        await world.idle(appointment)
        await appointment.terminate()
        again = await world.begin(start)
        assert await again.result() == "no_show"
        assert world.messages.templates.count(Template.APPOINTMENT_CONFIRMED) == 1

    async def test_a_message_goes_on_when_its_order_has_ended(self, world, ending):
        world.messages.channels = (SMS,)
        world.messages.receipts_from = frozenset({SMS})
        slow = world.troubles.hold("send_message")
        appointment, _ = await world.booked()
        await world.sleep(timedelta(minutes=15))
        await slow.entered.wait()
        assert await appointment.result() == "cancelled"
        slow.open()
        await soon(lambda: world.messages.tried == [IN_APP, SMS])

    async def test_an_order_does_not_wait_for_its_messages(self, world):
        world.troubles.hold("plan_message")
        appointment, _ = await world.booked()
        await appointment.signal(AppointmentWorkflow.payment_received, PaymentReceived("P-1"))
        await soon(lambda: world.appointments.statuses == ["confirmed"])
        assert await appointment.execute_update("cancel", {"capacity": "owner", "account_id": 1})
