"""What a decision brings about: rows on a real PostgreSQL, money at a real sandbox gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.gateways.payment import GatewayRefused, GatewayUnavailable, RefundState
from activities.message import Outgoing
from activities.payment import PaymentActivities
from activities.work_item import Change, WorkItemActivities
from db.keyring import Keyring
from db.payment import find_refund, record_refund, retry_refund, settle_elsewhere
from db.work_item import open_work_item
from domain.access import Role
from domain.message import Template
from domain.payment import RefundCause, RefundStatus
from domain.work_item import (
    NewWorkItem,
    Progress,
    WorkItemKind,
    WorkItemMove,
    WorkItemStatus,
    for_desk,
)
from tests.support.booking import Clinic, Till
from tests.support.gateway import ZONE, RunningGateway, sandbox_gateway

pytestmark = pytest.mark.anyio

R, S, K = RefundStatus, WorkItemStatus, WorkItemKind
LEASE = timedelta(minutes=15)
REFUND = "R-clinic"
SIGNALS = "select concat_ws(' ', workflow, subject, signal) from outbox where signal is not null"
REFUNDS = "select status from refund order by id"
STUCK = "select subject || ' ' || status from work_item order by id"


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
async def till(clinic: Clinic) -> Till:
    """P1 has taken 50 yuan, and they are owed."""
    till = Till(clinic)
    await till.open(await clinic.booked(await clinic.someone(), await clinic.slot()))
    await till.take()
    await till.owe(RefundCause.CLINIC)
    await clinic.run("delete from outbox")
    return till


@pytest.fixture
def work(clinic: Clinic) -> WorkItemActivities:
    return WorkItemActivities(clinic.engine, 1)


class Gateway:
    """Answers every refund in this way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def refund(self, refund_no: str, **_: Any) -> Any:
        raise self.error


@dataclass
class Meanwhile:
    """A gateway that makes every refund, and while it does a person says that they paid it."""

    clinic: Clinic
    gateway: Any

    async def refund(self, refund_no: str, **how: Any) -> Any:
        answer = await self.gateway.refund(refund_no, **how)
        if answer.state is RefundState.SUCCEEDED:
            async with self.clinic.engine.begin() as connection:
                await settle_elsewhere(connection, refund_no, by=41, at=datetime.now(UTC))
        return answer


def payments(clinic: Clinic, error: Exception, **changes: Any) -> PaymentActivities:
    at: Any = {"sandbox": Gateway(error)}
    made = PaymentActivities(clinic.engine, at, None, ZONE, lambda _: None)  # type: ignore[arg-type]
    return replace(made, **changes)


async def told(clinic: Clinic) -> list[str]:
    facts = "select distinct subject from outbox where workflow = 'message' order by subject"
    return [str(fact) for fact in await clinic.ids(facts)]


REFUSES = GatewayRefused("refund_differs")


async def make_refund(payments: PaymentActivities, refund_no: str = REFUND) -> RefundStatus:
    status: RefundStatus = await ActivityEnvironment().run(payments.make_refund, refund_no)
    return status


async def number_of(clinic: Clinic) -> str:
    return str(await clinic.value("select number from work_item where closed_at is null"))


async def decide(
    work: WorkItemActivities, clinic: Clinic, decision: str, kind: str = K.REFUND_STUCK
) -> Outgoing | None:
    """As its workflow writes it, twice: the first answer may have been lost."""
    number = await number_of(clinic)
    subject = await clinic.value("select subject from work_item where number = :n", n=number)
    move = WorkItemMove(
        number, 1, "decided", S.DECIDED, datetime.now(UTC), "operator", 41,
        claimed_by=41, decision=decision,
    )  # fmt: skip
    await work.record_work_item(Change(move, kind, subject))
    return await work.record_work_item(Change(move, kind, subject))


# A refund that does not go through


async def test_a_refund_that_failed_for_good_waits_for_an_operator(
    clinic: Clinic, till: Till
) -> None:
    assert await make_refund(payments(clinic, REFUSES)) is R.FAILED
    assert await clinic.ids(STUCK) == [f"{REFUND} open"]
    assert await clinic.value("select role from work_item") == "operator"
    details = await clinic.value("select details from work_item")
    assert details == {"why": "failed", "payment_no": "P1", "amount": "50.00", "cause": "clinic"}
    payer = await clinic.value("select account_id from payment")
    assert await clinic.value("select excluded from work_item") == [payer], "not whose money it is"
    reminded = "select escalates_at - opened_at from work_item where escalates_to = role"
    assert abs(await clinic.value(reminded) - timedelta(hours=24)) < timedelta(minutes=1)


async def test_a_refund_that_takes_too_long_waits_for_an_operator_too(
    clinic: Clinic, till: Till
) -> None:
    away = payments(clinic, GatewayUnavailable("away"))
    for hours, stuck in ((23, 0), (25, 1), (26, 1)):
        await clinic.run(
            "update refund set created_at = now() - make_interval(hours => :h)", h=hours
        )
        with pytest.raises(GatewayUnavailable):
            await make_refund(away)
        assert await clinic.value("select count(*) from work_item") == stuck
    assert (await clinic.value("select details ->> 'why' from work_item")) == "overdue"


