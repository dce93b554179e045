"""Calling a session off, on a real database."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.appointment import move_order
from db.keyring import Keyring
from db.stop_clinic import (
    NewStop,
    ScheduleUnknown,
    SessionOver,
    StopProgress,
    count_open,
    find_progress,
    load_stops,
    mark_affected,
    next_to_call_off,
    orders_at_desk,
    record_failing,
    stop_clinic,
)
from db.waitlist import WantedPlace, join_waitlist
from domain.appointment import AppointmentStatus
from domain.stop_clinic import StopScope
from tests.support.booking import HOUR, RULES, Clinic, a_move

pytestmark = pytest.mark.anyio

S = AppointmentStatus


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


async def stop(
    clinic: Clinic, slot: int, *, no: str = "S-1", scope: StopScope = StopScope.SLOT
) -> tuple[str, bool]:
    async with clinic.engine.begin() as connection:
        found = await stop_clinic(connection, NewStop(1, slot, scope, no, 13, "24 hours"))
    async with clinic.engine.begin() as connection:
        await mark_affected(connection, found[0])
    return found


async def progress(clinic: Clinic, no: str = "S-1") -> StopProgress:
    async with clinic.engine.connect() as connection:
        found = await find_progress(connection, 1, no)
    assert found is not None
    return found


async def test_nobody_books_a_session_that_was_called_off(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await stop(clinic, slot)
    assert (await clinic.book(await clinic.someone(), slot))[0] == "schedule_unavailable"


async def test_a_booking_at_the_same_moment_is_refused_or_called_off(clinic: Clinic) -> None:
    slot = await clinic.slot(sources=20)
    people = [await clinic.someone(number) for number in range(12)]
    bookings = [clinic.book(who, slot) for who in people]
    *codes, _ = await asyncio.gather(*bookings, stop(clinic, slot))
    booked = [number for code, number in codes if code == "booked"]
    # "slot_full" is what a booking says that found the slot open and then nothing to take.
    assert {code for code, _ in codes} <= {"booked", "schedule_unavailable", "slot_full"}
    assert (await progress(clinic)).total == len(booked)


async def test_a_second_stop_is_the_first_one(clinic: Clinic) -> None:
    slot = await clinic.slot()
    assert await stop(clinic, slot) == ("S-1", True)
    assert await stop(clinic, slot, no="S-2") == ("S-1", False)
    promised = "select count(*) from outbox where workflow = 'stop_clinic'"
    assert await clinic.value(promised) == 1


async def test_two_at_once_make_one(clinic: Clinic) -> None:
    slot = await clinic.slot()
    both = await asyncio.gather(stop(clinic, slot), stop(clinic, slot, no="S-2"))
    assert sorted(new for _, new in both) == [False, True]
    assert len({number for number, _ in both}) == 1


async def test_a_day_is_all_slots_of_that_doctor(clinic: Clinic) -> None:
    slots = [await clinic.slot(hour=hour) for hour in (9, 10, 14)]
    other = await clinic.slot(await clinic.another_doctor())
    await stop(clinic, slots[1], scope=StopScope.DAY)
    assert sorted((await progress(clinic)).schedule_ids) == sorted(slots)
    assert (await clinic.book(await clinic.someone(), other))[0] == "booked"


async def test_a_session_that_is_over_or_unknown(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await clinic.run(
        """update schedule set starts_at = now() - interval '2 hours',
                  ends_at = now() - interval '1 hour' where id = :slot""",
        slot=slot,
    )
    with pytest.raises(SessionOver):
        await stop(clinic, slot)
    with pytest.raises(ScheduleUnknown):
        await stop(clinic, 10**9)


async def test_whoever_waits_in_line_waits_no_longer(clinic: Clinic) -> None:
    slot = await clinic.slot(sources=1)
    await clinic.booked(await clinic.someone(0), slot)
    account, patient = await clinic.someone(1)
    async with clinic.engine.begin() as connection:
        await join_waitlist(connection, WantedPlace(1, account, slot, patient), RULES)
    await stop(clinic, slot)
    assert await clinic.value("select status from waitlist_entry") == "ended"
    fact = "waitlist-" + str(await clinic.value("select id from waitlist_entry"))
    told = "select subject from outbox where workflow = 'message'"
    assert await clinic.ids(told) == [f"{fact}:waitlist_ended"]


async def test_the_figures_count_everybody_once(clinic: Clinic) -> None:
    slot, elsewhere = await clinic.slot(sources=10), await clinic.slot(hour=14)
    people = [await clinic.someone(number) for number in range(6)]
    unpaid, chooses, moved, refunded, here, seen = [
        await clinic.booked(who, slot) for who in people
    ]
    for order_no in (chooses, moved, refunded, here, seen):
        await clinic.move(order_no, 1, S.CONFIRMED)
    for order_no in (here, seen):
        await clinic.move(order_no, 2, S.CHECKED_IN)
    await stop(clinic, slot)
    assert (await progress(clinic)).to_tell == 6
    for order_no in (chooses, here):
        await clinic.run(
            "update appointment set choose_by = now() where order_no = :no", no=order_no
        )
    await clinic.move(refunded, 2, S.CANCELLED)
    await clinic.move(seen, 3, S.COMPLETED)
    async with clinic.engine.begin() as connection:
        assert await move_order(connection, a_move(moved, 2, S.CONFIRMED), elsewhere, RULES) == (
            "moved"
        )
    found = await progress(clinic)
    figures = (
        found.to_tell, found.choosing, found.moved, found.refunded, found.at_desk, found.seen
    )  # fmt: skip
    assert figures == (1, 1, 1, 1, 1, 1)
    assert found.total == 6
    async with clinic.engine.connect() as connection:
        assert await count_open(connection, "S-1") == 3  # unpaid, choosing, here
        assert [number for number, _ in await orders_at_desk(connection, "S-1")] == [here]
    assert unpaid


async def test_the_walk_goes_on_after_any_row(clinic: Clinic) -> None:
    slot = await clinic.slot(sources=10)
    booked = [await clinic.booked(await clinic.someone(number), slot) for number in range(5)]
    await stop(clinic, slot)
    async with clinic.engine.connect() as connection:
        first = await next_to_call_off(connection, "S-1", 0, 2)
        rest = await next_to_call_off(connection, "S-1", first[-1].id, 10)
    assert [called.order_no for called in (*first, *rest)] == booked


async def test_who_moved_into_a_session_that_is_called_off_next_stays_in_the_first_ones_figures(
    clinic: Clinic,
) -> None:
    slot, other = await clinic.slot(), await clinic.slot(hour=14)
    number = await clinic.booked(await clinic.someone(), slot)
    await clinic.move(number, 1, S.CONFIRMED)
    await stop(clinic, slot)
    async with clinic.engine.begin() as connection:
        await move_order(connection, a_move(number, 2, S.CONFIRMED), other, RULES)
    await stop(clinic, other, no="S-2")
    first, second = await progress(clinic), await progress(clinic, "S-2")
    assert (first.total, first.moved) == (1, 1)
    assert (second.total, second.to_tell) == (1, 1)
    async with clinic.engine.connect() as connection:
        assert await count_open(connection, "S-1") == 0


async def test_whoever_could_not_be_told_is_named(clinic: Clinic) -> None:
    slot = await clinic.slot()
    number = await clinic.booked(await clinic.someone(), slot)
    await stop(clinic, slot)
    assert (await progress(clinic)).failing == []
    async with clinic.engine.begin() as connection:
        await record_failing(connection, "S-1", (number,))
        assert (await load_stops(connection, ["S-1"]))["S-1"].failing == (number,)
    assert (await progress(clinic)).failing == [number]


async def test_a_pause_ends_an_hour_before_the_first_slot_and_the_last_choice(
    clinic: Clinic,
) -> None:
    slots = [await clinic.slot(hour=hour) for hour in (9, 14)]
    await stop(clinic, slots[1], scope=StopScope.DAY)
    begins = await clinic.value("select starts_at from schedule where id = :id", id=slots[0])
    await clinic.run("update stop_clinic set choose_by = :at", at=begins + 24 * HOUR)
    async with clinic.engine.connect() as connection:
        assert (await load_stops(connection, ["S-1"]))["S-1"].resume_by == begins - HOUR
    chooses = await clinic.value("select created_at + interval '40 seconds' from stop_clinic")
    await clinic.run("update stop_clinic set choose_by = :at", at=chooses)
    async with clinic.engine.connect() as connection:
        found = (await load_stops(connection, ["S-1"]))["S-1"]
    assert found.resume_by == chooses - timedelta(seconds=20)


async def test_who_moved_into_a_session_that_is_called_off_next_is_told_again(
    clinic: Clinic,
) -> None:
    slot, other = await clinic.slot(), await clinic.slot(hour=14)
    number = await clinic.booked(await clinic.someone(), slot)
    await clinic.move(number, 1, S.CONFIRMED)
    await stop(clinic, slot)
    async with clinic.engine.begin() as connection:
        assert await move_order(connection, a_move(number, 2, S.CONFIRMED), other, RULES) == "moved"
    await stop(clinic, other, no="S-2")
    async with clinic.engine.connect() as connection:
        walked = await next_to_call_off(connection, "S-2", 0, 10)
    assert [called.order_no for called in walked] == [number]
