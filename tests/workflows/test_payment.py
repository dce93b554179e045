"""Money comes early, late, twice or never, and goes back; on a clock that skips."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from temporalio.api.enums.v1 import EventType

from activities.payment import OwedRefund
from domain.message import Template
from domain.payment import MoneyTaken, PaymentStatus, RefundCause, RefundStatus, Settlement
from tests.support.outside import PRICE
from tests.support.temporal import count_events, soon
from workflows.payment import PaymentWorkflow, RefundNews

pytestmark = pytest.mark.anyio

S = PaymentStatus
R = RefundStatus
P = PaymentWorkflow
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def money(world):
    return MoneyTaken(PRICE, await world.now(), "T-1")


@pytest.fixture
async def refunding(world):
    """A paid payment of which a refund is owed, begun by the news of it."""

    async def begun(*answers, refund_no="R-1"):
        world.payments.answers[refund_no] = list(answers)
        world.payments.owe(refund_no)
        start = replace(await world.new_payment(), status=S.PAID, version=1)
        return await world.pay(start, "refund_owed", RefundNews(refund_no))

    return begun


class TestComingIn:
    async def test_a_callback_pays(self, world, money, ending):
        payment, start = await world.opened()
        await payment.signal(P.money_taken, money)
        assert await ending(payment) == "paid"
        [change] = world.payments.moves
        assert (change.money, change.move.version, change.move.actor_role) == (money, 1, "gateway")
        assert world.payments.delivered == [start.payment_no]
        assert world.payments.owed == []

    async def test_a_repeated_callback_pays_once(self, world, money, ending):
        payment, _ = await world.opened()
        for _ in range(3):
            await payment.signal(P.money_taken, money)
        assert await ending(payment) == "paid"
        assert world.payments.statuses == ["paid"]

    async def test_money_without_a_callback_is_found_by_asking(self, world, money, ending):
        world.payments.taken = money
        payment, start = await world.opened()
        assert await ending(payment) == "paid"
        [change] = world.payments.moves
        assert change.money == money
        assert change.move.at >= start.settle_at

    async def test_a_gateway_that_is_away_for_hours_is_asked_until_it_answers(
        self, world, money, ending
    ):
        world.payments.taken = money
        world.troubles.failures["ask_for_money"] = 200  # at most once a minute
        payment, start = await world.opened()
        assert await ending(payment) == "paid"
        assert world.payments.moves[0].move.at - start.settle_at > timedelta(hours=3)

    async def test_unpaid_is_closed(self, world, ending):
        payment, _ = await world.opened()
        assert await ending(payment) == "closed"
        assert world.payments.statuses == ["closed"]
        assert world.payments.delivered == []

    async def test_late_money_reaches_an_order_that_has_more_time(self, world, money, ending):
        closed = replace(await world.new_payment(), status=S.CLOSED, version=1)
        payment = await world.pay(closed, "money_taken", money)
        assert await ending(payment) == "paid"
        assert world.payments.moves[0].move.version == 2
        assert world.payments.delivered == [closed.payment_no]

    async def test_late_money_of_a_closed_order_goes_back(self, world, money, ending):
        world.payments.useless = RefundCause.ORDER_CLOSED
        closed = replace(await world.new_payment(), status=S.CLOSED, version=1)
        payment = await world.pay(closed, "money_taken", money)
        assert await ending(payment) == "refunded"
        assert world.payments.statuses == ["paid", "refunded"]
        assert world.payments.owed == [OwedRefund(closed.payment_no, RefundCause.ORDER_CLOSED)]
        await world.told(Template.PAYMENT_REFUNDED)

    async def test_a_wrong_amount_goes_back(self, world, money, ending):
        world.payments.useless = RefundCause.WRONG_AMOUNT
        payment, start = await world.opened()
        await payment.signal(P.money_taken, replace(money, amount=PRICE - 1))
        assert await ending(payment) == "refunded"
        assert world.payments.owed == [OwedRefund(start.payment_no, RefundCause.WRONG_AMOUNT)]


class TestSettling:
    """The order asks for the last word at its deadline."""

    async def test_paid_is_found_by_asking(self, world, money):
        world.payments.taken = money
        payment, start = await world.opened()
        assert await payment.execute_update(P.settle_or_close) == Settlement(True, start.payment_no)
        assert await payment.result() == "paid"

    async def test_unpaid_is_closed(self, world, ending):
        payment, start = await world.opened()
        settled = await payment.execute_update(P.settle_or_close)
        assert settled == Settlement(False, start.payment_no)
        assert await ending(payment) == "closed"

    async def test_money_that_comes_while_closing_counts(self, world, money, ending):
        world.payments.taken_at_close = money
        payment, _ = await world.opened()
        settled = await payment.execute_update(P.settle_or_close)
        assert settled.paid
        assert await ending(payment) == "paid"
        assert world.payments.statuses == ["paid"]

    async def test_a_callback_while_closing_counts(self, world, money):
        closing = world.troubles.hold("close_payment")
        payment, _ = await world.opened()
        settling = asyncio.create_task(payment.execute_update(P.settle_or_close))
        await closing.entered.wait()
        await payment.signal(P.money_taken, money)
        closing.open()
        assert (await settling).paid
        assert await payment.result() == "paid"
        assert world.payments.statuses == ["paid"]

    async def test_a_callback_while_the_close_is_written_counts(self, world, money, ending):
        writing = world.troubles.hold("record_payment_move")
        payment, _ = await world.opened()
        await world.sleep(17 * MINUTE)
        await writing.entered.wait()
        await payment.signal(P.money_taken, money)
        writing.open()
        assert await ending(payment) == "paid"
        assert world.payments.statuses == ["closed", "paid"]

    async def test_a_wrong_amount_has_not_paid(self, world, money):
        world.payments.taken = replace(money, amount=PRICE + 1)
        world.payments.useless = RefundCause.WRONG_AMOUNT
        payment, _ = await world.opened()
        settled = await payment.execute_update(P.settle_or_close)
        assert not settled.paid
        assert await payment.result() == "refunded"

    @pytest.mark.parametrize(
        ("status", "right_amount", "paid"),
        [(S.PAID, True, True), (S.PAID, False, False), (S.CLOSED, True, False)],
    )
    async def test_what_is_settled_stays_so(self, world, status, right_amount, paid):
        start = replace(
            await world.new_payment(), status=status, version=1, right_amount=right_amount
        )
        payment = await world.pay(start)
        settled = await payment.execute_update(P.settle_or_close)
        assert settled == Settlement(paid, start.payment_no)
        assert world.payments.moves == []

    async def test_two_who_ask_get_one_answer(self, world, money):
        world.payments.taken = money
        payment, _ = await world.opened()
        answers = await asyncio.gather(
            *(payment.execute_update(P.settle_or_close) for _ in range(2))
        )
        assert [answer.paid for answer in answers] == [True, True]
        assert world.payments.statuses == ["paid"]


class TestGoingBack:
    async def test_at_once(self, world, refunding, ending):
        payment = await refunding(R.SUCCEEDED)
        assert await ending(payment) == "refunded"
        assert world.payments.statuses == ["refunded"]
        await world.told(Template.PAYMENT_REFUNDED)

    async def test_by_the_gateways_news(self, world, refunding, ending):
        payment = await refunding(R.PENDING, R.SUCCEEDED)
        await soon(lambda: len(world.payments.asked) == 1)
        await payment.signal(P.refund_finished, RefundNews("R-1"))
        await soon(lambda: len(world.payments.asked) == 2)
        assert await ending(payment) == "refunded"
        first, second = (at for _, at in world.payments.asked)
        assert second - first < MINUTE

    async def test_by_asking_again_ever_more_slowly(self, world, refunding, ending):
        payment = await refunding(*[R.PENDING] * 10, R.SUCCEEDED)
        assert await ending(payment) == "refunded"
        times = [at for _, at in world.payments.asked]
        pauses = [round((b - a) / MINUTE) for a, b in pairwise(times)]
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]

    async def test_months_of_asking_fit_into_a_history(self, world, refunding):
        asked = 30
        payment = await refunding(*[R.PENDING] * asked, R.SUCCEEDED)
        await payment.result()
        events = len((await payment.fetch_history()).events)
        a_day = 24 * events / asked  # once an hour
        assert 100 * a_day < 51_200  # where Temporal ends a workflow

    async def test_refused_for_good_stays_paid(self, world, refunding, ending):
        payment = await refunding(R.PENDING, R.FAILED)
        assert await ending(payment) == "paid"
        assert world.payments.refunds == {"R-1": R.FAILED}
        assert world.messages.told == []

    async def test_after_a_day_an_operator_is_waited_for(self, world, refunding, ending):
        payment = await refunding(*[R.PENDING] * 40, R.SUCCEEDED)
        begun = await world.now()
        await soon(lambda: len(world.payments.asked) == 1)
        assert (await world.shown(payment)).waiting_for == "gateway"
        await world.sleep(timedelta(hours=26))
        waiting = await world.shown(payment)
        assert waiting.waiting_for == "operator"
        assert waiting.due_at - begun < timedelta(hours=24, seconds=5)
        assert await ending(payment) == "refunded"

    async def test_a_gateway_that_is_away_for_a_day_is_shown_to_operators(self, world, refunding):
        world.troubles.failures["make_refund"] = 10_000
        payment = await refunding(R.SUCCEEDED)
        await world.sleep(timedelta(hours=26))
        assert (await world.shown(payment)).waiting_for == "operator"
        world.troubles.failures.clear()
        assert await payment.result() == "refunded"

    async def test_two_refunds_of_one_payment(self, world, refunding, ending):
        world.payments.owe("R-2")
        payment = await refunding(R.SUCCEEDED)
        assert await ending(payment) == "refunded"
        assert set(world.payments.refunds.values()) == {R.SUCCEEDED}

    async def test_a_slow_refund_does_not_hold_up_another(self, world, refunding, ending):
        payment = await refunding(R.PENDING, R.PENDING, R.PENDING, R.SUCCEEDED)
        await soon(lambda: len(world.payments.asked) == 1)
        world.payments.owe("R-2")
        await payment.signal(P.refund_owed, RefundNews("R-2"))
        await soon(lambda: world.payments.refunds["R-2"] is R.SUCCEEDED)
        assert world.payments.refunds["R-1"] is R.PENDING
        assert await ending(payment) == "refunded"

    async def test_a_part_that_goes_back_leaves_it_paid(self, world, refunding, ending):
        world.payments.all_back = False
        payment = await refunding(R.SUCCEEDED)
        assert await ending(payment) == "paid"
        await world.told(Template.PAYMENT_REFUNDED)

    async def test_the_rest_may_follow_later(self, world, refunding, ending):
        world.payments.all_back = False
        payment = await refunding(R.SUCCEEDED)
        assert await payment.result() == "paid"
        world.payments.all_back = True
        payment = await refunding(R.SUCCEEDED, refund_no="R-2")
        assert await ending(payment) == "refunded"

    async def test_a_refund_that_is_owed_during_the_last_activity_is_made(
        self, world, refunding, ending
    ):
        last = world.troubles.hold("nothing_left")
        world.payments.all_back = False
        payment = await refunding(R.SUCCEEDED)
        await last.entered.wait()
        world.payments.owe("R-2")
        await payment.signal(P.refund_owed, RefundNews("R-2"))
        world.payments.all_back = True
        last.open()
        assert await ending(payment) == "refunded"
        assert world.payments.refunds["R-2"] is R.SUCCEEDED

    async def test_money_that_comes_with_the_last_task_is_taken(self, world, money, ending):
        closing = world.pausing.at_writing(b'"closed"')
        payment, _ = await world.opened()
        ended = asyncio.create_task(ending(payment))
        await closing.entered.wait()
        await payment.signal(P.money_taken, money)
        closing.open()
        assert await ended == "paid"


class TestPullingThePlug:
    """*Cancel* in Temporal's web UI drops no money."""

    async def test_while_it_waits_for_money_it_is_settled_now(self, world, money, ending):
        world.payments.taken = money
        payment, start = await world.opened()
        await payment.cancel()
        assert await ending(payment) == "paid"
        assert world.payments.moves[0].move.at < start.settle_at

    async def test_while_the_gateway_is_asked(self, world, money):
        asking = world.troubles.hold("ask_for_money")
        payment, _ = await world.opened()
        settling = asyncio.create_task(payment.execute_update(P.settle_or_close))
        await asking.entered.wait()
        await payment.cancel()
        await soon(lambda: asking.held == 2)
        world.payments.taken = money
        asking.open()
        assert (await settling).paid
        assert await payment.result() == "paid"

    async def test_while_late_money_cannot_be_written(self, world, money, ending):
        world.troubles.failures["record_payment_move"] = 1000
        closed = replace(await world.new_payment(), status=S.CLOSED, version=1)
        payment = await world.pay(closed, "money_taken", money)
        await soon(lambda: world.troubles.failures["record_payment_move"] < 1000)
        await payment.cancel()
        await asyncio.sleep(0.1)
        world.troubles.failures.clear()
        assert await ending(payment) == "paid"
        assert [change.move.version for change in world.payments.moves] == [2]

    async def test_while_a_refund_is_on_its_way(self, world, refunding, ending):
        payment = await refunding(R.PENDING, R.PENDING, R.SUCCEEDED)
        # Not while an activity is just finishing: that stops the test server's clock for good.
        while not await count_events(payment, EventType.EVENT_TYPE_TIMER_STARTED):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await payment.cancel()
        assert await ending(payment) == "refunded"


class TestShowing:
    async def test_what_it_was_started_with_is_not_said_again(self, world):
        payment, start = await world.opened()
        waiting = await world.shown(payment)
        assert (waiting.status, waiting.waiting_for) == ("pending", "payment")
        assert waiting.due_at == start.settle_at
        assert "**payment**" in waiting.details
        await payment.result()
        upserts = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
        assert await count_events(payment, upserts) == 1
        ended = await world.shown(payment)
        assert (ended.status, ended.waiting_for, ended.due_at) == ("closed", None, None)

    async def test_since_when_it_waits_does_not_move_with_every_question(self, world, refunding):
        payment = await refunding(*[R.PENDING] * 20)
        await soon(lambda: len(world.payments.asked) == 1)
        first = (await world.shown(payment)).details
        await world.sleep(timedelta(hours=3))
        assert (await world.shown(payment)).details == first
