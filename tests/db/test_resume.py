"""Every unfinished order is promised once more, and nothing that has ended."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.keyring import Keyring
from db.resume import resume
from db.stop_clinic import NewStop, stop_clinic
from db.work_item import open_work_item
from domain.appointment import AppointmentStatus
from domain.consultation import ConsultationStatus
from domain.payment import RefundCause, RefundStatus
from domain.stop_clinic import StopScope
from domain.work_item import WorkItemKind, for_desk
from tests.support.booking import Clinic, Till
from tests.support.consulting import Practice

pytestmark = pytest.mark.anyio

S = AppointmentStatus


@pytest.fixture
async def till(engine: AsyncEngine, keyring: Keyring) -> Till:
    return Till(await Clinic.opened(engine, keyring))


async def an_order(till: Till) -> str:
    clinic = till.clinic
    return await clinic.booked(await clinic.someone(), await clinic.slot())


async def resumed(till: Till) -> set[str]:
    """What is promised when all that was promised before is kept."""
    async with till.clinic.engine.begin() as connection:
        await connection.execute(text("delete from outbox"))
        count = await resume(connection)
        rows = await connection.execute(text("select workflow || '/' || subject from outbox"))
        found = set(rows.scalars())
    assert count == len(found)
    return found


async def test_an_open_order_and_its_open_payment(till: Till) -> None:
    order = await an_order(till)
    await till.open(order)
    assert await resumed(till) == {f"appointment/{order}", "payment/P1"}


async def test_what_waits_for_the_relay_is_not_promised_twice(till: Till) -> None:
    await an_order(till)
    async with till.clinic.engine.begin() as connection:
        assert await resume(connection) == 0


async def test_a_closed_order_has_ended_but_not_what_is_owed_for_it(till: Till) -> None:
    order = await an_order(till)
    await till.open(order)
    await till.take()
    assert await resumed(till) == {f"appointment/{order}", "payment/P1"}  # not handed over yet
    now = datetime.now(UTC)
    await till.clinic.move(order, 1, S.CONFIRMED, at=now, payment_no="P1")
    assert await resumed(till) == {f"appointment/{order}"}
    await till.clinic.move(order, 2, S.CANCELLED, at=now, payment_no="P1")
    assert await resumed(till) == {f"appointment/{order}"}  # it has to promise the money back
    refund = await till.owe(RefundCause.PATIENT)
    assert refund is not None
    assert await resumed(till) == {"payment/P1"}
    await till.end(refund, RefundStatus.SUCCEEDED)
    assert await resumed(till) == set()


async def test_sessions_called_off_and_work_items_too(till: Till) -> None:
    clinic = till.clinic
    slot = await clinic.slot()
    async with clinic.engine.begin() as connection:
        await stop_clinic(connection, NewStop(1, slot, StopScope.SLOT, "S1", 1, "24 h"))
        stuck = for_desk(WorkItemKind.REFUND_STUCK, "R1", timedelta(minutes=15))
        number = await open_work_item(connection, 1, stuck)
    assert await resumed(till) == {"stop_clinic/S1", f"work_item/{number}"}
    await clinic.run("update stop_clinic set status = 'done'")
    await clinic.run("update work_item set status = 'decided'")
    assert await resumed(till) == set()


# Consultations


@pytest.fixture
async def practice(till: Till) -> Practice:
    return Practice(till.clinic)


async def test_an_open_consultation_is_promised_until_it_has_ended(practice: Practice) -> None:
    till = Till(practice.clinic)
    number = await practice.ask(await practice.clinic.someone())
    assert await resumed(till) == {f"consultation/{number}"}
    await practice.pay(number, no=None)
    await practice.accept(number)
    assert await resumed(till) == {f"consultation/{number}"}
    await practice.move(number, "complete", status=ConsultationStatus.COMPLETED)
    assert await resumed(till) == set()


async def test_a_payment_that_its_consultation_has_not_heard_of(practice: Practice) -> None:
    till = Till(practice.clinic)
    number = await practice.ask(await practice.clinic.someone())
    await till.open(number)
    await till.take(amount="99.90")
    assert await resumed(till) == {f"consultation/{number}", "payment/P1"}
    await practice.pay(number)
    assert await resumed(till) == {f"consultation/{number}"}


async def test_a_consultation_that_was_lost_before_it_promised_the_money_back(
    practice: Practice,
) -> None:
    lost = await practice.ask(await practice.clinic.someone())
    await practice.move(lost, "expired", status=ConsultationStatus.REFUNDED, payment_no="P9")
    assert await resumed(Till(practice.clinic)) == {f"consultation/{lost}"}
