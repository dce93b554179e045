"""The contract of the payment port, held by the real client against the real server."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.gateways.payment import (
    Bill,
    BillKind,
    GatewayRefused,
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


async def test_an_expired_payment_is_closed(db, inbox):
    late = [timedelta(0)]
    options = with_options(clock=lambda: datetime.now(UTC) + late[0])
    async with sandbox_gateway(db, options) as gateway:
        payments = gateway.payments(inbox.url, clock=options.clock)
        await opened(payments)
        late[0] = timedelta(minutes=16)
        assert (await payments.query("P1")).state is PaymentState.CLOSED


async def test_a_late_callback_tells_when_the_money_was_taken(running_gateway, payments, inbox):
    await opened(payments)
    delay = timedelta(seconds=0.2)
    paid = await running_gateway.controls.pay("P1", delay=delay)
    assert paid.state is PaymentState.PAID
    (event,) = await inbox.events(payments, 1)
    assert event.at == paid.paid_at
    assert datetime.now(UTC) >= paid.paid_at + delay


async def test_paying_an_unknown_payment_is_refused(running_gateway):
    assert await refused(running_gateway.controls.pay("P404")) == "unknown_payment"


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
    bill = await payments.bill(today)
    assert bill.bad == ()
    assert [(x.kind, x.payment_no, x.refund_no, x.amount) for x in bill.lines] == [
        (BillKind.PAYMENT, "P1", None, YUAN_50),
        (BillKind.PAYMENT, "P2", None, YUAN_50),
        (BillKind.REFUND, "P1", "R1", Decimal("20.00")),
    ]
    assert await payments.bill(today - timedelta(days=1)) == Bill()
    assert await payments.bill(today + timedelta(days=1)) == Bill()


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
