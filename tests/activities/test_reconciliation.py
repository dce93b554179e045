"""A real gateway's bill against rows in a real database; Temporal is what a test says it is."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.gateways.payment import (
    BadLine,
    Bill,
    BillKind,
    BillLine,
    GatewayRefused,
    GatewayUnavailable,
)
from activities.reconciliation import ChannelDay, NoBill, ReconciliationActivities, Suspects
from db.keyring import Keyring
from domain.payment import RefundCause, RefundStatus
from tests.support.booking import Clinic, Till
from tests.support.gateway import ZONE, RunningGateway, sandbox_gateway

pytestmark = pytest.mark.anyio

PRICE = Decimal("50.00")
DIFFERENCES = "select code || ' ' || number from reconciliation_difference order by id"
RUN = "select status || ' ' || (figures ->> 'filed') from reconciliation_run"


@dataclass
class Seen:
    """What Temporal runs; its lists may say something else."""

    now: set[str] = field(default_factory=set)
    listed: set[str] | None = None

    async def running(self) -> set[str]:
        return set(self.now if self.listed is None else self.listed)

    async def runs(self, id: str) -> bool:
        return id in self.now


class BillGateway:
    """A gateway whose bills are what a test says, by day; others are not out yet."""

    bill_zone = ZONE

    def __init__(self) -> None:
        self.bills: dict[date, Bill | Exception] = {}
        self.asked: list[date] = []

    async def bill(self, day: date) -> Bill:
        self.asked.append(day)
        found = self.bills.get(day, GatewayUnavailable("bill_not_out"))
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
async def till(clinic: Clinic) -> Till:
    till = Till(clinic)
    await till.open(await clinic.booked(await clinic.someone(), await clinic.slot()))
    return till


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with sandbox_gateway(tmp_path / "gateway.db") as gateway:
        yield gateway


def reconciling(clinic: Clinic, port: Any, seen: Seen | None = None) -> ReconciliationActivities:
    return ReconciliationActivities(clinic.engine, 1, {"sandbox": port}, seen or Seen())


def today() -> date:
    return datetime.now(ZONE).date()


async def paid(gateway: RunningGateway, number: str = "P1", amount: Decimal = PRICE) -> None:
    await gateway.payments("http://127.0.0.1:1/notify").prepay(
        number,
        amount=amount,
        description="appointment",
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )
    await gateway.controls.pay(number, callback=False)


def a_line(number: str, at: datetime, **changes: Any) -> BillLine:
    line = BillLine(BillKind.PAYMENT, number, None, PRICE, at, "T1")
    return replace(line, **changes)


# The bill


async def test_a_day_that_agrees(clinic: Clinic, till: Till, gateway: RunningGateway) -> None:
    await paid(gateway)
    port = gateway.payments("http://127.0.0.1:1/notify")
    taken = (await port.query("P1")).paid_at
    await till.take(at=taken)
    refund = await till.owe(RefundCause.PATIENT)
    assert refund is not None
    await port.refund(refund, payment_no="P1", amount=PRICE, total=PRICE, reason="patient")
    await till.end(refund, RefundStatus.SUCCEEDED)
    made = reconciling(clinic, port)
    assert await made.channels_to_reconcile() == ("sandbox",)
    assert await made.reconcile_channel(ChannelDay("sandbox", today())) == 0
    assert await clinic.ids(DIFFERENCES) == []
    assert await clinic.ids(RUN) == ["done 0"]


async def test_each_difference_is_a_work_item_once(
    clinic: Clinic, till: Till, gateway: RunningGateway
) -> None:
    await paid(gateway, "P1", Decimal("60.00"))  # noted as 50
    await paid(gateway, "P-else")  # nobody here knows it
    await till.take(at=datetime.now(UTC))
    made = reconciling(clinic, gateway.payments("http://127.0.0.1:1/notify"))
    day = ChannelDay("sandbox", today())
    assert await made.reconcile_channel(day) == 2
    assert sorted(await clinic.ids(DIFFERENCES)) == ["missing_in_books P-else", "other_amount P1"]
    assert await made.reconcile_channel(day) == 0
    items = await clinic.ids("select details ->> 'code' || ' ' || role from work_item order by 1")
    assert items == ["missing_in_books operator", "other_amount operator"]
    promised = "select count(*) from outbox where workflow = 'work_item'"
    assert await clinic.value(promised) == 2
    assert await clinic.ids(RUN) == ["done 0"]


async def test_what_is_missing_in_the_bill_and_in_the_ledger(
    clinic: Clinic, till: Till, gateway: RunningGateway
) -> None:
    at = datetime.now(UTC)
    await till.clinic.run("update payment set status = 'paid', received = 50, paid_at = :at", at=at)
    made = reconciling(clinic, gateway.payments("http://127.0.0.1:1/notify"))
    assert await made.reconcile_channel(ChannelDay("sandbox", today())) == 2
    assert await clinic.ids(DIFFERENCES) == ["missing_in_bill P1", "not_in_ledger P1"]


DAY = date(2026, 11, 21)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=ZONE)


async def test_a_bad_line_is_named_and_the_rest_is_compared(clinic: Clinic, till: Till) -> None:
    port = BillGateway()
    port.bills[DAY] = Bill((a_line("P9", MIDNIGHT),), (BadLine(3, "bad_amount"),))
    assert await reconciling(clinic, port).reconcile_channel(ChannelDay("sandbox", DAY)) == 2
    assert await clinic.ids(DIFFERENCES) == ["bad_line ", "missing_in_books P9"]
    details = await clinic.value("select details from work_item where details ? 'line'")
    assert details == {
        "code": "bad_line", "day": "2026-11-21", "channel": "sandbox", "line": "3",
        "reason": "bad_amount",
    }  # fmt: skip


@pytest.mark.parametrize("beside", [-1, 1])
async def test_a_neighbour_days_bill_has_it(clinic: Clinic, till: Till, beside: int) -> None:
    port = BillGateway()
    at = MIDNIGHT - timedelta(seconds=1)
    port.bills |= {DAY + timedelta(days=n): Bill() for n in (-1, 0, 1)}
    port.bills[DAY + timedelta(days=beside)] = Bill((a_line("P1", at),))
    await till.take(at=at)
    assert await reconciling(clinic, port).reconcile_channel(ChannelDay("sandbox", DAY)) == 0


async def test_what_was_paid_near_midnight_is_left_to_the_next_run(
    clinic: Clinic, till: Till
) -> None:
    port = BillGateway()
    port.bills |= {DAY - timedelta(days=1): Bill(), DAY: Bill()}
    await till.take(at=MIDNIGHT - timedelta(seconds=1))
    made = reconciling(clinic, port)
    assert await made.reconcile_channel(ChannelDay("sandbox", DAY)) == 0
    tomorrow = DAY + timedelta(days=1)
    port.bills |= {tomorrow: Bill()}
    assert await made.reconcile_channel(ChannelDay("sandbox", tomorrow)) == 1
    assert await clinic.ids(DIFFERENCES) == ["missing_in_bill P1"]


async def test_a_refund_stands_in_the_bill_of_the_day_it_was_asked_for(
    clinic: Clinic, till: Till
) -> None:
    port = BillGateway()
    await till.take(at=MIDNIGHT - timedelta(days=5))
    refund = await till.owe(RefundCause.PATIENT)
    assert refund is not None
    await till.end(refund, RefundStatus.SUCCEEDED)
    asked = DAY - timedelta(days=3)
    await clinic.run(
        "update refund set created_at = :asked, finished_at = :at",
        asked=MIDNIGHT - timedelta(days=3, hours=5), at=MIDNIGHT - timedelta(hours=5),
    )  # fmt: skip
    await clinic.run("alter table ledger_transfer disable trigger user")
    await clinic.run(
        "update ledger_transfer set at = :at where key like 'refund:%'",
        at=MIDNIGHT - timedelta(hours=5),
    )
    line = a_line(
        "P1", MIDNIGHT - timedelta(days=3), kind=BillKind.REFUND, refund_no=refund, final=False
    )
    port.bills |= {DAY - timedelta(days=n): Bill() for n in range(3)}
    port.bills[asked] = Bill((line,))
    assert await reconciling(clinic, port).reconcile_channel(ChannelDay("sandbox", DAY)) == 0
    assert asked in port.asked


@pytest.mark.parametrize(
    ("error", "kind", "final"),
    [
        (GatewayUnavailable("bill_not_out"), "BillNotOut", False),
        (GatewayRefused("no_right"), "NoBill", True),
    ],
)
async def test_no_bill_is_asked_for_again_unless_it_is_refused(
    clinic: Clinic, error: Exception, kind: str, final: bool
) -> None:
    port = BillGateway()
    port.bills[DAY] = error
    with pytest.raises(ApplicationError) as raised:
        await reconciling(clinic, port).reconcile_channel(ChannelDay("sandbox", DAY))
    assert (raised.value.type, raised.value.non_retryable) == (kind, final)
    assert await clinic.ids("select status from reconciliation_run") == ["waiting"]


async def test_a_bill_that_never_comes_is_a_work_item(clinic: Clinic) -> None:
    made = reconciling(clinic, BillGateway())
    for _ in range(2):
        await made.give_up_bill(NoBill("sandbox", DAY, "bill_not_out"))
    assert await clinic.ids("select status from reconciliation_run") == ["no_bill"]
    assert await clinic.ids("select details ->> 'reason' from work_item") == ["bill_not_out"]


# Rows and workflows


async def an_old_order(clinic: Clinic) -> str:
    order = await clinic.booked(await clinic.someone(), await clinic.slot())
    await clinic.run("update appointment set created_at = now() - interval '1 hour'")
    await clinic.run("delete from outbox")
    return order


async def test_a_row_without_its_workflow_gets_it_again_and_is_filed(clinic: Clinic) -> None:
    order = await an_old_order(clinic)
    made = reconciling(clinic, BillGateway(), Seen())
    suspects = await made.find_suspects(DAY)
    assert suspects == Suspects(DAY, (f"appointment/{order}",))
    assert await made.file_suspects(suspects) == 1
    promised = await clinic.ids("select workflow || '/' || subject from outbox order by id")
    assert f"appointment/{order}" in promised
    assert await clinic.ids(DIFFERENCES) == [f"row_without_workflow {order}"]
    assert await made.file_suspects(suspects) == 0
    assert await clinic.value("select count(*) from work_item") == 1


async def test_who_runs_or_is_on_the_way_is_no_suspect(clinic: Clinic) -> None:
    order = await an_old_order(clinic)
    made = reconciling(clinic, BillGateway(), Seen({f"appointment/{order}"}))
    assert not await made.find_suspects(DAY)
    await clinic.run("update appointment set created_at = now()")
    assert not await reconciling(clinic, BillGateway()).find_suspects(DAY)


async def test_what_only_the_list_lacks_is_not_filed(clinic: Clinic) -> None:
    order = await an_old_order(clinic)
    seen = Seen({f"appointment/{order}"}, listed=set())
    made = reconciling(clinic, BillGateway(), seen)
    suspects = await made.find_suspects(DAY)
    assert suspects.lacking == (f"appointment/{order}",)
    assert await made.file_suspects(suspects) == 0
    assert await clinic.ids("select status from reconciliation_run") == ["done"]


async def test_a_payment_that_closes_between_the_looks_is_not_filed(
    clinic: Clinic, till: Till
) -> None:
    """The list was late, and its workflow ended with its row, as it should."""
    await clinic.run("update payment set created_at = now() - interval '1 hour'")
    await clinic.run("delete from outbox")
    made = reconciling(clinic, BillGateway(), Seen())
    suspects = await made.find_suspects(DAY)
    assert "payment/P1" in suspects.lacking
    await clinic.run("update payment set status = 'closed'")
    await clinic.run("update appointment set status = 'cancelled'")
    assert await made.file_suspects(suspects) == 0


async def test_a_night_that_was_stopped_says_so_and_keeps_what_it_has(
    clinic: Clinic, till: Till
) -> None:
    made = reconciling(clinic, BillGateway())
    with pytest.raises(ApplicationError):
        await made.reconcile_channel(ChannelDay("sandbox", DAY))
    other = replace(made, gateways={"other": made.gateways["sandbox"]})
    await other.give_up_bill(NoBill("other", DAY, "no_right"))
    await made.record_stopped_runs(DAY)
    runs = "select channel || ' ' || status from reconciliation_run order by channel"
    assert await clinic.ids(runs) == ["other no_bill", "sandbox stopped"]
    assert (
        await clinic.value("select count(*) from reconciliation_run where finished_at is null") == 0
    )
    with pytest.raises(ApplicationError):  # asked for again, it waits again
        await made.reconcile_channel(ChannelDay("sandbox", DAY))
    assert await clinic.ids(runs) == ["other no_bill", "sandbox waiting"]


async def test_a_workflow_whose_row_is_closed_or_unknown_is_filed(
    clinic: Clinic, till: Till
) -> None:
    order = await clinic.value("select order_no from appointment")
    await clinic.run("update appointment set status = 'cancelled'")
    await clinic.run("update payment set status = 'closed'")
    running = {f"appointment/{order}", "payment/P1", "payment/P-gone", "work_item/W-gone"}
    made = reconciling(clinic, BillGateway(), Seen(running))
    suspects = await made.find_suspects(DAY)
    # A payment may still have something to do: what, its row does not say.
    assert suspects == Suspects(
        DAY, (), (f"appointment/{order}", "payment/P-gone", "work_item/W-gone")
    )
    assert await made.file_suspects(suspects) == 3
    codes = await clinic.ids("select distinct code from reconciliation_difference")
    assert codes == ["workflow_without_row"]


async def test_many_of_one_kind_do_not_hide_those_of_another(
    clinic: Clinic, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.reconciliation.AT_MOST", 1)
    await clinic.run("update payment set created_at = now() - interval '1 hour'")
    await clinic.booked(await clinic.someone(1), await clinic.slot(hour=10))
    await clinic.run("update appointment set created_at = now() - interval '1 hour'")
    await clinic.run("delete from outbox")
    running = {"consultation/C1", "consultation/C2", "stop_clinic/S1", "work_item/W1"}
    suspects = await reconciling(clinic, BillGateway(), Seen(running)).find_suspects(DAY)
    first = await clinic.value("select min(order_no) from appointment")
    assert suspects.lacking == (f"appointment/{first}", "payment/P1")
    assert suspects.astray == ("consultation/C1", "stop_clinic/S1", "work_item/W1")
