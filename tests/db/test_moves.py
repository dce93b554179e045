"""What a workflow writes: moves by version, what they free, and what no-shows lead to."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.appointment import BookingRules, extend_payment, record_move, suspended_until
from db.journal import read_timeline
from db.keyring import Keyring
from db.payable import payment_that_counts
from db.schedule import change_schedule
from domain.appointment import AppointmentStatus as S
from domain.appointment import Reason
from domain.hospital import AppointmentPolicy
from domain.order import Actor
from tests.support.booking import DAY, HOUR, MINUTE, RULES, Clinic, a_move, config_with
from tests.support.catalogue import tomorrow

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


async def an_order(clinic: Clinic) -> str:
    return await clinic.booked(await clinic.someone(), await clinic.slot())


async def test_a_move_writes_the_row_and_the_timeline(clinic: Clinic) -> None:
    order_no = await an_order(clinic)
    await clinic.move(order_no, 1, S.CONFIRMED, at=NOW, by=Actor("gateway"), payment_no="P1")
    order = await clinic.order(order_no)
    assert (order.status, order.version, order.payment_no) == ("confirmed", 1, "P1")
    assert order.closed_at is None
    async with clinic.engine.connect() as connection:
        booked, paid = await read_timeline(connection, order_no)
        assert await payment_that_counts(connection, order_no) == "P1"
    assert (booked.event, booked.version) == ("booked", 0)
    assert (paid.to_status, paid.version, paid.at, paid.actor_role) == (
        "confirmed", 1, NOW, "gateway",
    )  # fmt: skip


async def test_an_older_move_changes_nothing_but_is_in_the_timeline(clinic: Clinic) -> None:
    order_no = await an_order(clinic)
    await clinic.move(order_no, 2, S.CANCELLED, at=NOW, reason=Reason.PATIENT)
    await clinic.move(order_no, 1, S.CONFIRMED, at=NOW, payment_no="P1")
    order = await clinic.order(order_no)
    assert (order.status, order.version, order.reason) == ("cancelled", 2, "patient")
    assert (order.payment_no, order.closed_at) == (None, NOW)
    async with clinic.engine.connect() as connection:
        moves = await read_timeline(connection, order_no)
    assert [(m.version, m.to_status) for m in moves] == [
        (0, "pending"), (1, "confirmed"), (2, "cancelled"),
    ]  # fmt: skip


async def test_a_repeated_move_is_written_once(clinic: Clinic) -> None:
    order_no = await an_order(clinic)
    for _ in range(3):
        await clinic.move(order_no, 1, S.CONFIRMED, at=NOW)
    assert await clinic.value("select count(*) from timeline") == 2


async def test_a_cancelled_order_gives_its_source_to_the_next(clinic: Clinic) -> None:
    who, slot = await clinic.someone(), await clinic.slot(sources=1)
    first = await clinic.booked(who, slot)
    await clinic.move(first, 1, S.CANCELLED, at=NOW)
    assert await clinic.figures(slot) == (0, 0, 0)
    second = await clinic.booked(who, slot)
    await clinic.move(first, 1, S.CANCELLED, at=NOW)  # a late retry
    await clinic.move(first, 2, S.CANCELLED, at=NOW)  # a workflow begun again
    assert await clinic.figures(slot) == (1, 1, 1)
    assert await clinic.value("select order_no from source") == second


async def test_an_order_that_is_done_keeps_its_source(clinic: Clinic) -> None:
    for number, ending in ((1, S.COMPLETED), (2, S.NO_SHOW)):
        slot = await clinic.slot(hour=9 + number)
        order_no = await clinic.booked(await clinic.someone(number), slot)
        await clinic.move(order_no, 1, ending, at=NOW)
        assert await clinic.figures(slot) == (1, 1, 0)


async def test_a_dead_activity_leaves_nothing_half_written(clinic: Clinic) -> None:
    order_no = await an_order(clinic)
    async with clinic.engine.connect() as connection:  # which rolls back, as a lost one does
        await record_move(connection, a_move(order_no, 1, S.CANCELLED, at=NOW), RULES)
    assert (await clinic.order(order_no)).status == "pending"
    assert await clinic.value("select used_sources from schedule") == 1
    assert await clinic.value("select count(*) from timeline") == 1


async def test_an_extension_only_ever_gives_more_time_to_an_unpaid_order(clinic: Clinic) -> None:
    order_no = await an_order(clinic)
    pay_by = (await clinic.order(order_no)).pay_by

    async def extend(minutes: int) -> datetime:
        async with clinic.engine.begin() as connection:
            await extend_payment(connection, order_no, pay_by + minutes * MINUTE)
        found: datetime = (await clinic.order(order_no)).pay_by
        return found

    assert await extend(30) == pay_by + 30 * MINUTE
    assert await extend(15) == pay_by + 30 * MINUTE
    await clinic.move(order_no, 1, S.CONFIRMED, at=NOW)
    assert await extend(60) == pay_by + 30 * MINUTE


# Check-in


async def confirmed_in(clinic: Clinic, slot: int, count: int) -> list[str]:
    account = await clinic.account()
    orders = []
    for person in await clinic.people(account, count):
        orders.append(await clinic.booked((account, person), slot))
        await clinic.move(orders[-1], 1, S.CONFIRMED, at=NOW)
    return orders


async def queue(clinic: Clinic, orders: list[str]) -> list[int]:
    return [(await clinic.order(order_no)).queue_number for order_no in orders]


async def test_who_comes_in_time_keeps_the_number(clinic: Clinic) -> None:
    orders = await confirmed_in(clinic, await clinic.slot(), 2)
    begins = (await clinic.order(orders[0])).starts_at
    await clinic.move(orders[0], 2, S.CHECKED_IN, at=begins)
    order = await clinic.order(orders[0])
    assert (order.queue_number, order.check_in_time) == (1, begins)


async def test_late_ones_go_to_the_end_of_the_queue_in_their_order(clinic: Clinic) -> None:
    orders = await confirmed_in(clinic, await clinic.slot(sources=5), 3)
    late = (await clinic.order(orders[0])).starts_at + MINUTE
    await clinic.move(orders[1], 2, S.CHECKED_IN, at=late)
    await clinic.move(orders[0], 2, S.CHECKED_IN, at=late + MINUTE)
    await clinic.move(orders[1], 2, S.CHECKED_IN, at=late)  # repeated
    assert await queue(clinic, orders) == [7, 6, 3]


async def test_late_ones_at_once_have_different_numbers(clinic: Clinic) -> None:
    orders = await confirmed_in(clinic, await clinic.slot(sources=5), 5)
    late = (await clinic.order(orders[0])).starts_at + MINUTE
    await asyncio.gather(*(clinic.move(no, 2, S.CHECKED_IN, at=late) for no in orders))
    assert sorted(await queue(clinic, orders)) == [6, 7, 8, 9, 10]


async def test_a_late_one_goes_to_the_end_of_a_slot_that_was_made_smaller(clinic: Clinic) -> None:
    slot = await clinic.slot(sources=5)
    orders = await confirmed_in(clinic, slot, 5)
    for order_no in orders[:3]:
        await clinic.move(order_no, 2, S.CANCELLED, at=NOW)
    async with clinic.engine.begin() as connection:
        await change_schedule(connection, RULES, 1, slot, total_sources=2)
    late = (await clinic.order(orders[0])).starts_at + MINUTE
    await clinic.move(orders[3], 2, S.CHECKED_IN, at=late)
    assert await queue(clinic, orders[3:]) == [6, 5]


# No-shows


async def missed(clinic: Clinic, who: tuple[int, int], days: int) -> str:
    """An appointment so many days from now to which the person did not come."""
    slot = await clinic.slot(day=tomorrow() + days * DAY)
    # All rules but this one are tested elsewhere.
    await clinic.run("update booking_suspension set lifted_by = coalesce(lifted_by, 0)")
    order_no = await clinic.booked(who, slot)
    order = await clinic.order(order_no)
    await clinic.move(order_no, 1, S.NO_SHOW, at=order.starts_at + 30 * MINUTE)
    return order_no


async def suspended(clinic: Clinic, order_no: str) -> datetime | None:
    async with clinic.engine.connect() as connection:
        return await suspended_until(connection, order_no)


async def test_the_third_no_show_in_ninety_days_suspends_for_ninety_days(clinic: Clinic) -> None:
    who = await clinic.someone()
    orders = [await missed(clinic, who, days) for days in (0, 5, 10)]
    assert [await suspended(clinic, order_no) for order_no in orders[:2]] == [None, None]
    until = await suspended(clinic, orders[2])
    order = await clinic.order(orders[2])
    assert until == order.starts_at + 30 * MINUTE + 90 * DAY
    await clinic.move(orders[2], 1, S.NO_SHOW, at=order.starts_at + 30 * MINUTE)  # repeated
    assert await clinic.value("select count(*) from booking_suspension") == 1


async def test_no_shows_of_long_ago_do_not_count(clinic: Clinic) -> None:
    who = await clinic.someone()
    first = await missed(clinic, who, 0)
    await missed(clinic, who, 5)
    await clinic.run(
        "update appointment set starts_at = starts_at - interval '81 days' where order_no = :no",
        no=first,
    )
    assert await suspended(clinic, await missed(clinic, who, 10)) is None


async def test_other_endings_and_other_persons_do_not_count(clinic: Clinic) -> None:
    who, other = await clinic.someone(1), await clinic.someone(2)
    await missed(clinic, who, 0)
    await missed(clinic, other, 1)
    came = await clinic.booked(who, await clinic.slot(day=tomorrow() + 2 * DAY))
    await clinic.move(came, 1, S.COMPLETED, at=NOW)
    assert await suspended(clinic, await missed(clinic, who, 3)) is None
    assert await suspended(clinic, await missed(clinic, who, 4)) is not None


async def test_a_person_in_two_accounts_is_counted_as_one(clinic: Clinic) -> None:
    mother, father = await clinic.someone(), await clinic.someone()
    await missed(clinic, mother, 0)
    await missed(clinic, father, 1)
    assert await suspended(clinic, await missed(clinic, mother, 2)) is not None


async def test_after_a_lifted_suspension_counting_begins_again(clinic: Clinic) -> None:
    who = await clinic.someone()
    orders = [await missed(clinic, who, days) for days in range(6)]  # lifts what stands
    found = [await suspended(clinic, order_no) is not None for order_no in orders]
    assert found == [False, False, True, False, False, True]


async def test_period_and_suspension_may_be_hours(clinic: Clinic) -> None:
    policy = AppointmentPolicy(
        suspend_after_no_shows=2, no_show_period=12 * HOUR, suspension=36 * HOUR
    )
    rules = BookingRules.of(config_with(policy))
    who = await clinic.someone()
    order_nos = [await clinic.booked(who, await clinic.slot(hour=9))]
    order_nos.append(await clinic.booked(who, await clinic.slot(await clinic.another_doctor())))
    orders = [await clinic.order(order_no) for order_no in order_nos]
    at = orders[0].starts_at + 11 * HOUR
    for order_no in order_nos:
        async with clinic.engine.begin() as connection:
            await record_move(connection, a_move(order_no, 1, S.NO_SHOW, at=at), rules)
    assert await suspended(clinic, order_nos[1]) == at + 36 * HOUR


async def test_no_shows_written_at_once_suspend_once(clinic: Clinic) -> None:
    who = await clinic.someone()
    slots = [await clinic.slot(day=tomorrow() + days * DAY) for days in range(3)]
    orders = [await clinic.order(await clinic.booked(who, slot)) for slot in slots]
    at = max(order.starts_at for order in orders) + 30 * MINUTE
    await asyncio.gather(*(clinic.move(order.order_no, 1, S.NO_SHOW, at=at) for order in orders))
    assert await clinic.value("select count(*) from booking_suspension") == 1


@pytest.mark.parametrize(
    ("to", "reason"), [(S.NO_SHOW, Reason.NONE), (S.COMPLETED, Reason.MIDNIGHT)]
)
async def test_the_clock_ends_no_order_of_a_session_that_was_called_off(
    clinic: Clinic, to: S, reason: Reason
) -> None:
    order_no = await an_order(clinic)
    await clinic.move(order_no, 1, S.CONFIRMED, at=NOW)
    await clinic.run("update schedule set withdrawn = true")
    async with clinic.engine.begin() as connection:
        move = a_move(order_no, 2, to, at=NOW, reason=reason)
        assert await record_move(connection, move, RULES) == "called_off"
    assert (await clinic.order(order_no)).version == 1
    assert await clinic.value("select count(*) from timeline where version = 2") == 0
    await clinic.run("update schedule set withdrawn = false")
    await clinic.move(order_no, 2, to, at=NOW, reason=reason)
    await clinic.run("update schedule set withdrawn = true")
    async with clinic.engine.begin() as connection:  # a repeat of what was written in time
        assert await record_move(connection, move, RULES) is None
    assert (await clinic.order(order_no)).status == to


async def test_what_a_doctor_saw_was_seen_although_it_was_called_off(clinic: Clinic) -> None:
    order_no = await an_order(clinic)
    await clinic.run("update schedule set withdrawn = true")
    await clinic.move(order_no, 1, S.COMPLETED, at=NOW, by=Actor("doctor", 7))
    assert (await clinic.order(order_no)).status == "completed"


# What is kept is only ever added to


@pytest.mark.parametrize("table", ["timeline", "audit", "access_log"])
async def test_what_was_written_down_can_be_neither_changed_nor_taken_away(
    clinic: Clinic, table: str
) -> None:
    await an_order(clinic)
    await clinic.run(
        """insert into audit (hospital_id, event, subject, actor_role, details)
           values (1, 'tried', 'A1', 'stranger', '{}')"""
    )
    await clinic.run(
        """insert into access_log (hospital_id, actor_role, actor_id, patient_id, object, action)
           values (1, 'doctor', 1, 1, 'appointment/A1', 'read')"""
    )
    for attack in (f"update {table} set actor_role = 'x'", f"delete from {table}",
                   f"truncate {table}"):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            await clinic.run(attack)
    assert await clinic.value(f"select count(*) from {table}") == 1
