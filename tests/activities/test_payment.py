"""What the payment lifecycle does: rows on a real PostgreSQL, money at a real sandbox gateway."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.gateways.payment import (
    GatewayRefused,
    GatewayUnavailable,
    PaymentState,
    RefundState,
)
from activities.gateways.sandbox_payment import SandboxPaymentGateway
from activities.gateways.sandbox_wire import RefundMode
from activities.lifecycles import NoLifecycle
from activities.payment import OwedRefund, PaymentActivities, PaymentMove
from db.keyring import Keyring
from db.outbox import receive
from domain.appointment import AppointmentStatus as S
from domain.order import Move
from domain.payment import MoneyTaken, PaymentStatus, RefundCause, RefundStatus, Settlement
from tests.support.booking import Clinic, Till
from tests.support.gateway import ZONE, RunningGateway, sandbox_gateway

pytestmark = pytest.mark.anyio


@dataclass
class Lifecycles:
    """What activities say to other workflows, remembered."""

    told: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    closed: bool = False
    settlements: dict[str, Settlement] = field(default_factory=dict)

    async def tell(self, kind: str, subject: str, signal: str, args: object = None) -> None:
        if self.closed:
            raise NoLifecycle(subject)
        self.told.append((kind, subject, signal))

    async def ask(
        self, kind: str, subject: str, update: str, args: object = None, *, result: type
    ) -> Any:
        self.asked.append((kind, subject, update))
        return self.settlements.get(subject, Settlement(paid=False, payment_no=subject))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with sandbox_gateway(tmp_path / "gateway.db") as gateway:
        yield gateway


@pytest.fixture
def port(gateway: RunningGateway) -> SandboxPaymentGateway:
    return gateway.payments("http://127.0.0.1:1/notify")  # callbacks get lost


@pytest.fixture
async def till(engine: AsyncEngine, keyring: Keyring) -> Till:
    return Till(await Clinic.opened(engine, keyring))


@pytest.fixture
def lifecycles() -> Lifecycles:
    return Lifecycles()


@pytest.fixture
def counted() -> list[str]:
    return []


@pytest.fixture
def payments(
    engine: AsyncEngine, port: SandboxPaymentGateway, lifecycles: Lifecycles, counted: list[str]
) -> PaymentActivities:
    return PaymentActivities(engine, {"sandbox": port}, lifecycles, ZONE, counted.append)


@pytest.fixture
async def order_no(till: Till) -> str:
    return await till.clinic.booked(await till.clinic.someone(), await till.clinic.slot())


@pytest.fixture
async def opened(till: Till, order_no: str, port: SandboxPaymentGateway) -> str:
    """P1, open here and at the gateway."""
    payment, _ = await till.open(order_no)
    await port.prepay(
        "P1", amount=payment.amount, description="appointment", expires_at=payment.expires_at
    )
    return order_no


@pytest.fixture
async def paid(opened: str, gateway: RunningGateway, payments: PaymentActivities) -> str:
    await gateway.controls.pay("P1", callback=False)
    money = await payments.ask_for_money("P1")
    assert money is not None
    assert await payments.record_payment_move(paid_move(money))
    return opened


def paid_move(money: MoneyTaken, version: int = 1) -> PaymentMove:
    now = datetime.now(UTC)
    return PaymentMove(Move("P1", version, "paid", PaymentStatus.PAID, now, "gateway"), money)


async def make_refund(payments: PaymentActivities, refund_no: str) -> RefundStatus:
    status: RefundStatus = await ActivityEnvironment().run(payments.make_refund, refund_no)
    return status


# Money in


async def test_the_gateway_is_asked_when_no_callback_came(
    payments: PaymentActivities, gateway: RunningGateway, opened: str
) -> None:
    assert await payments.ask_for_money("P1") is None
    await gateway.controls.pay("P1", callback=False)
    money = await payments.ask_for_money("P1")
    assert money is not None
    assert (money.amount, bool(money.transaction_id)) == (Decimal("50.00"), True)


async def test_a_callback_that_came_spares_the_question(
    payments: PaymentActivities, till: Till, order_no: str
) -> None:
    await till.open(order_no)
    now = datetime.now(UTC)
    async with till.clinic.engine.begin() as connection:
        await receive(
            connection, source="sandbox", event_id="E1", subject="P1", kind="payment_succeeded",
            content={"amount": "50.00", "at": now.isoformat(), "transaction_id": "T1"},
        )  # fmt: skip
    silent = replace(payments, gateways={})
    assert await silent.ask_for_money("P1") == MoneyTaken(Decimal("50.00"), now, "T1")


async def test_closing_lets_nobody_pay_unless_the_money_came_first(
    payments: PaymentActivities, gateway: RunningGateway, port: SandboxPaymentGateway, opened: str
) -> None:
    assert await payments.close_payment("P1") is None
    assert (await port.query("P1")).state is PaymentState.CLOSED
    await gateway.controls.pay("P1", callback=False)  # as real gateways sometimes let it be
    assert await payments.close_payment("P1") is not None


async def test_a_payment_that_never_reached_the_gateway_is_closed_too(
    payments: PaymentActivities, till: Till, order_no: str
) -> None:
    await till.open(order_no)
    assert await payments.ask_for_money("P1") is None
    assert await payments.close_payment("P1") is None


async def test_a_move_that_is_written_twice_is_there_once(
    payments: PaymentActivities, till: Till, opened: str
) -> None:
    money = MoneyTaken(Decimal("50.00"), datetime.now(UTC), "T1")
    for _ in range(2):
        assert await payments.record_payment_move(paid_move(money))
    assert (await till.balances())["patients"] == Decimal("-50.00")


async def test_a_wrong_amount_is_said_to_be_one(
    payments: PaymentActivities, lifecycles: Lifecycles, opened: str
) -> None:
    money = MoneyTaken(Decimal("49.99"), datetime.now(UTC), "T1")
    assert not await payments.record_payment_move(paid_move(money))
    assert await payments.deliver_payment("P1") is RefundCause.WRONG_AMOUNT
    assert lifecycles.told == []


# Handing over


async def test_the_order_is_told_of_its_money(
    payments: PaymentActivities, lifecycles: Lifecycles, paid: str
) -> None:
    assert await payments.deliver_payment("P1") is None
    assert lifecycles.told == [("appointment", paid, "payment_received")]


async def test_money_for_a_closed_order_goes_back(
    payments: PaymentActivities, lifecycles: Lifecycles, till: Till, paid: str
) -> None:
    await till.clinic.move(paid, 1, S.CANCELLED, at=datetime.now(UTC))
    lifecycles.closed = True
    assert await payments.deliver_payment("P1") is RefundCause.ORDER_CLOSED


async def test_money_that_the_order_had_used_before_it_closed_stays(
    payments: PaymentActivities, lifecycles: Lifecycles, till: Till, paid: str
) -> None:
    await till.clinic.move(paid, 1, S.CONFIRMED, at=datetime.now(UTC), payment_no="P1")
    await till.clinic.move(paid, 2, S.COMPLETED, at=datetime.now(UTC))
    lifecycles.closed = True
    assert await payments.deliver_payment("P1") is None


# Money back


async def test_a_refund_is_promised_made_and_in_the_ledger_once(
    payments: PaymentActivities, till: Till, paid: str, counted: list[str]
) -> None:
    owed = OwedRefund("P1", RefundCause.CLINIC)
    numbers = {await payments.owe_refund(owed) for _ in range(3)}
    (refund_no,) = numbers
    assert refund_no is not None
    assert refund_no.startswith("R")
    assert await payments.refunds_to_make("P1") == (refund_no,)
    statuses = [await make_refund(payments, refund_no) for _ in range(3)]
    assert statuses[-1] is RefundStatus.SUCCEEDED
    assert await payments.refunds_to_make("P1") == ()
    assert await payments.nothing_left("P1")
    assert (await till.balances())["patients"] == 0
    assert counted == ["paid", "refund_succeeded"]
    # Also when the answer of the try that wrote the row never reached the workflow.
    told = "select subject from outbox where workflow = 'message'"
    assert await till.clinic.ids(told) == [f"{refund_no}:payment_refunded"]


async def test_a_refund_that_takes_its_time_stays_pending(
    payments: PaymentActivities, gateway: RunningGateway, paid: str
) -> None:
    await gateway.controls.refunds(RefundMode.SUCCEED, delay=timedelta(hours=1))
    refund_no = await payments.owe_refund(OwedRefund("P1", RefundCause.PATIENT, Decimal("0.5")))
    assert refund_no is not None
    assert await make_refund(payments, refund_no) is RefundStatus.PENDING
    assert await payments.refunds_to_make("P1") == (refund_no,)
    await gateway.controls.settle_refund(refund_no, RefundState.SUCCEEDED)
    assert await make_refund(payments, refund_no) is RefundStatus.SUCCEEDED
    assert not await payments.nothing_left("P1")


async def test_a_gateway_that_is_away_is_no_answer(
    payments: PaymentActivities, gateway: RunningGateway, paid: str
) -> None:
    refund_no = await payments.owe_refund(OwedRefund("P1", RefundCause.PATIENT))
    assert refund_no is not None
    await gateway.controls.outage(timedelta(minutes=1))
    with pytest.raises(GatewayUnavailable):
        await make_refund(payments, refund_no)
    assert await payments.refunds_to_make("P1") == (refund_no,)


@dataclass
class Refusing:
    """A gateway that refuses every refund with this code."""

    code: str

    async def refund(self, refund_no: str, **_: Any) -> Any:
        raise GatewayRefused(self.code)


async def test_a_final_no_is_written_down_for_a_human(
    payments: PaymentActivities, till: Till, paid: str
) -> None:
    refund_no = await payments.owe_refund(OwedRefund("P1", RefundCause.PATIENT))
    assert refund_no is not None
    refusing: Any = {"sandbox": Refusing("refund_exceeds_paid")}
    stubborn = replace(payments, gateways=refusing)
    assert await make_refund(stubborn, refund_no) is RefundStatus.FAILED
    assert await till.refunds() == [("patient", "50.00", "failed")]
    assert (await till.balances())["patients"] == Decimal("-50.00")


@pytest.mark.parametrize("code", ["stale", "forged", "not_signed"])
async def test_a_refusal_of_our_own_making_loses_no_refund(
    payments: PaymentActivities, till: Till, paid: str, code: str
) -> None:
    refund_no = await payments.owe_refund(OwedRefund("P1", RefundCause.PATIENT))
    assert refund_no is not None
    refusing: Any = {"sandbox": Refusing(code)}
    with pytest.raises(GatewayRefused):
        await make_refund(replace(payments, gateways=refusing), refund_no)
    assert await make_refund(payments, refund_no) is not RefundStatus.FAILED


# Settling an order


async def test_an_order_nobody_tried_to_pay_is_settled_as_unpaid(
    payments: PaymentActivities, lifecycles: Lifecycles, order_no: str
) -> None:
    assert await payments.settle_order(order_no) == Settlement(paid=False)
    assert lifecycles.asked == []


async def test_every_open_payment_of_the_order_is_asked(
    payments: PaymentActivities, lifecycles: Lifecycles, till: Till, order_no: str
) -> None:
    await till.open(order_no, "P1")
    await till.move("P1", 1, PaymentStatus.CLOSED)
    await till.open(order_no, "P2")
    assert await payments.settle_order(order_no) == Settlement(paid=False)
    assert lifecycles.asked == [("payment", "P2", "settle_or_close")]
    lifecycles.settlements["P2"] = Settlement(paid=True, payment_no="P2")
    assert await payments.settle_order(order_no) == Settlement(paid=True, payment_no="P2")


async def test_money_that_came_in_time_counts_however_late_the_news(
    payments: PaymentActivities, till: Till, order_no: str
) -> None:
    await till.open(order_no)
    await till.take()
    assert await payments.settle_order(order_no) == Settlement(paid=True, payment_no="P1")


async def test_a_wrong_amount_does_not_count(
    payments: PaymentActivities, till: Till, order_no: str
) -> None:
    await till.open(order_no)
    await till.take("P1", "1.00")
    assert await payments.settle_order(order_no) == Settlement(paid=False)
