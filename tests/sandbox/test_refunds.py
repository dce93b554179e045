"""Giving money back: never more than was paid, and the end comes later than the asking."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.gateways.payment import (
    EventKind,
    GatewayRefused,
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


async def test_a_refund_can_take_its_time(running_gateway, payments, paid, inbox):
    delay = timedelta(seconds=0.2)
    await running_gateway.controls.refunds(RefundMode.SUCCEED, delay=delay)
    asked_at = datetime.now(UTC)
    await back(payments, "R1", "10.00")
    await inbox.callbacks(1)
    refund = await payments.query_refund("R1")
    assert refund.state is RefundState.SUCCEEDED
    assert refund.finished_at >= asked_at + delay
