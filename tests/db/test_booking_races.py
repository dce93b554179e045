"""Many at once: every source has one winner, and the figures always agree."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.account import hold_patient
from db.appointment import BookingRules, NewAppointment, book, move_order
from db.base import driver_of
from db.keyring import Keyring
from db.schedule import BelowUsed, change_schedule
from db.stop_clinic import NewStop, mark_affected, stop_clinic
from db.waitlist import WantedPlace, join_waitlist
from domain.appointment import AppointmentStatus as S
from domain.order import NumberPrefix, new_number
from domain.stop_clinic import StopScope
from tests.support.booking import RULES, Clinic, a_move, a_person, config_with

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


def now() -> datetime:
    return datetime.now(UTC)


async def test_two_hundred_at_once_for_ten_sources(clinic: Clinic) -> None:
    slot, account = await clinic.slot(sources=10), await clinic.account()
    people = await clinic.people(account, 200)
    answers = await asyncio.gather(*(clinic.book((account, person), slot) for person in people))
    assert Counter(code for code, _ in answers) == {"booked": 10, "slot_full": 190}
    assert await clinic.figures(slot) == (10, 10, 10)
    numbers = await clinic.ids("select queue_number from appointment order by 1")
    assert numbers == list(range(1, 11))
    assert await clinic.value("select count(*) from outbox") == 10
    assert await clinic.value("select count(*) from timeline") == 10


async def test_one_person_twenty_times_at_once_for_one_doctor(clinic: Clinic) -> None:
    """From two accounts that both hold the person, for two slots of the doctor."""
    who = [await clinic.someone(), await clinic.someone()]
    slots = [await clinic.slot(), await clinic.slot(hour=15)]
    answers = await asyncio.gather(*(clinic.book(who[n % 2], slots[n // 10]) for n in range(20)))
    assert Counter(code for code, _ in answers) == {"booked": 1, "already_booked": 19}
    assert sum([(await clinic.figures(slot))[0] for slot in slots]) == 1


async def test_one_person_at_once_with_five_doctors(clinic: Clinic) -> None:
    who = await clinic.someone()
    slots = [await clinic.slot(await clinic.another_doctor()) for _ in range(5)]
    answers = await asyncio.gather(*(clinic.book(who, slot) for slot in slots * 4))
    codes = Counter(code for code, _ in answers)
    assert codes["booked"] == 2
    assert codes.keys() == {"booked", "already_booked", "daily_limit"}
    assert sum([(await clinic.figures(slot))[2] for slot in slots]) == 2


async def test_one_key_twenty_times_at_once_is_one_order(clinic: Clinic) -> None:
    who, slot = await clinic.someone(), await clinic.slot()
    once = {"key": "k", "body_hash": b"1"}
    answers = await asyncio.gather(*(clinic.book(who, slot, **once) for _ in range(20)))
    assert Counter(code for code, _ in answers) == {"booked": 1, "repeated": 19}
    assert len({order_no for _, order_no in answers}) == 1
    assert await clinic.figures(slot) == (1, 1, 1)


async def test_one_key_twenty_times_at_once_for_what_is_refused(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot(sources=1)
    first, second = await clinic.people(account, 2)
    await clinic.booked((account, first), slot)
    once = {"key": "k", "body_hash": b"1"}
    asked = (clinic.book((account, second), slot, **once) for _ in range(20))
    assert {code for code, _ in await asyncio.gather(*asked)} == {"slot_full"}
    assert await clinic.value("select count(*) from idempotency") == 0


async def test_a_source_is_given_back_once_however_many_say_so(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot(sources=2)
    one, other = [
        await clinic.booked((account, person), slot) for person in await clinic.people(account, 2)
    ]
    await asyncio.gather(*(clinic.move(one, 1, S.CANCELLED, at=now()) for _ in range(20)))
    assert await clinic.figures(slot) == (1, 1, 1)
    held = "select order_no from source where order_no is not null"
    assert await clinic.value(held) == other


async def test_a_freed_source_has_one_next_holder(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot(sources=1)
    people = await clinic.people(account, 21)
    held = await clinic.booked((account, people[0]), slot)
    wanting = [clinic.book((account, person), slot) for person in people[1:]]
    await asyncio.gather(clinic.move(held, 1, S.CANCELLED, at=now()), *wanting)
    assert await clinic.figures(slot) in {(0, 0, 0), (1, 1, 1)}


async def test_written_out_with_a_new_phone_and_by_id_at_once_do_not_deadlock(
    clinic: Clinic,
) -> None:
    """One takes over the phone before it books; the other holds the person's lock meanwhile."""
    who = await clinic.someone()
    slots = [await clinic.slot(await clinic.another_doctor()) for _ in range(6)]
    rules = BookingRules.of(config_with())

    async def write_out(n: int) -> str:
        person = a_person()
        renumbered = type(person)(person.name, person.gender, person.id_card, f"+8613700000{n:03d}")
        async with clinic.engine.begin() as connection:
            held = await hold_patient(connection, clinic.keyring, 1, who[0], renumbered)
            await asyncio.sleep(0)  # as the route, which computes here
            number = new_number(NumberPrefix.APPOINTMENT, date(2026, 11, 22))
            new = NewAppointment(1, who[0], slots[n % 6], held.id, True, number, None, None, None)
            return (await book(await driver_of(connection), new, rules))[0]

    async def by_id(n: int) -> str:
        return (await clinic.book(who, slots[n % 6]))[0]

    for _ in range(3):
        await asyncio.gather(*(do(n) for n in range(18) for do in (write_out, by_id)))
        for order_no in await clinic.ids("select order_no from appointment where version = 0"):
            await clinic.move(order_no, 1, S.CANCELLED, at=now())