async def test_once_an_operator_has_looked_it_has_its_time_again(
    clinic: Clinic, till: Till, work: WorkItemActivities
) -> None:
    away = payments(clinic, GatewayUnavailable("away"))
    await clinic.run("update refund set created_at = now() - interval '3 days'")
    with pytest.raises(GatewayUnavailable):
        await make_refund(away)
    await decide(work, clinic, "retry")
    assert await clinic.ids(REFUNDS) == ["pending"]  # the same: a new one might pay twice
    assert await clinic.ids(SIGNALS) == ["payment P1 refund_owed"]
    for hours, stuck in ((23, 1), (25, 2)):
        await clinic.run(
            "update work_item set closed_at = now() - make_interval(hours => :h)", h=hours
        )
        with pytest.raises(GatewayUnavailable):
            await make_refund(away)
        assert await clinic.value("select count(*) from work_item") == stuck


async def test_one_that_goes_through_in_the_end_needs_nobody(
    clinic: Clinic, till: Till, tmp_path: Path
) -> None:
    await clinic.run("update refund set created_at = now() - interval '3 days'")
    with pytest.raises(GatewayUnavailable):
        await make_refund(payments(clinic, GatewayUnavailable("away")))
    number = await number_of(clinic)
    async with paying_gateway(tmp_path) as gateway:
        port: Any = {"sandbox": gateway.payments("http://127.0.0.1:1/notify")}
        answers = [await make_refund(payments(clinic, REFUSES, gateways=port)) for _ in range(3)]
    assert answers[-1] is R.SUCCEEDED
    assert await clinic.ids(SIGNALS) == [f"work_item {number} withdraw"]


async def test_a_retry_is_a_new_refund_that_really_goes_back(
    clinic: Clinic, till: Till, work: WorkItemActivities, tmp_path: Path
) -> None:
    await make_refund(payments(clinic, REFUSES))
    await decide(work, clinic, "retry")
    assert await clinic.ids(REFUNDS) == ["failed", "pending"]
    assert await clinic.ids(SIGNALS) == ["payment P1 refund_owed"]
    again = await clinic.value("select refund_no from refund where status = 'pending'")
    assert await till.owe(RefundCause.CLINIC) == again  # it stands for the cause now
    async with paying_gateway(tmp_path) as gateway:
        port: Any = {"sandbox": gateway.payments("http://127.0.0.1:1/notify")}
        made = payments(clinic, REFUSES, gateways=port)
        answers = [await make_refund(made, again) for _ in range(3)]
        assert answers[-1] is R.SUCCEEDED
        assert await made.nothing_left("P1")
    assert (await till.balances())["patients"] == 0
    shown = "select refund_status || ' ' || refunded_amount from appointment_order"
    assert await clinic.value(shown) == "succeeded 50.00"


async def test_what_another_refund_took_meanwhile_is_not_paid_twice(
    clinic: Clinic, till: Till, work: WorkItemActivities
) -> None:
    await make_refund(payments(clinic, REFUSES))
    other = await till.owe(RefundCause.WRONG_AMOUNT)
    assert other is not None
    await decide(work, clinic, "retry")
    assert await clinic.ids(REFUNDS) == ["failed", "pending"]  # none is left


async def test_paid_otherwise_is_in_the_ledger_and_says_by_whom(
    clinic: Clinic, till: Till, work: WorkItemActivities
) -> None:
    await make_refund(payments(clinic, REFUSES))
    await decide(work, clinic, "paid_otherwise")
    assert await clinic.ids("select status || ' ' || settled_by from refund") == [
        "settled_elsewhere 41"
    ]
    assert await till.balances() == {
        "gateway:sandbox": Decimal("50.00"),  # what it holds stays the hospital's
        "elsewhere": Decimal("-50.00"),
        "patients": Decimal("0.00"),
    }
    assert await clinic.ids(SIGNALS) == ["payment P1 refund_finished"]
    assert await told(clinic) == [f"{REFUND}:payment_settled_elsewhere"]
    assert await payments(clinic, REFUSES).nothing_left("P1")
    assert await make_refund(payments(clinic, REFUSES)) is R.SETTLED_ELSEWHERE
    assert await clinic.value("select refund_status from appointment_order") == "succeeded"


async def test_money_that_comes_back_all_the_same_shows_in_the_ledger(
    clinic: Clinic, till: Till
) -> None:
    """The gateway was just being asked when the operator decided."""
    async with clinic.engine.begin() as connection:
        await settle_elsewhere(connection, REFUND, by=41, at=datetime.now(UTC))
    await till.end(REFUND, R.SUCCEEDED)
    assert await clinic.ids(REFUNDS) == ["settled_elsewhere"]
    assert (await till.balances())["patients"] == Decimal("50.00")  # they owe us


