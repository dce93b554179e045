"""Consultations in PostgreSQL: who may accept, who pays, who is told, and what operators see."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.consultation import (
    in_department,
    may_accept,
    rate,
    waiting_of,
)
from db.consultation.moves import shown_columns
from db.keyring import Keyring
from db.message import Recipient, find_recipient
from db.payable import Payable, lock_payable, payment_that_counts
from db.waiting import OpenOrder, WantedOrders, list_open_orders
from db.work_item import open_work_item
from domain.consultation import ConsultationStatus as S
from domain.consultation.changes import paid
from domain.order import OrderKind
from domain.work_item import WorkItemKind, for_desk
from tests.support.booking import Clinic
from tests.support.consulting import TYPES, WAYS, Practice

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def practice(engine: AsyncEngine, keyring: Keyring) -> Practice:
    return Practice(await Clinic.opened(engine, keyring))


@pytest.fixture
async def who(practice: Practice) -> tuple[int, int]:
    return await practice.clinic.someone()


# Who may accept, and what a doctor sees


async def doctor_in(practice: Practice, department: int) -> int:
    doctor = await practice.clinic.another_doctor()
    await practice.clinic.run(
        "update doctor set department_id = :to where id = :id", to=department, id=doctor
    )
    return doctor


@pytest.mark.parametrize(
    ("home", "asked", "belongs"),
    [(11, 11, True), (11, 1, True), (1, 11, False), (2, 1, False), (11, 2, False), (1, 1, True)],
)
async def test_a_doctor_belongs_to_a_department_and_to_those_above_it(
    practice: Practice, who: tuple[int, int], home: int, asked: int, belongs: bool
) -> None:
    doctor = await doctor_in(practice, home)
    order = await practice.order(await practice.ask(who, way=WAYS.QUICK, department_id=asked))
    async with practice.clinic.engine.connect() as connection:
        assert await in_department(connection, order, doctor) is belongs
        foreign = replace(order, hospital_id=2)
        assert not await in_department(connection, foreign, doctor)


async def test_who_has_left_belongs_nowhere(practice: Practice, who: tuple[int, int]) -> None:
    order = await practice.order(await practice.ask(who, way=WAYS.QUICK))
    await practice.clinic.run("update doctor set active = false")
    async with practice.clinic.engine.connect() as connection:
        assert not await in_department(connection, order, practice.clinic.doctor)


async def may(practice: Practice, number: str, doctor: int) -> bool:
    order = await practice.order(number)
    async with practice.clinic.engine.connect() as connection:
        asked = await may_accept(connection, order, doctor)
    assert (number in await practice.queue(doctor)) == asked  # the queue tells the same
    return asked


async def test_one_doctor_a_pool_or_those_rung_may_accept(
    practice: Practice, who: tuple[int, int]
) -> None:
    own, colleague = practice.clinic.doctor, await practice.clinic.another_doctor()
    stranger = await doctor_in(practice, 2)
    named = await practice.ask(who)
    pool = await practice.ask(who, way=WAYS.QUICK, department_id=1)
    urgent = await practice.ask(who, TYPES.PHONE, WAYS.EMERGENCY)
    doctors = (own, colleague, stranger)
    for number in (named, pool, urgent):  # before it is paid nobody
        assert [await may(practice, number, doctor) for doctor in doctors] == [False] * 3
        await practice.pay(number)
    await practice.move(urgent, "ring", rung=(stranger,))
    assert [await may(practice, named, doctor) for doctor in doctors] == [True, False, False]
    assert [await may(practice, pool, doctor) for doctor in doctors] == [True, True, False]
    assert [await may(practice, urgent, doctor) for doctor in doctors] == [False, False, True]
    for number in (named, pool, urgent):  # and afterwards nobody
        await practice.accept(number)
        assert [await may(practice, number, doctor) for doctor in doctors] == [False] * 3


async def test_a_queue_has_emergencies_first_then_who_waits_longest(
    practice: Practice, who: tuple[int, int]
) -> None:
    late, early = await practice.ask(who), await practice.ask(who, way=WAYS.QUICK)
    urgent = await practice.ask(who, TYPES.PHONE, WAYS.EMERGENCY)
    await practice.pay(early, NOW - 3 * HOUR)
    await practice.pay(late, NOW - HOUR)
    await practice.pay(urgent, NOW)
    await practice.move(urgent, "ring", rung=(practice.clinic.doctor,))
    assert await practice.queue() == [urgent, early, late]


async def test_who_waits_longer_for_the_same_is_ahead(
    practice: Practice, who: tuple[int, int]
) -> None:
    other = await practice.clinic.another_doctor()
    mine = await practice.ask(who)
    await practice.pay(mine, NOW)
    for ago, how in ((2, {}), (1, {}), (-1, {}), (3, {"doctor_id": other}),
                     (3, {"way": WAYS.QUICK})):  # fmt: skip
        await practice.pay(await practice.ask(who, **how), NOW - ago * HOUR)  # type: ignore[arg-type]
    taken = await practice.ask(who)
    await practice.pay(taken, NOW - 4 * HOUR)
    await practice.accept(taken)
    async with practice.clinic.engine.connect() as connection:
        assert (await waiting_of(connection, await practice.order(mine))).ahead == 2


async def test_a_rating_is_written_once(practice: Practice, who: tuple[int, int]) -> None:
    order = await practice.order(await practice.completed(who))

    async def rated(stars: int) -> bool:
        async with practice.clinic.engine.begin() as connection:
            return await rate(connection, order.id, stars, None, 15 * DAY)

    assert sorted(await asyncio.gather(rated(1), rated(5), rated(3))) == [False, False, True]


# Money


async def payable(practice: Practice, number: str) -> Payable:
    async with practice.clinic.engine.begin() as connection:
        found = await lock_payable(connection, 1, number)
    assert found is not None
    return found


async def test_what_is_unpaid_and_in_time_can_be_paid(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    order = await payable(practice, number)
    assert (order.kind, order.account_id, order.doctor_id) == (
        OrderKind.CONSULTATION, who[0], practice.clinic.doctor,
    )  # fmt: skip
    assert (order.price, order.status, order.payable) == (Decimal("99.90"), "pending", True)
    late = await practice.ask(who, now=NOW - HOUR)
    assert not (await payable(practice, late)).payable


@pytest.mark.parametrize("no", ["P1", None])
async def test_what_is_paid_or_free_is_not_paid_again(
    practice: Practice, who: tuple[int, int], no: str | None
) -> None:
    number = await practice.ask(who)
    await practice.pay(number, no=no)
    assert not (await payable(practice, number)).payable
    async with practice.clinic.engine.connect() as connection:
        assert await payment_that_counts(connection, number) == no


async def test_another_hospitals_order_is_nobodys(practice: Practice, who: tuple[int, int]) -> None:
    number = await practice.ask(who)
    async with practice.clinic.engine.begin() as connection:
        assert await lock_payable(connection, 2, number) is None
        assert await lock_payable(connection, 1, "C000000") is None
        assert await payment_that_counts(connection, "C000000") is None


# Who is told


async def recipient(practice: Practice, number: str, doctor: int | None = None) -> Recipient:
    async with practice.clinic.engine.connect() as connection:
        found = await find_recipient(connection, number, doctor)
    assert found is not None
    return found


def phone_of(practice: Practice, found: Recipient) -> str:
    opened = practice.clinic.keyring.unwrap(found.person_key).open(found.person_sealed)
    return str(opened["phone"])


async def test_the_patient_is_told_under_the_persons_key_the_doctor_under_their_own(
    practice: Practice, who: tuple[int, int]
) -> None:
    doctor, account = await practice.doctor_with_phone()
    number = await practice.ask(who, way=WAYS.QUICK)
    patient, told = await recipient(practice, number), await recipient(practice, number, doctor)
    assert (patient.account_id, phone_of(practice, patient)) == (who[0], "+8613900000000")
    assert (told.account_id, phone_of(practice, told)) == (account, f"+86138{account:08d}")
    assert (patient.doctor, told.department) == ("", "心血管内科")  # of a pool nobody yet


async def test_a_doctor_without_an_account_and_an_unknown_order_have_nobody(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    async with practice.clinic.engine.connect() as connection:
        assert await find_recipient(connection, number, practice.clinic.doctor) is None
        assert await find_recipient(connection, "C0") is None


async def test_a_message_names_the_deadline_of_what_is_waited_for(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who, now=NOW)

    async def due() -> datetime:
        return (await recipient(practice, number)).due

    assert await due() == NOW + 15 * MINUTE
    await practice.pay(number, NOW)
    assert await due() == NOW + DAY
    await practice.move(number, "ask_evidence", evidence_by=NOW + 30 * HOUR)
    assert await due() == NOW + 30 * HOUR
    await practice.move(number, "give_evidence", evidence_by=None)
    await practice.accept(number, NOW)
    assert await due() == NOW + 2 * DAY
    await practice.move(number, "complete", status=S.COMPLETED)
    assert await due() == NOW + 2 * DAY  # news of the window that comes late names the window


async def test_what_is_written_about_it_goes_with_its_patient(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    new = replace(for_desk(WorkItemKind.REFUND_STUCK, "R1", 15 * MINUTE), order_no=number)
    async with practice.clinic.engine.begin() as connection:
        await open_work_item(connection, 1, new)
    patients_key = "select data_key_id = (select data_key_id from patient) from work_item"
    assert await practice.clinic.value(patients_key)


# What operators see


async def waits(practice: Practice, **narrower: Any) -> list[OpenOrder]:
    wanted = WantedOrders(1, "Asia/Shanghai", "PT2M", "P1D", None, None, None, False, 1, 20)
    async with practice.clinic.engine.connect() as connection:
        found, total = await list_open_orders(connection, replace(wanted, **narrower))
    assert total == len(found)
    return found


async def test_operators_see_what_each_open_consultation_waits_for(
    practice: Practice, who: tuple[int, int]
) -> None:
    unpaid, number = await practice.ask(who), await practice.ask(who)
    await practice.completed(who)
    await practice.pay(number, NOW - 3 * HOUR)
    found = await waits(practice, kind="consultation")
    assert [order.order_no for order in found] == [number, unpaid]  # the soonest due first
    order = found[0]
    assert (order.waiting_for, order.next_step) == ("doctor", "remind_doctor")
    assert (order.due, order.since) == (NOW - HOUR, NOW - 3 * HOUR)
    assert await waits(practice, kind="appointment") == []
    assert [o.order_no for o in await waits(practice, overdue=True)] == [number]
    assert [o.order_no for o in await waits(practice, waiting_for="payment")] == [unpaid]
    assert await waits(practice, status="consulting") == []


async def test_a_free_one_waits_for_its_doctor_from_the_beginning(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    case, progress = await practice.start(number)
    free = replace(progress, **paid(case, None, NOW))
    shown = shown_columns(case, free)
    assert (shown["waiting_for"], shown["payment_no"]) == ("doctor", None)
    async with practice.clinic.engine.connect() as connection:
        assert await connection.scalar(text("select payment_no from consultation")) is None
