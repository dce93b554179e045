"""Payments and refunds: one open at a time, what came in, and never more going back."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.appointment import find_appointment_by_number
from db.keyring import Keyring
from db.outbox import receive
from db.payable import lock_payable
from db.payment import (
    all_went_back,
    find_payment,
    load_payment_start,
    money_in_inbox,
    owner_of,
    payments_of,
)
from domain.hospital import PaymentPolicy
from domain.payment import PaymentStatus, RefundCause, RefundStatus
from tests.support.booking import Clinic, Till

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
def till(clinic: Clinic) -> Till:
    return Till(clinic)


@pytest.fixture
async def order_no(clinic: Clinic) -> str:
    return await clinic.booked(await clinic.someone(), await clinic.slot())


@pytest.fixture
async def paid(till: Till, order_no: str) -> str:
    """An order whose payment P1 has taken 50 yuan."""
    await till.open(order_no)
    await till.take()
    return order_no


# Opening


async def test_a_payment_is_of_the_orders_price_and_lives_as_long(
    clinic: Clinic, till: Till, order_no: str
) -> None:
    payment, new = await till.open(order_no)
    order = await clinic.order(order_no)
    assert new
    assert (payment.amount, payment.expires_at) == (Decimal("50.00"), order.pay_by)
    assert (payment.status, payment.version, payment.received) == ("pending", 0, 0)
    promises = await clinic.ids("select workflow || '/' || subject from outbox order by id")
    assert promises == [f"appointment/{order_no}", "payment/P1"]
    async with clinic.engine.connect() as connection:
        assert await owner_of(connection, 1, "P1") == order.account_id
        assert await owner_of(connection, 2, "P1") is None
        assert await owner_of(connection, 1, "P9") is None


async def test_while_one_is_open_it_comes_back(clinic: Clinic, till: Till, order_no: str) -> None:
    await till.open(order_no)
    again, new = await till.open(order_no, "P2")
    assert (again.payment_no, new) == ("P1", False)
    assert await clinic.value("select count(*) from outbox where workflow = 'payment'") == 1


async def test_many_at_once_open_one(clinic: Clinic, till: Till, order_no: str) -> None:
    opened = await asyncio.gather(*(till.open(order_no, f"P{n}") for n in range(20)))
    assert Counter(new for _, new in opened) == {True: 1, False: 19}
    assert len({payment.payment_no for payment, _ in opened}) == 1
    assert await clinic.value("select count(*) from payment") == 1


async def test_after_one_was_closed_another_opens(till: Till, order_no: str) -> None:
    await till.open(order_no)
    await till.move("P1", 1, PaymentStatus.CLOSED)
    payment, new = await till.open(order_no, "P2")
    assert (payment.payment_no, new) == ("P2", True)
    async with till.clinic.engine.connect() as connection:
        found = await payments_of(connection, order_no)
    assert [(p.payment_no, p.status) for p in found] == [("P1", "closed"), ("P2", "pending")]


async def test_one_that_is_being_closed_is_waited_for(
    clinic: Clinic, till: Till, order_no: str
) -> None:
    await till.open(order_no)
    async with clinic.engine.begin() as connection:
        closing = "update payment set status = 'closed', version = 1 where payment_no = 'P1'"
        await connection.exec_driver_sql(closing)
        opening = asyncio.create_task(till.open(order_no, "P2"))
        await asyncio.sleep(0.1)
        assert not opening.done()
    payment, new = await opening
    assert (payment.payment_no, new) == ("P2", True)


async def test_whether_an_order_is_in_time_is_postgresqls_word(
    clinic: Clinic, order_no: str
) -> None:
    async def in_time() -> bool:
        async with clinic.engine.begin() as connection:
            order = await lock_payable(connection, 1, order_no)
            assert order is not None
            return order.payable

    assert await in_time()
    await clinic.run("update appointment set pay_by = now()")
    assert not await in_time()
    async with clinic.engine.begin() as connection:
        assert await lock_payable(connection, 2, order_no) is None


# Money in


async def test_money_that_came_is_in_the_row_once(till: Till, paid: str) -> None:
    await till.take("P1", "60.00")  # a late retry with the same version
    async with till.clinic.engine.connect() as connection:
        payment = await find_payment(connection, "P1")
    assert payment is not None
    assert (payment.status, payment.received, payment.version) == ("paid", Decimal("50.00"), 1)
    row = "select transaction_id from payment"
    assert await till.clinic.value(row) == "T-P1"
    timeline = "select count(*) from timeline where order_no = 'P1'"
    assert await till.clinic.value(timeline) == 1


async def test_a_workflow_begins_where_the_row_stands(till: Till, order_no: str) -> None:
    policy = PaymentPolicy(settle_grace=timedelta(minutes=3))
    payment, _ = await till.open(order_no)

    async def start() -> tuple[str, int, bool]:
        async with till.clinic.engine.connect() as connection:
            found = await load_payment_start(connection, "P1", policy)
        assert found is not None
        assert found.settle_at == payment.expires_at + timedelta(minutes=3)
        return found.status, found.version, found.right_amount

    assert await start() == ("pending", 0, True)
    await till.take("P1", "49.99")
    assert await start() == ("paid", 1, False)
    async with till.clinic.engine.connect() as connection:
        assert await load_payment_start(connection, "P9", policy) is None


async def test_the_inbox_knows_of_money_before_the_gateway_is_asked(
    till: Till, order_no: str
) -> None:
    await till.open(order_no)
    content = {"amount": "50.00", "at": NOW.isoformat(), "transaction_id": "T1", "refund_no": None}

    async def told(source: str, event_id: str, kind: str) -> bool:
        async with till.clinic.engine.begin() as connection:
            return await receive(
                connection, source=source, event_id=event_id, subject="P1", kind=kind,
                content=content,
            )  # fmt: skip

    async def known() -> Decimal | None:
        async with till.clinic.engine.connect() as connection:
            money = await money_in_inbox(connection, "P1")
        return money and money.amount

    assert await told("sandbox", "E1", "refund_succeeded")
    assert await told("another-gateway", "E2", "payment_succeeded")
    assert await known() is None
    assert await told("sandbox", "E2", "payment_succeeded")
    assert not await told("sandbox", "E2", "payment_succeeded")
    assert await known() == Decimal("50.00")


# Money back


async def test_a_refund_is_owed_once_per_cause(till: Till, paid: str) -> None:
    assert await till.owe(RefundCause.PATIENT, refund_no="R1") == "R1"
    assert await till.owe(RefundCause.PATIENT, refund_no="R2") == "R1"
    assert await till.refunds() == [("patient", "50.00", "pending")]
    signals = "select args ->> 'refund_no' from outbox where signal = 'refund_owed'"
    assert await till.clinic.ids(signals) == ["R1"]


async def test_a_share_is_rounded_to_the_fen(till: Till, order_no: str) -> None:
    await till.open(order_no)
    await till.take("P1", "0.25")
    await till.owe(RefundCause.LATE, "0.5")
    assert await till.refunds() == [("late", "0.13", "pending")]


async def test_never_more_goes_back_than_came_in(till: Till, paid: str) -> None:
    assert await till.owe(RefundCause.LATE, "0.7")
    assert await till.owe(RefundCause.CLINIC)
    assert await till.owe(RefundCause.PATIENT) is None
    assert [amount for _, amount, _ in await till.refunds()] == ["35.00", "15.00"]


async def test_what_never_came_in_cannot_go_back(till: Till, order_no: str) -> None:
    await till.open(order_no)
    assert await till.owe(RefundCause.CLINIC) is None
    assert await till.refunds() == []


async def test_different_causes_at_once_share_what_came_in(till: Till, paid: str) -> None:
    causes = [RefundCause.PATIENT, RefundCause.CLINIC, RefundCause.LATE, RefundCause.ORDER_CLOSED]
    await asyncio.gather(*(till.owe(cause, "0.4") for cause in causes * 5))
    amounts = sorted(Decimal(amount) for _, amount, _ in await till.refunds())
    assert amounts == [Decimal("10.00"), Decimal("20.00"), Decimal("20.00")]


async def test_a_refund_that_failed_gives_room_again(till: Till, paid: str) -> None:
    failed = await till.owe(RefundCause.PATIENT)
    assert failed is not None
    await till.end(failed, RefundStatus.FAILED)
    assert await till.owe(RefundCause.PATIENT) == failed
    assert await till.owe(RefundCause.CLINIC) == "R-clinic"
    assert await till.refunds() == [
        ("patient", "50.00", "failed"),
        ("clinic", "50.00", "pending"),
    ]


async def test_a_refund_that_succeeded_stays_so(till: Till, paid: str) -> None:
    refund_no = await till.owe(RefundCause.PATIENT)
    assert refund_no is not None
    for status in (RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundStatus.SUCCEEDED):
        await till.end(refund_no, status)
    assert await till.refunds() == [("patient", "50.00", "succeeded")]


async def test_all_went_back_once_the_last_part_succeeded(till: Till, paid: str) -> None:
    async def nothing_left() -> bool:
        async with till.clinic.engine.connect() as connection:
            return await all_went_back(connection, "P1")

    parts = [await till.owe(cause, "0.5") for cause in (RefundCause.LATE, RefundCause.CLINIC)]
    found = []
    for refund_no in parts:
        assert refund_no is not None
        found.append(await nothing_left())
        await till.end(refund_no, RefundStatus.SUCCEEDED)
    assert [*found, await nothing_left()] == [False, False, True]


async def test_an_order_tells_how_far_its_refunds_are(till: Till, paid: str) -> None:
    async def shown() -> tuple[str | None, str]:
        async with till.clinic.engine.connect() as connection:
            order = await find_appointment_by_number(connection, 1, paid)
        assert order is not None
        return order.refund_status, f"{order.refunded_amount:.2f}"

    assert await shown() == (None, "0.00")
    first = await till.owe(RefundCause.LATE, "0.5")
    assert await shown() == ("pending", "25.00")
    second = await till.owe(RefundCause.CLINIC)
    assert first is not None
    assert second is not None
    await till.end(first, RefundStatus.SUCCEEDED)
    assert await shown() == ("pending", "50.00")
    await till.end(second, RefundStatus.FAILED)
    assert await shown() == ("failed", "25.00")
    await till.end(second, RefundStatus.SUCCEEDED)
    assert await shown() == ("succeeded", "50.00")
