"""Batches, lists and capacity on a real PostgreSQL, also when several come at once."""

import asyncio
import random
from contextlib import suppress
from datetime import time, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.schedule import (
    Batch,
    BelowUsed,
    DepartmentUnknown,
    DoctorElsewhere,
    DoctorUnknown,
    ScheduleUnknown,
    Wanted,
    change_schedule,
    check_doctor,
    create_batch,
    list_schedules,
    tell_batch,
)
from domain.schedule import Skipped, SkipReason, TimeSlot, session
from tests.support.booking import RULES
from tests.support.catalogue import (
    ZONE,
    a_doctor,
    a_hospital_with_a_doctor,
    a_slot,
    tomorrow,
)

pytestmark = pytest.mark.anyio

MORNING = TimeSlot(time(9), time(10))
LATER = TimeSlot(time(10), time(11))


@pytest.fixture
async def doctor(engine: AsyncEngine) -> int:
    return await a_hospital_with_a_doctor(engine)


async def make_batch(
    engine: AsyncEngine, doctor: int, slots: list[TimeSlot], *, days: int = 1, sources: int = 3
) -> tuple[Batch, int, list[Skipped]]:
    sessions = [
        session(tomorrow() + timedelta(days=n), slot, ZONE)
        for n in range(days)
        for slot in sorted(slots)
    ]
    async with engine.begin() as connection:
        at = await check_doctor(connection, 1, doctor, 11)
        batch = Batch(1, doctor, 11, sessions, sources, "101", at)
        return batch, *await create_batch(connection, batch)


async def figures(connection: AsyncConnection, schedule: int) -> tuple[int, int, int, int]:
    """(total, used) as the schedule says, then as its sources say."""
    row = await connection.execute(
        text(
            """select total_sources, used_sources,
                      (select count(*) from source where schedule_id = s.id and not withdrawn),
                      (select count(*) from source where schedule_id = s.id
                                                     and order_no is not null)
                 from schedule s where id = :id"""
        ),
        {"id": schedule},
    )
    return tuple(row.one())  # type: ignore[return-value]


async def take(engine: AsyncEngine, schedule: int, order_no: str) -> bool:
    async with engine.begin() as connection:
        taken = await connection.execute(
            text("select source_id from take_source(:schedule, :order_no)"),
            {"schedule": schedule, "order_no": order_no},
        )
        return taken.scalar_one() is not None


async def numbers(connection: AsyncConnection, schedule: int, where: str = "true") -> list[int]:
    rows = await connection.execute(
        text(f"select number from source where schedule_id = :id and {where} order by 1"),
        {"id": schedule},
    )
    return list(rows.scalars())


# Batches


async def test_a_batch_makes_a_schedule_with_numbered_sources_for_each_day_and_slot(
    engine: AsyncEngine, doctor: int
) -> None:
    _, created, skipped = await make_batch(engine, doctor, [MORNING, LATER], days=3, sources=5)
    assert (created, skipped) == (6, [])
    async with engine.connect() as connection:
        ids = (await connection.execute(text("select id from schedule"))).scalars().all()
        assert len(ids) == 6
        for schedule in ids:
            assert await figures(connection, schedule) == (5, 0, 5, 0)
            assert await numbers(connection, schedule) == [1, 2, 3, 4, 5]


async def test_what_exists_and_what_overlaps_is_left_out_and_told(
    engine: AsyncEngine, doctor: int
) -> None:
    await make_batch(engine, doctor, [MORNING])
    half_past = TimeSlot(time(9, 30), time(10))
    _, created, skipped = await make_batch(engine, doctor, [MORNING, LATER])
    assert created == 1
    assert skipped == [Skipped(tomorrow(), MORNING, SkipReason.EXISTS)]
    _, created, skipped = await make_batch(engine, doctor, [half_past])
    assert created == 0
    assert skipped == [Skipped(tomorrow(), half_past, SkipReason.OVERLAP)]


async def test_the_same_hours_of_another_doctor_are_free(engine: AsyncEngine, doctor: int) -> None:
    await make_batch(engine, doctor, [MORNING])
    async with engine.begin() as connection:
        other = await a_doctor(connection, "另一位")
    _, created, _ = await make_batch(engine, other, [MORNING])
    assert created == 1


