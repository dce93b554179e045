"""Giving money back: never more than was paid, and the end comes later than the asking."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.gateways.payment import (
    EventKind,
    GatewayRefused,
    GatewayUnavailable,
    RefundState,
)
from activities.gateways.sandbox_wire import RefundMode

pytestmark = pytest.mark.anyio

TOTAL = Decimal("50.00")


@pytest.fixture
async def paid(running_gateway, payments):
    """P1, paid in silence, so that the inbox holds refunds alone."""
    await payments.prepay(
        "P1",
        amount=TOTAL,
        description="appointment",
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )
    return await running_gateway.controls.pay("P1", callback=False)


async def back(payments, refund_no, amount, total=TOTAL, payment_no="P1"):
    return await payments.refund(
        refund_no, payment_no=payment_no, amount=Decimal(amount), total=total, reason="patient"
    )


async def refused(call):
    with pytest.raises(GatewayRefused) as refusal:
        await call
    return refusal.value.code


async def test_a_full_refund_is_pending_then_succeeded(payments, paid, inbox):
    asked = await back(payments, "R1", "50.00")
    assert (asked.state, asked.amount, asked.finished_at) == (RefundState.PENDING, TOTAL, None)
    (event,) = await inbox.events(payments, 1)
    refund = await payments.query_refund("R1")
    assert (refund.state, refund.finished_at) == (RefundState.SUCCEEDED, event.at)
    assert (event.kind, event.payment_no, event.refund_no, event.amount, event.transaction_id) == (
        EventKind.REFUND_SUCCEEDED,
        "P1",
        "R1",
        TOTAL,
        paid.transaction_id,
    )


async def test_parts_add_up_to_the_whole_and_no_further(payments, paid):
    await back(payments, "R1", "20.00")
    await back(payments, "R2", "29.99")
    assert await refused(back(payments, "R3", "0.02")) == "refund_exceeds_paid"
    await back(payments, "R4", "0.01")


async def test_refunds_at_once_do_not_exceed_the_whole(payments, paid):
    asked = await asyncio.gather(
        *(back(payments, f"R{i}", "20.00") for i in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(a, Exception) for a in asked) == 2
    assert {str(a) for a in asked if isinstance(a, Exception)} == {"refund_exceeds_paid"}


async def test_the_same_refund_asked_again_is_the_same(payments, paid, inbox):
    first = await back(payments, "R1", "50.00")
    await inbox.callbacks(1)
    again = await back(payments, "R1", "50.00")
    assert again.gateway_refund_no == first.gateway_refund_no
    assert again.state is RefundState.SUCCEEDED
    assert await refused(back(payments, "R1", "49.00")) == "refund_differs"


async def test_what_was_not_paid_cannot_go_back(payments, paid):
    await payments.prepay(
        "P2",
        amount=TOTAL,
        description="appointment",
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )
    assert await refused(back(payments, "R1", "1.00", payment_no="P2")) == "not_paid"
    assert await refused(back(payments, "R1", "1.00", payment_no="P404")) == "unknown_payment"
    assert await refused(back(payments, "R1", "1.00", Decimal("60.00"))) == "total_differs"


async def test_an_unknown_refund_is_a_state(payments):
    assert (await payments.query_refund("R404")).state is RefundState.UNKNOWN


async def test_a_pending_refund_waits_until_it_is_settled(running_gateway, payments, paid, inbox):
    await running_gateway.controls.refunds(RefundMode.PENDING)
    await back(payments, "R1", "50.00")
    assert (await payments.query_refund("R1")).state is RefundState.PENDING
    assert inbox.received == []
    settled = await running_gateway.controls.settle_refund("R1", RefundState.SUCCEEDED)
    assert settled == await running_gateway.controls.settle_refund("R1", RefundState.SUCCEEDED)
    (event,) = await inbox.events(payments, 1)
    assert event.kind is EventKind.REFUND_SUCCEEDED
    late = running_gateway.controls.settle_refund("R1", RefundState.FAILED)
    assert await refused(late) == "already_settled"
    unknown = running_gateway.controls.settle_refund("R404", RefundState.FAILED)
    assert await refused(unknown) == "unknown_refund"


async def test_a_failed_refund_can_be_tried_under_a_new_number(
    running_gateway, payments, paid, inbox
):
    await running_gateway.controls.refunds(RefundMode.FAIL)
    await back(payments, "R1", "50.00")
    (event,) = await inbox.events(payments, 1)
    assert event.kind is EventKind.REFUND_FAILED
    await running_gateway.controls.refunds(RefundMode.SUCCEED)
    assert (await back(payments, "R1", "50.00")).state is RefundState.FAILED
    await back(payments, "R2", "50.00")
    assert (await inbox.events(payments, 2))[1].kind is EventKind.REFUND_SUCCEEDED


async def test_unavailable_refunds_note_nothing(running_gateway, payments, paid):
    await running_gateway.controls.refunds(RefundMode.UNAVAILABLE)
    with pytest.raises(GatewayUnavailable):
        await back(payments, "R1", "50.00")
    assert (await payments.query_refund("R1")).state is RefundState.UNKNOWN
    await running_gateway.controls.refunds(RefundMode.SUCCEED)
    assert (await back(payments, "R1", "50.00")).state is RefundState.PENDING


async def test_news_of_a_refund_can_be_lost_or_repeated(running_gateway, payments, paid, inbox):
    await running_gateway.controls.refunds(RefundMode.SUCCEED, callback=False)
    await back(payments, "R1", "10.00")
    await running_gateway.controls.refunds(RefundMode.SUCCEED, times=2)
    await back(payments, "R2", "10.00")
    first, second = await inbox.events(payments, 2)
    assert first == second
    assert first.refund_no == "R2"
    assert (await payments.query_refund("R1")).state is RefundState.SUCCEEDED


async def test_a_refund_can_take_its_time(running_gateway, payments, paid, inbox):
    delay = timedelta(seconds=0.2)
    await running_gateway.controls.refunds(RefundMode.SUCCEED, delay=delay)
    asked_at = datetime.now(UTC)
    await back(payments, "R1", "10.00")
    await inbox.callbacks(1)
    refund = await payments.query_refund("R1")
    assert refund.state is RefundState.SUCCEEDED
    assert refund.finished_at >= asked_at + delay
