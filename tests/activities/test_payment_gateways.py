"""What every payment gateway must hold, by its real client against its server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from activities.gateways.payment import (
    EventKind,
    GatewayRefused,
    GatewayUnavailable,
    PaymentGateway,
    PaymentState,
    RefundState,
)
from activities.gateways.sandbox_wire import RefundMode
from activities.gateways.wechat_payment import Trade
from tests.support.gateway import Inbox, callback_inbox, sandbox_gateway
from tests.support.wechat_server import wechat_server

pytestmark = pytest.mark.anyio

YUAN_50 = TOTAL = Decimal("50.00")
SOON = datetime.now(UTC) + timedelta(minutes=15)
P1, P2, P404 = "P260302AAAA", "P260302BBBB", "P260302ZZZZ"


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with callback_inbox() as inbox:
        yield inbox


@pytest.fixture(params=["sandbox", "wechat_native"])
async def both(request: Any, tmp_path: Path, inbox: Inbox) -> AsyncIterator[Any]:
    """The gateway's hands, and the port."""
    if request.param == "sandbox":
        async with sandbox_gateway(tmp_path / "gateway.db") as gateway:
            yield gateway.controls, gateway.payments(inbox.url)
    else:
        async with wechat_server() as wechat:
            yield wechat, wechat.payments(Trade.NATIVE, inbox.url)


@pytest.fixture
def hands(both: Any) -> Any:
    return both[0]


@pytest.fixture
def payments(both: Any) -> PaymentGateway:
    port: PaymentGateway = both[1]
    return port