async def test_whatever_happens_at_once_the_sum_agrees(clinic: Clinic) -> None:
    """Bookings, cancellations, expiries, check-ins, changes of capacity, the line for a full slot
    and its offers, moves from slot to slot, and sessions called off, mixed at random."""
    chance = random.Random(20261122)
    account, capacity = await clinic.account(), 6
    doctors = [clinic.doctor, await clinic.another_doctor()]
    slots = [await clinic.slot(doctor, sources=capacity) for doctor in doctors]
    every = list(slots)  # those that were called off, too
    people = list(await clinic.people(account, 12))
    versions: dict[str, int] = {}
    done: Counter[str] = Counter()

    async def one_books() -> None:
        code, order_no = await clinic.book((account, chance.choice(people)), chance.choice(slots))
        done[code] += 1
        if code == "booked":
            versions[order_no] = 0

    async def one_moves() -> None:
        if not versions:
            return
        order_no = chance.choice(list(versions))
        to = chance.choice([S.CANCELLED, S.CANCELLED, S.CONFIRMED, S.CHECKED_IN, S.NO_SHOW])
        version = versions.pop(order_no) + 1
        if to in (S.CONFIRMED, S.CHECKED_IN):
            versions[order_no] = version
        done[to] += 1
        # Repeated, as activities are.
        at = now() + timedelta(days=chance.choice([0, 3]))
        repeats = (clinic.move(order_no, version, to, at=at) for _ in range(chance.choice([1, 2])))
        await asyncio.gather(*repeats)

    async def one_reschedules() -> None:
        if not versions:
            return
        order_no = chance.choice(list(versions))
        version = versions.pop(order_no) + 1
        async with clinic.engine.begin() as connection:
            move = a_move(order_no, version, S.CONFIRMED)
            code = await move_order(connection, move, chance.choice(slots), RULES)
        versions[order_no] = version
        done[code] += 1

    async def one_joins() -> None:
        wanted = WantedPlace(1, account, chance.choice(slots), chance.choice(people))
        async with clinic.engine.begin() as connection:
            code, _ = await join_waitlist(connection, wanted, RULES)
        done[code] += 1

    async def one_is_offered() -> None:
        for order_no in await clinic.ids(
            """update waitlist_entry set ended_at = now()
                where status = 'offered' and ended_at is null returning order_no"""
        ):
            versions[order_no] = 0
            done["offered"] += 1

    async def one_is_called_off() -> None:
        if done["stopped"] == 3:
            return
        done["stopped"] += 1
        slots.append(await clinic.slot(await clinic.another_doctor(), sources=capacity))
        every.append(slots[-1])
        new = NewStop(1, slots.pop(0), StopScope.SLOT, f"S-{done['stopped']}", 13, "24 h")
        async with clinic.engine.begin() as connection:
            assert (await stop_clinic(connection, new))[1]
        async with clinic.engine.begin() as connection:
            await mark_affected(connection, new.stop_no)

    async def capacity_changes() -> None:
        with suppress(BelowUsed):
            async with clinic.engine.begin() as connection:
                total = chance.randint(1, capacity + 4)
                await change_schedule(
                    connection, RULES, 1, chance.choice(slots), total_sources=total
                )
        done["capacity"] += 1

    async def somebody() -> None:
        while asyncio.get_running_loop().time() < end:
            doings = [
                one_books, one_moves, one_reschedules, one_joins, one_is_offered, capacity_changes,
                one_is_called_off,
            ]  # fmt: skip
            await chance.choices(doings, [50, 40, 30, 30, 20, 10, 1])[0]()

    async def look() -> None:
        """One statement sees one instant: the figures must agree in the middle of it, too."""
        while asyncio.get_running_loop().time() < end:
            for slot in list(every):
                used, held, open_ones = await clinic.figures(slot)
                kept = await clinic.value(
                    """select count(*) from appointment
                        where schedule_id = :slot and status = 'no_show'""",
                    slot=slot,
                )
                assert used == held
                assert open_ones <= held <= open_ones + kept
            await asyncio.sleep(0.05)

    end = asyncio.get_running_loop().time() + 3
    await asyncio.gather(look(), *(somebody() for _ in range(12)))
    assert min(done[what] for what in ("booked", "cancelled", "capacity")) > 10, done
    assert min(done[what] for what in ("moved", "joined", "offered")) > 0, done
    for slot in every:
        assert await clinic.value(
            """select used_sources = (select count(*) from source where schedule_id = s.id
                                         and order_no is not null)
                  and used_sources = (select count(*) from appointment where schedule_id = s.id
                                         and status <> 'cancelled')
                  and total_sources = (select count(*) from source where schedule_id = s.id
                                          and not withdrawn)
                 from schedule s where id = :slot""",
            slot=slot,
        )
        withdrawn = "select count(*) from source where withdrawn and order_no is not null"
        assert await clinic.value(withdrawn) == 0