async def test_batches_at_once_make_every_slot_once(engine: AsyncEngine, doctor: int) -> None:
    odd = [TimeSlot(time(hour, 30), time(hour + 1, 30)) for hour in range(8, 16)]
    even = [TimeSlot(time(hour), time(hour + 1)) for hour in range(8, 16)]
    outcomes = await asyncio.gather(
        *(make_batch(engine, doctor, slots, days=5) for slots in [odd, even, even, odd, even])
    )
    async with engine.connect() as connection:
        count = (await connection.execute(text("select count(*) from schedule"))).scalar_one()
        sources = (await connection.execute(text("select count(*) from source"))).scalar_one()
    assert count == sum(created for _, created, _ in outcomes)
    assert sources == 3 * count
    assert all(created + len(skipped) == 40 for _, created, skipped in outcomes)


async def test_batches_that_do_not_wait_for_each_other_still_meet_the_constraint(
    engine: AsyncEngine, doctor: int
) -> None:
    """Without the doctor's lock, as a second writer might come one day."""
    sessions = [session(tomorrow() + timedelta(days=n), MORNING, ZONE) for n in range(30)]

    async def unguarded(minutes: int) -> None:
        async with engine.begin() as connection:
            at = (await connection.execute(text("select clock_timestamp()"))).scalar_one()
            at += timedelta(seconds=minutes)
            await create_batch(connection, Batch(1, doctor, 11, sessions, 2, "101", at))

    await asyncio.gather(*(unguarded(n) for n in range(5)))
    async with engine.connect() as connection:
        count = (await connection.execute(text("select count(*) from schedule"))).scalar_one()
        sources = (await connection.execute(text("select count(*) from source"))).scalar_one()
    assert (count, sources) == (30, 60)


async def test_a_batch_is_told_the_same_way_later(engine: AsyncEngine, doctor: int) -> None:
    await make_batch(engine, doctor, [TimeSlot(time(9, 30), time(10, 30))])
    batch, *told = await make_batch(engine, doctor, [MORNING, TimeSlot(time(11), time(12))], days=2)
    await make_batch(engine, doctor, [MORNING, LATER], days=3)
    async with engine.connect() as connection:
        assert list(await tell_batch(connection, batch)) == told


async def test_a_doctor_of_another_department_is_not_scheduled_there(
    engine: AsyncEngine, doctor: int
) -> None:
    async with engine.begin() as connection:
        with pytest.raises(DoctorElsewhere):
            await check_doctor(connection, 1, doctor, 2)
        with pytest.raises(DepartmentUnknown):
            await check_doctor(connection, 1, doctor, 99)
        with pytest.raises(DoctorUnknown):
            await check_doctor(connection, 1, doctor + 1, 11)
        with pytest.raises(DoctorUnknown):
            await check_doctor(connection, 2, doctor, 11)


# Listing


async def listed(engine: AsyncEngine, wanted: Wanted, **paging: int) -> tuple[list[Any], int]:
    async with engine.connect() as connection:
        rows, total = await list_schedules(
            connection, 1, wanted, **{"page": 1, "size": 20, **paging}
        )
        return list(rows), total


def the_week(**filters: int) -> Wanted:
    return Wanted(tomorrow(), tomorrow() + timedelta(days=6), **filters)


async def test_schedules_are_listed_in_order_of_time_with_what_is_left(
    engine: AsyncEngine, doctor: int
) -> None:
    await make_batch(engine, doctor, [LATER, MORNING], days=2, sources=1)
    async with engine.connect() as connection:
        first = (await connection.execute(text("select min(id) from schedule"))).scalar_one()
    assert await take(engine, first, "A1")
    rows, total = await listed(engine, the_week(doctor_id=doctor))
    assert total == 4
    assert [(row.date, row.timeSlot) for row in rows] == sorted(
        (tomorrow() + timedelta(days=n), str(slot)) for n in range(2) for slot in (MORNING, LATER)
    )
    full = next(row for row in rows if row.id == first)
    assert (full.usedSources, full.availableSources, full.status) == (1, 0, "full")
    assert {row.status for row in rows if row.id != first} == {"available"}


async def test_every_page_tells_the_same_total(engine: AsyncEngine, doctor: int) -> None:
    await make_batch(engine, doctor, [LATER, MORNING], days=5)
    pages = [await listed(engine, the_week(), page=page, size=4) for page in (1, 2, 3, 4)]
    assert [total for _, total in pages] == [10, 10, 10, 10]
    assert [len(rows) for rows, _ in pages] == [4, 4, 2, 0]
    assert len({row.id for rows, _ in pages for row in rows}) == 10


async def test_a_department_includes_those_below_it(engine: AsyncEngine, doctor: int) -> None:
    await make_batch(engine, doctor, [MORNING])
    assert (await listed(engine, the_week(department_id=1)))[1] == 1
    assert (await listed(engine, the_week(department_id=11)))[1] == 1
    assert (await listed(engine, the_week(department_id=2)))[1] == 0
    assert (await listed(engine, the_week(doctor_id=doctor + 1)))[1] == 0