async def opened(payments, payment_no=P1, amount=YUAN_50):
    return await payments.prepay(
        payment_no, amount=amount, description="appointment", expires_at=SOON
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
    call = payments.prepay(P1, amount=YUAN_50, description="头痛 三天", expires_at=SOON)
    assert await refused(call) == "invalid_request"


async def test_a_prepay_that_begins_expired_is_refused(payments):
    past = datetime.now(UTC) - timedelta(seconds=1)
    call = payments.prepay(P1, amount=YUAN_50, description="appointment", expires_at=past)
    assert await refused(call) == "already_expired"


async def test_an_unknown_number_is_a_state(payments):
    assert (await payments.query(P404)).state is PaymentState.UNKNOWN
    assert (await payments.close(P404)).state is PaymentState.UNKNOWN


@pytest.mark.parametrize("number", ["", "..", "a/b?c#d", "号", "P1\n"])
async def test_an_impossible_number_is_refused(payments, number):
    assert await refused(payments.query(number)) == "invalid_request"
    assert await refused(opened(payments, number)) == "invalid_request"


async def test_a_payment_is_pending_then_paid_and_told_of(hands, payments, inbox):
    await opened(payments)
    pending = await payments.query(P1)
    assert (pending.state, pending.amount) == (PaymentState.PENDING, YUAN_50)
    assert (pending.paid_at, pending.transaction_id) == (None, None)

    await hands.pay(P1)
    paid = await payments.query(P1)
    (event,) = await inbox.events(payments, 1)
    assert paid.state is PaymentState.PAID
    assert (event.kind, event.payment_no, event.refund_no) == (
        EventKind.PAYMENT_SUCCEEDED,
        P1,
        None,
    )
    assert (event.amount, event.at, event.transaction_id) == (
        YUAN_50,
        paid.paid_at,
        paid.transaction_id,
    )


async def test_a_close_is_repeatable_and_says_closed(payments):
    await opened(payments)
    assert (await payments.close(P1)).state is PaymentState.CLOSED
    assert (await payments.close(P1)).state is PaymentState.CLOSED
    assert (await payments.query(P1)).state is PaymentState.CLOSED


async def test_a_close_after_the_money_says_paid(hands, payments):
    await opened(payments)
    await hands.pay(P1)
    closed = await payments.close(P1)
    assert closed.state is PaymentState.PAID
    assert closed == await payments.query(P1)


async def test_money_can_come_after_a_close(hands, payments, inbox):
    await opened(payments)
    await payments.close(P1)
    await hands.pay(P1)
    (event,) = await inbox.events(payments, 1)
    assert event.kind is EventKind.PAYMENT_SUCCEEDED
    assert (await payments.query(P1)).state is PaymentState.PAID


async def test_a_repeated_callback_is_one_event(hands, payments, inbox):
    await opened(payments)
    await hands.pay(P1, times=3)
    told = await inbox.events(payments, 3)  # more, where the answer to one was late
    assert [event for event in told if event != told[0]] == []


async def test_paying_again_takes_nothing_and_tells_the_same(hands, payments, inbox):
    await opened(payments)
    assert await hands.pay(P1) == await hands.pay(P1)
    first, second = await inbox.events(payments, 2)
    assert first == second


async def test_a_lost_callback_leaves_only_the_query(hands, payments, inbox):
    await opened(payments, P1)
    await opened(payments, P2)
    await hands.pay(P1, callback=False)
    await hands.pay(P2)
    (event,) = await inbox.events(payments, 1)
    assert event.payment_no == P2
    assert (await payments.query(P1)).state is PaymentState.PAID


async def test_callbacks_can_arrive_in_another_order(hands, payments, inbox):
    await opened(payments)
    await hands.pay(P1, callback=False)
    await payments.refund("R1", payment_no=P1, amount=YUAN_50, total=YUAN_50, reason="order_closed")
    await inbox.callbacks(1)
    await hands.pay(P1)
    events = await inbox.events(payments, 2)
    assert [e.kind for e in events] == [EventKind.REFUND_SUCCEEDED, EventKind.PAYMENT_SUCCEEDED]


async def test_a_bank_that_refuses_takes_nothing(hands, payments, inbox):
    await opened(payments, P1)
    await opened(payments, P2)
    await hands.pay(P1, fail=True)
    assert (await payments.query(P1)).state is PaymentState.PENDING
    await hands.pay(P2)
    assert [e.payment_no for e in await inbox.events(payments, 1)] == [P2]


async def test_an_outage_is_unavailable_and_ends(hands, payments):
    await opened(payments)
    await hands.outage(timedelta(minutes=5))
    for call in (payments.query(P1), payments.close(P1), opened(payments)):
        with pytest.raises(GatewayUnavailable) as failure:
            await call
        assert failure.value.code == "status_503"
    await hands.outage(timedelta(0))
    assert (await payments.query(P1)).state is PaymentState.PENDING


# Money back


@pytest.fixture
async def paid(hands, payments):
    """P1, paid in silence, so that the inbox holds refunds alone."""
    await opened(payments)
    return await hands.pay(P1, callback=False)


async def back(payments, refund_no, amount, total=TOTAL, payment_no=P1):
    return await payments.refund(
        refund_no, payment_no=payment_no, amount=Decimal(amount), total=total, reason="patient"
    )


async def test_a_full_refund_is_pending_then_succeeded(payments, paid, inbox):
    asked = await back(payments, "R1", "50.00")
    assert (asked.state, asked.amount, asked.finished_at) == (RefundState.PENDING, TOTAL, None)
    (event,) = await inbox.events(payments, 1)
    refund = await payments.query_refund("R1")
    assert (refund.state, refund.finished_at) == (RefundState.SUCCEEDED, event.at)
    assert (event.kind, event.payment_no, event.refund_no, event.amount, event.transaction_id) == (
        EventKind.REFUND_SUCCEEDED,
        P1,
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
        P2,
        amount=TOTAL,
        description="appointment",
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )
    assert await refused(back(payments, "R1", "1.00", payment_no=P2)) == "not_paid"
    assert await refused(back(payments, "R1", "1.00", payment_no=P404)) == "unknown_payment"
    assert await refused(back(payments, "R1", "1.00", Decimal("60.00"))) == "total_differs"


async def test_an_unknown_refund_is_a_state(payments):
    assert (await payments.query_refund("R404")).state is RefundState.UNKNOWN


async def test_a_failed_refund_can_be_tried_under_a_new_number(hands, payments, paid, inbox):
    await hands.refunds(RefundMode.FAIL)
    await back(payments, "R1", "50.00")
    (event,) = await inbox.events(payments, 1)
    assert event.kind is EventKind.REFUND_FAILED
    await hands.refunds(RefundMode.SUCCEED)
    assert (await back(payments, "R1", "50.00")).state is RefundState.FAILED
    await back(payments, "R2", "50.00")
    assert (await inbox.events(payments, 2))[1].kind is EventKind.REFUND_SUCCEEDED


async def test_unavailable_refunds_note_nothing(hands, payments, paid):
    await hands.refunds(RefundMode.UNAVAILABLE)
    with pytest.raises(GatewayUnavailable):
        await back(payments, "R1", "50.00")
    assert (await payments.query_refund("R1")).state is RefundState.UNKNOWN
    await hands.refunds(RefundMode.SUCCEED)
    assert (await back(payments, "R1", "50.00")).state is RefundState.PENDING


async def test_news_of_a_refund_can_be_lost_or_repeated(hands, payments, paid, inbox):
    await hands.refunds(RefundMode.SUCCEED, callback=False)
    await back(payments, "R1", "10.00")
    await hands.refunds(RefundMode.SUCCEED, times=2)
    await back(payments, "R2", "10.00")
    first, second = await inbox.events(payments, 2)
    assert first == second
    assert first.refund_no == "R2"
    assert (await payments.query_refund("R1")).state is RefundState.SUCCEEDED