async def test_what_the_gateway_paid_while_a_person_said_so_too_is_looked_at(
    clinic: Clinic, till: Till, tmp_path: Path
) -> None:
    async with paying_gateway(tmp_path) as gateway:
        meanwhile: Any = Meanwhile(clinic, gateway.payments("http://127.0.0.1:1/notify"))
        made = payments(clinic, REFUSES, gateways={"sandbox": meanwhile})
        for _ in range(3):
            await make_refund(made)
    assert await clinic.ids(REFUNDS) == ["settled_elsewhere"]
    assert await clinic.ids(STUCK) == [f"paid_twice:{REFUND} open"]


async def test_what_a_person_paid_when_the_gateway_just_had_is_in_the_ledger_and_looked_at(
    clinic: Clinic, till: Till, work: WorkItemActivities
) -> None:
    """The success was written just before the decision: the work item was about to be withdrawn."""
    await make_refund(payments(clinic, REFUSES))
    await clinic.run("update refund set status = 'pending'")
    await till.end(REFUND, R.SUCCEEDED)
    await decide(work, clinic, "paid_otherwise")
    assert await clinic.ids(REFUNDS) == ["succeeded"]
    assert await till.balances() == {
        "gateway:sandbox": Decimal("0.00"),
        "elsewhere": Decimal("-50.00"),
        "patients": Decimal("50.00"),  # they owe us
    }
    assert await clinic.ids(STUCK) == [f"{REFUND} decided", f"paid_twice:{REFUND} open"]
    newest = "select {} from work_item order by id desc limit 1"
    assert await clinic.value(newest.format("kind")) == "reconciliation_difference"
    assert (await clinic.value(newest.format("details")))["code"] == "paid_twice"
    payer = await clinic.value("select account_id from payment")
    assert await clinic.value(newest.format("excluded")) == [payer]
    assert await told(clinic) == [f"{REFUND}:payment_refunded"]


async def test_what_is_done_is_left_alone(clinic: Clinic, till: Till) -> None:
    await till.end(REFUND, R.SUCCEEDED)
    async with clinic.engine.begin() as connection:
        await retry_refund(connection, REFUND)
        await retry_refund(connection, "R-nothing")
        at = datetime.now(UTC)
        assert not await settle_elsewhere(connection, "R-nothing", by=41, at=at)
        refund = await find_refund(connection, REFUND)
    assert refund is not None
    assert refund.status is R.SUCCEEDED
    assert await clinic.ids(SIGNALS) == []


async def test_two_who_hear_of_one_refund_have_not_paid_twice(clinic: Clinic, till: Till) -> None:
    for _ in range(2):
        async with clinic.engine.begin() as connection:
            refund = await find_refund(connection, REFUND)
            assert refund is not None
            assert not await record_refund(connection, refund, R.SUCCEEDED, datetime.now(UTC))
    assert await told(clinic) == [f"{REFUND}:payment_refunded"]


# Suspensions


@pytest.mark.parametrize(
    ("decision", "lifted", "news"),
    [
        ("lifted", 41, Template.SUSPENSION_LIFTED),
        ("kept", None, Template.SUSPENSION_KEPT),
    ],
)
async def test_an_appeal_is_answered(
    clinic: Clinic, work: WorkItemActivities, decision: str, lifted: int | None, news: Template
) -> None:
    order_no = await clinic.booked(await clinic.someone(), await clinic.slot())
    await clinic.suspend(order_no)
    async with clinic.engine.begin() as connection:
        await open_work_item(connection, 1, for_desk(K.SUSPENSION_LIFT, order_no, LEASE))
    number = await number_of(clinic)
    told = await decide(work, clinic, decision, K.SUSPENSION_LIFT)
    assert told == Outgoing(f"{number}:{news}", order_no, news)
    assert await clinic.value("select lifted_by from booking_suspension") == lifted
    lifted_at = await clinic.value("select lifted_at from booking_suspension")
    assert (lifted_at is None) == (lifted is None)


# For an order's own workflow


async def test_an_order_finds_its_work_item_where_it_stands(
    clinic: Clinic, work: WorkItemActivities
) -> None:
    audit = NewWorkItem("audit", "RX1", Role.PHARMACIST, ("approved",), LEASE, round=0)
    first = await work.open_work_item(audit)
    assert await work.open_work_item(audit) == first
    assert first.progress == Progress()
    assert await clinic.value("select count(*) from outbox") == 0  # the order starts it itself
    move = WorkItemMove(
        first.item.number, 1, "decided", S.DECIDED, datetime.now(UTC), "pharmacist", 21,
        claimed_by=21, decision="approved",
    )  # fmt: skip
    assert await work.record_work_item(Change(move, "audit", "RX1")) is None
    assert (await work.open_work_item(audit)).progress.decision == "approved"
    with pytest.raises(ValueError, match="for which"):
        await work.open_work_item(replace(audit, round=None))


@asynccontextmanager
async def paying_gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A sandbox gateway at which P1 was paid."""
    async with sandbox_gateway(tmp_path / "gateway.db") as gateway:
        await gateway.payments("http://127.0.0.1:1/notify").prepay(
            "P1",
            amount=Decimal("50.00"),
            description="appointment",
            expires_at=datetime.now(UTC) + timedelta(minutes=15),
        )
        await gateway.controls.pay("P1", callback=False)
        yield gateway
