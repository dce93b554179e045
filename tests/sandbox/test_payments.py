"""The contract of the payment port, held by the real client against the real server."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.gateways.payment import (
    BillKind,
    EventKind,
    GatewayRefused,
    GatewayUnavailable,
    PaymentState,
    RefundState,
)
from tests.support.gateway import ZONE, callback_inbox, sandbox_gateway, with_options

pytestmark = pytest.mark.anyio

YUAN_50 = Decimal("50.00")


def soon():
    return datetime.now(UTC) + timedelta(minutes=15)


async def opened(payments, payment_no="P1", amount=YUAN_50):
    return await payments.prepay(
        payment_no, amount=amount, description="appointment", expires_at=soon()
    )


async def refused(call):
    with pytest.raises(GatewayRefused) as refusal:
        await call
    return refusal.value.code


async def test_the_same_prepay_gives_the_same_answer(payments):
    assert await opened(payments) == await opened(payments)


async def test_two_prepays_at_once_are_one(payments):
    answers = await asyncio.gather(*(opened(payments) for _ in range(8)))
    assert len(set(answers)) == 1


async def test_the_same_number_with_another_amount_is_refused(payments):
    await opened(payments)
    assert await refused(opened(payments, amount=Decimal("50.01"))) == "amount_differs"


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "NaN", "Infinity", "1E+999999", "1E+9"])
async def test_an_impossible_amount_is_refused(payments, amount):
    code = await refused(opened(payments, amount=Decimal(amount)))
    assert code in ("bad_amount", "invalid_request")


async def test_a_description_in_free_text_is_refused(payments):
    call = payments.prepay("P1", amount=YUAN_50, description="头痛 三天", expires_at=soon())
    assert await refused(call) == "invalid_request"


async def test_a_prepay_that_begins_expired_is_refused(payments):
    past = datetime.now(UTC) - timedelta(seconds=1)
    call = payments.prepay("P1", amount=YUAN_50, description="appointment", expires_at=past)
    assert await refused(call) == "already_expired"


async def test_an_unknown_number_is_a_state(payments):
    assert (await payments.query("P404")).state is PaymentState.UNKNOWN
    assert (await payments.close("P404")).state is PaymentState.UNKNOWN


@pytest.mark.parametrize("number", ["", "..", "a/b?c#d", "号", "P1\n"])
async def test_an_impossible_number_is_refused(payments, number):
    assert await refused(payments.query(number)) == "invalid_request"
    assert await refused(opened(payments, number)) == "invalid_request"


async def test_a_payment_is_pending_then_paid_and_told_of(running_gateway, payments, inbox):
    await opened(payments)
    pending = await payments.query("P1")
    assert (pending.state, pending.amount) == (PaymentState.PENDING, YUAN_50)
    assert (pending.paid_at, pending.transaction_id) == (None, None)

    await running_gateway.controls.pay("P1")
    paid = await payments.query("P1")
    (event,) = await inbox.events(payments, 1)
    assert paid.state is PaymentState.PAID
    assert (event.kind, event.payment_no, event.refund_no) == (
        EventKind.PAYMENT_SUCCEEDED,
        "P1",
        None,
    )
    assert (event.amount, event.at, event.transaction_id) == (
        YUAN_50,
        paid.paid_at,
        paid.transaction_id,
    )


async def test_a_close_is_repeatable_and_says_closed(payments):
    await opened(payments)
    assert (await payments.close("P1")).state is PaymentState.CLOSED
    assert (await payments.close("P1")).state is PaymentState.CLOSED
    assert (await payments.query("P1")).state is PaymentState.CLOSED


async def test_a_close_after_the_money_says_paid(running_gateway, payments):
    await opened(payments)
    await running_gateway.controls.pay("P1")
    closed = await payments.close("P1")
    assert closed.state is PaymentState.PAID
    assert closed == await payments.query("P1")


async def test_money_can_come_after_a_close(running_gateway, payments, inbox):
    await opened(payments)
    await payments.close("P1")
    await running_gateway.controls.pay("P1")
    (event,) = await inbox.events(payments, 1)
    assert event.kind is EventKind.PAYMENT_SUCCEEDED
    assert (await payments.query("P1")).state is PaymentState.PAID


async def test_an_expired_payment_is_closed(db, inbox):
    late = [timedelta(0)]
    options = with_options(clock=lambda: datetime.now(UTC) + late[0])
    async with sandbox_gateway(db, options) as gateway:
        payments = gateway.payments(inbox.url, clock=options.clock)
        await opened(payments)
        late[0] = timedelta(minutes=16)
        assert (await payments.query("P1")).state is PaymentState.CLOSED


async def test_a_repeated_callback_is_one_event(running_gateway, payments, inbox):
    await opened(payments)
    await running_gateway.controls.pay("P1", times=3)
    first, second, third = await inbox.events(payments, 3)
    assert first == second == third


async def test_paying_again_takes_nothing_and_tells_the_same(running_gateway, payments, inbox):
    await opened(payments)
    assert await running_gateway.controls.pay("P1") == await running_gateway.controls.pay("P1")
    first, second = await inbox.events(payments, 2)
    assert first == second


async def test_a_late_callback_tells_when_the_money_was_taken(running_gateway, payments, inbox):
    await opened(payments)
    delay = timedelta(seconds=0.2)
    paid = await running_gateway.controls.pay("P1", delay=delay)
    assert paid.state is PaymentState.PAID
    (event,) = await inbox.events(payments, 1)
    assert event.at == paid.paid_at
    assert datetime.now(UTC) >= paid.paid_at + delay


async def test_a_lost_callback_leaves_only_the_query(running_gateway, payments, inbox):
    await opened(payments, "P1")
    await opened(payments, "P2")
    await running_gateway.controls.pay("P1", callback=False)
    await running_gateway.controls.pay("P2")
    (event,) = await inbox.events(payments, 1)
    assert event.payment_no == "P2"
    assert (await payments.query("P1")).state is PaymentState.PAID


async def test_callbacks_can_arrive_in_another_order(running_gateway, payments, inbox):
    await opened(payments)
    await running_gateway.controls.pay("P1", callback=False)
    await payments.refund(
        "R1", payment_no="P1", amount=YUAN_50, total=YUAN_50, reason="order_closed"
    )
    await inbox.callbacks(1)
    await running_gateway.controls.pay("P1")
    events = await inbox.events(payments, 2)
    assert [e.kind for e in events] == [EventKind.REFUND_SUCCEEDED, EventKind.PAYMENT_SUCCEEDED]


async def test_a_bank_that_refuses_takes_nothing(running_gateway, payments, inbox):
    await opened(payments, "P1")
    await opened(payments, "P2")
    await running_gateway.controls.pay("P1", fail=True)
    assert (await payments.query("P1")).state is PaymentState.PENDING
    await running_gateway.controls.pay("P2")
    assert [e.payment_no for e in await inbox.events(payments, 1)] == ["P2"]


async def test_paying_an_unknown_payment_is_refused(running_gateway):
    assert await refused(running_gateway.controls.pay("P404")) == "unknown_payment"


async def test_an_outage_is_unavailable_and_ends(running_gateway, payments):
    await opened(payments)
    await running_gateway.controls.outage(timedelta(minutes=5))
    for call in (payments.query("P1"), payments.close("P1"), opened(payments)):
        with pytest.raises(GatewayUnavailable) as failure:
            await call
        assert failure.value.code == "status_503"
    await running_gateway.controls.outage(timedelta(0))
    assert (await payments.query("P1")).state is PaymentState.PENDING


async def test_the_bill_holds_what_moved_that_day(running_gateway, payments):
    for number in ("P1", "P2", "P3"):
        await opened(payments, number)
    await running_gateway.controls.pay("P1")
    await running_gateway.controls.pay("P2", callback=False)
    await payments.refund(
        "R1", payment_no="P1", amount=Decimal("20.00"), total=YUAN_50, reason="patient"
    )
    await running_gateway.controls.settle_refund("R1", RefundState.SUCCEEDED)
    today = datetime.now(ZONE).date()
    lines = await payments.bill(today)
    assert [(x.kind, x.payment_no, x.refund_no, x.amount) for x in lines] == [
        (BillKind.PAYMENT, "P1", None, YUAN_50),
        (BillKind.PAYMENT, "P2", None, YUAN_50),
        (BillKind.REFUND, "P1", "R1", Decimal("20.00")),
    ]
    assert await payments.bill(today - timedelta(days=1)) == []
    assert await payments.bill(today + timedelta(days=1)) == []


async def test_a_callback_is_sent_again_until_it_is_taken(running_gateway, payments, inbox):
    inbox.answers.extend([500, 302, 404])
    await opened(payments)
    await running_gateway.controls.pay("P1")
    events = await inbox.events(payments, 4)
    assert len(set(events)) == 1


async def test_the_attempts_end(db, inbox):
    inbox.answers.extend([500] * 20)
    options = with_options(retry_delays=(timedelta(0), timedelta(0)))
    async with sandbox_gateway(db, options) as gateway:
        payments = gateway.payments(inbox.url)
        await opened(payments)
        await gateway.controls.pay("P1")
        await inbox.callbacks(3)
        for _ in range(200):
            with gateway.store.transaction() as rows:
                (state,) = rows.execute("SELECT state FROM delivery").fetchone()
            if state == "given_up":
                break
            await asyncio.sleep(0.01)
        assert (state, len(inbox.received)) == ("given_up", 3)


async def test_a_restart_delivers_what_was_undelivered(db):
    async with callback_inbox() as inbox:
        inbox.answers.append(500)
        async with sandbox_gateway(db, with_options(retry_delays=(timedelta(seconds=1),))) as first:
            payments = first.payments(inbox.url)
            prepay = await opened(payments)
            await first.controls.pay("P1")
            await inbox.callbacks(1)
        async with sandbox_gateway(db) as second:
            before, after = await inbox.events(payments, 2)
            assert before == after
            again = await opened(second.payments(inbox.url))
            assert again.gateway_no == prepay.gateway_no