async def test_what_has_begun_or_is_withdrawn_is_unavailable(
    engine: AsyncEngine, doctor: int
) -> None:
    async with engine.begin() as connection:
        begun = await a_slot(connection, doctor, day=tomorrow() - timedelta(days=2))
        withdrawn = await a_slot(connection, doctor)
        await connection.execute(
            text("update schedule set withdrawn = true where id = :id"), {"id": withdrawn}
        )
    wanted = Wanted(tomorrow() - timedelta(days=3), tomorrow())
    rows, _ = await listed(engine, wanted)
    assert {row.id: row.status for row in rows} == {
        begun: "unavailable",
        withdrawn: "unavailable",
    }


# Capacity


async def test_growing_adds_the_next_numbers(engine: AsyncEngine, doctor: int) -> None:
    async with engine.begin() as connection:
        schedule = await a_slot(connection, doctor, sources=2)
        assert await change_schedule(connection, RULES, 1, schedule, total_sources=4) == (2, "101")
        assert await figures(connection, schedule) == (4, 0, 4, 0)
        assert await numbers(connection, schedule) == [1, 2, 3, 4]


async def test_shrinking_withdraws_free_sources_from_the_end_and_growing_brings_them_back(
    engine: AsyncEngine, doctor: int
) -> None:
    async with engine.begin() as connection:
        schedule = await a_slot(connection, doctor, sources=5)
        await connection.execute(
            text("update source set order_no = 'A5' where schedule_id = :id and number = 5"),
            {"id": schedule},
        )
        await connection.execute(
            text("update schedule set used_sources = 1 where id = :id"), {"id": schedule}
        )
        await change_schedule(connection, RULES, 1, schedule, total_sources=2)
        assert await numbers(connection, schedule, "not withdrawn") == [1, 5]
        await change_schedule(connection, RULES, 1, schedule, total_sources=6)
        assert await numbers(connection, schedule, "not withdrawn") == [1, 2, 3, 4, 5, 6]
        assert await figures(connection, schedule) == (6, 1, 6, 1)


async def test_never_below_what_orders_hold(engine: AsyncEngine, doctor: int) -> None:
    async with engine.begin() as connection:
        schedule = await a_slot(connection, doctor, sources=3)
    for n in range(2):
        assert await take(engine, schedule, f"A{n}")
    async with engine.begin() as connection:
        with pytest.raises(BelowUsed) as refused:
            await change_schedule(connection, RULES, 1, schedule, total_sources=1)
        assert refused.value.used == 2
        await change_schedule(connection, RULES, 1, schedule, total_sources=2)
        assert await figures(connection, schedule) == (2, 2, 2, 2)
    assert not await take(engine, schedule, "A9")


async def test_a_room_changes_alone(engine: AsyncEngine, doctor: int) -> None:
    async with engine.begin() as connection:
        schedule = await a_slot(connection, doctor)
        await change_schedule(connection, RULES, 1, schedule, location="202")
        before = await change_schedule(connection, RULES, 1, schedule, location="203")
        assert before == (10, "202")
        with pytest.raises(ScheduleUnknown):
            await change_schedule(connection, RULES, 2, schedule, location="204")


async def test_bookings_releases_and_changes_at_once_leave_the_figures_in_agreement(
    engine: AsyncEngine, doctor: int
) -> None:
    async with engine.begin() as connection:
        schedule = await a_slot(connection, doctor, sources=10)
    dice = random.Random(20261122)

    async def change(total: int) -> None:
        async with engine.begin() as connection:
            with suppress(BelowUsed):
                await change_schedule(connection, RULES, 1, schedule, total_sources=total)

    async def book(order_no: str, leave: bool) -> None:
        if await take(engine, schedule, order_no) and leave:
            async with engine.begin() as connection:
                await connection.execute(
                    text("select release_source(:order_no, :next, cast(:offer as jsonb))"),
                    {"order_no": order_no, "next": f"N{order_no}", "offer": RULES.offer},
                )

    work = [book(f"A{n}", leave=n % 2 == 0) for n in range(120)]
    work += [change(dice.randint(0, 30)) for _ in range(60)]
    dice.shuffle(work)
    await asyncio.gather(*work)
    async with engine.connect() as connection:
        total, used, counted, held = await figures(connection, schedule)
        assert (total, used) == (counted, held)
        assert used <= total
        assert await numbers(connection, schedule, "withdrawn and order_no is not null") == []
