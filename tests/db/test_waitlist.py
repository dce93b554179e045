"""The line for a full slot, and the way from one slot to another, on a real database."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.appointment import BookingRules, load_starts, move_order, record_move
from db.keyring import Keyring
from db.schedule import change_schedule
from db.waitlist import (
    WaitlistEntry,
    WantedPlace,
    end_begun_lines,
    join_waitlist,
    leave_waitlist,
    list_entries,
)
from domain.appointment import AppointmentStatus
from domain.hospital import AppointmentPolicy
from tests.support.booking import RULES, Clinic, a_move, config_with, without_appointments

pytestmark = pytest.mark.anyio

S = AppointmentStatus
Who = tuple[int, int]


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
async def people(clinic: Clinic) -> list[Who]:
    """Each with an account of their own."""
    return [await clinic.someone(number) for number in range(6)]


@pytest.fixture
async def full(clinic: Clinic, people: list[Who]) -> tuple[int, str]:
    """A slot with one source, and the order that holds it."""
    slot = await clinic.slot(sources=1)
    return slot, await clinic.booked(people[0], slot)


async def join(clinic: Clinic, who: Who, slot: int) -> str:
    async with clinic.engine.begin() as connection:
        return (await join_waitlist(connection, WantedPlace(1, who[0], slot, who[1]), RULES))[0]


async def entries(clinic: Clinic, who: Who) -> list[WaitlistEntry]:
    async with clinic.engine.connect() as connection:
        return (await list_entries(connection, 1, who[0], page=1, size=20))[0]


async def entry(clinic: Clinic, who: Who) -> WaitlistEntry:
    return (await entries(clinic, who))[0]


async def told(clinic: Clinic) -> list[str]:
    """Whose place has ended, as messages were promised."""
    facts = "select subject from outbox where workflow = 'message' order by id"
    return [str(fact) for fact in await clinic.ids(facts)]


async def begin(clinic: Clinic, slot: int) -> None:
    await clinic.run(
        """update schedule set starts_at = now() - interval '1 minute',
                  ends_at = now() + interval '1 hour' where id = :slot""",
        slot=slot,
    )


async def to_slot(clinic: Clinic, order_no: str, version: int, slot: int) -> str:
    async with clinic.engine.begin() as connection:
        move = a_move(order_no, version, S.CONFIRMED)
        return await move_order(connection, move, slot, RULES)


async def agree(clinic: Clinic, *slots: int) -> None:
    """Each source is free or held by exactly one open order, and the figures say so."""
    for slot in slots:
        used, held, open_ones = await clinic.figures(slot)
        assert used == held == open_ones


async def test_nobody_gets_in_line_whose_key_was_thrown_away(
    clinic: Clinic, people: list[Who], full: tuple[int, str]
) -> None:
    await clinic.run(
        """update data_key set wrapped = null, shredded_at = now()
            where id = (select data_key_id from patient where id = :id)""",
        id=people[1][1],
    )
    assert await join(clinic, people[1], full[0]) == "patient_unknown"
    assert await join(clinic, people[2], full[0]) == "joined"


async def test_without_the_feature_nobody_gets_in_line_and_nothing_is_passed_on(
    clinic: Clinic, people: list[Who], full: tuple[int, str]
) -> None:
    slot, order_no = full
    assert await join(clinic, people[1], slot) == "joined"
    closed = BookingRules.of(without_appointments())
    async with clinic.engine.begin() as connection:
        place = WantedPlace(1, people[2][0], slot, people[2][1])
        assert (await join_waitlist(connection, place, closed))[0] == "not_offered"
        await record_move(connection, a_move(order_no, 1, S.CANCELLED), closed)
    assert (await entry(clinic, people[1])).status == "waiting"
    assert await clinic.figures(slot) == (0, 0, 0)


async def hold(connection: AsyncConnection, who: Who) -> None:
    """This person is booking, somewhere."""
    query = "select lock_person(1, person_index) from patient where id = :id"
    await connection.execute(text(query), {"id": who[1]})


async def somebody_waits(clinic: Clinic) -> None:
    waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while not await clinic.value(waits):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class TestInLine:
    async def test_a_slot_that_is_not_full_is_booked_and_not_waited_for(self, clinic, people):
        assert await join(clinic, people[0], await clinic.slot()) == "not_full"

    async def test_places_are_in_the_order_of_joining(self, clinic, people, full):
        slot, _ = full
        for who in people[1:4]:
            assert await join(clinic, who, slot) == "joined"
        assert [(await entry(clinic, who)).place for who in people[1:4]] == [1, 2, 3]

    async def test_joining_twice_keeps_the_place(self, clinic, people, full):
        slot, _ = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        assert await join(clinic, people[1], slot) == "waiting"
        assert [(await entry(clinic, who)).place for who in people[1:3]] == [1, 2]

    async def test_whoever_holds_an_order_there_need_not_wait(self, clinic, people, full):
        assert await join(clinic, people[0], full[0]) == "already_booked"

    async def test_those_behind_move_up_when_somebody_leaves(self, clinic, people, full):
        slot, _ = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        async with clinic.engine.begin() as connection:
            assert await leave_waitlist(connection, 1, people[1][0], slot) == 1
        assert (await entry(clinic, people[1])).status == "left"
        assert (await entry(clinic, people[2])).place == 1

    async def test_nobody_leaves_for_another_account(self, clinic, people, full):
        await join(clinic, people[1], full[0])
        async with clinic.engine.begin() as connection:
            assert await leave_waitlist(connection, 1, people[2][0], full[0]) == 0

    async def test_the_line_has_an_end(self, clinic, people, full):
        short = BookingRules.of(config_with(AppointmentPolicy(waitlist_size=1)))
        async with clinic.engine.begin() as connection:
            first = WantedPlace(1, people[1][0], full[0], people[1][1])
            assert (await join_waitlist(connection, first, short))[0] == "joined"
            second = WantedPlace(1, people[2][0], full[0], people[2][1])
            assert (await join_waitlist(connection, second, short))[0] == "waitlist_full"

    async def test_the_line_ends_when_the_slot_begins(self, clinic, people, full):
        slot, _ = full
        await join(clinic, people[1], slot)
        await begin(clinic, slot)
        ended = await entry(clinic, people[1])
        assert (ended.status, ended.place) == ("ended", None)


class TestBeingTold:
    async def test_when_the_slot_has_begun_once(self, clinic, people, full):
        slot, _ = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        waiting = [await entry(clinic, who) for who in people[1:3]]
        await begin(clinic, slot)

        async def end() -> int:
            async with clinic.engine.begin() as connection:
                return await end_begun_lines(connection)

        assert sum(await asyncio.gather(*(end() for _ in range(4)))) == 2
        assert sorted(await told(clinic)) == [f"waitlist-{w.id}:waitlist_ended" for w in waiting]
        assert await clinic.ids("select status from waitlist_entry") == ["ended", "ended"]

    async def test_when_the_rules_pass_one_over(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        lapsed = await entry(clinic, people[1])
        await clinic.booked(people[1], await clinic.slot(hour=14))  # same doctor, same day
        await clinic.move(order_no, 1, S.CANCELLED)
        assert await told(clinic) == [f"waitlist-{lapsed.id}:waitlist_ended"]

    async def test_not_by_this_when_one_left_or_had_an_offer(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        async with clinic.engine.begin() as connection:
            await leave_waitlist(connection, 1, people[1][0], slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        offered = (await entry(clinic, people[2])).order_no
        await clinic.move(offered, 1, S.CANCELLED)  # unpaid: the order itself tells of it
        assert (await entry(clinic, people[2])).status == "lapsed"
        assert await told(clinic) == []


class TestOffers:
    async def test_a_cancelled_source_passes_to_the_first_in_line(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        offered = await entry(clinic, people[1])
        assert offered.status == "offered"
        assert offered.order_no is not None
        order = await clinic.order(offered.order_no)
        assert (order.status, order.queue_number, order.patient_id) == ("pending", 1, people[1][1])
        assert order.pay_by - order.created_at == timedelta(minutes=15)
        assert (await entry(clinic, people[2])).place == 1
        await agree(clinic, slot)

    async def test_an_offer_has_its_workflow(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        number = (await entry(clinic, people[1])).order_no
        promised = "select count(*) from outbox where workflow = 'appointment' and subject = :no"
        assert await clinic.value(promised, no=number) == 1

    async def test_its_workflow_knows_how_long_there_was_to_be_to_pay(self, clinic, people, full):
        """It may begin late, and then gives that time all the same."""
        slot, order_no = full
        await join(clinic, people[1], slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        number = (await entry(clinic, people[1])).order_no
        async with clinic.engine.connect() as connection:
            starts = await load_starts(connection, [number, order_no], RULES.zone)
        assert starts[number].offer_window == timedelta(minutes=15)
        assert starts[order_no].offer_window is None  # booked, and not offered

    async def test_unpaid_it_goes_to_the_next(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        first = await entry(clinic, people[1])
        await clinic.move(first.order_no, 1, S.CANCELLED)
        assert (await entry(clinic, people[1])).status == "lapsed"
        assert (await entry(clinic, people[2])).status == "offered"
        await agree(clinic, slot)

    async def test_paid_it_is_booked(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        number = (await entry(clinic, people[1])).order_no
        await clinic.move(number, 1, S.CONFIRMED)
        assert (await entry(clinic, people[1])).status == "booked"
        await clinic.move(number, 2, S.CANCELLED)  # later: it was booked all the same
        assert (await entry(clinic, people[1])).status == "booked"

    async def test_a_no_show_frees_nothing(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await clinic.move(order_no, 1, S.CONFIRMED)
        await clinic.move(order_no, 2, S.NO_SHOW)
        assert (await entry(clinic, people[1])).status == "waiting"

    async def test_two_frees_and_one_in_line_make_one_offer(self, clinic, people):
        slot = await clinic.slot(sources=2)
        orders = [await clinic.booked(who, slot) for who in people[:2]]
        await join(clinic, people[2], slot)
        await asyncio.gather(*(clinic.move(number, 1, S.CANCELLED) for number in orders))
        assert [e.status for e in await entries(clinic, people[2])] == ["offered"]
        assert (await clinic.figures(slot))[0] == 1
        await agree(clinic, slot)

    async def test_a_repeated_release_offers_once(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        await asyncio.gather(*(clinic.move(order_no, 1, S.CANCELLED) for _ in range(4)))
        assert (await entry(clinic, people[2])).status == "waiting"
        await agree(clinic, slot)

    async def test_added_sources_go_to_the_line_first(self, clinic, people, full):
        slot, _ = full
        for who in people[1:4]:
            await join(clinic, who, slot)
        async with clinic.engine.begin() as connection:
            await change_schedule(connection, RULES, 1, slot, total_sources=3)
        found = [(await entry(clinic, who)).status for who in people[1:4]]
        assert found == ["offered", "offered", "waiting"]
        await agree(clinic, slot)

    async def test_who_may_not_have_it_any_more_is_passed_over(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        await clinic.booked(people[1], await clinic.slot(hour=14))  # same doctor, same day
        await clinic.move(order_no, 1, S.CANCELLED)
        assert (await entry(clinic, people[1])).status == "lapsed"
        assert (await entry(clinic, people[2])).status == "offered"

    async def test_who_is_busy_when_the_first_may_not_have_it_is_not_passed_over(
        self, clinic, people, full
    ):
        """And somebody joins meanwhile, who is busy as well."""
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        await clinic.booked(people[1], await clinic.slot(hour=14))  # same doctor, same day
        async with clinic.engine.begin() as connection:
            await hold(connection, people[2])
            freeing = asyncio.create_task(clinic.move(order_no, 1, S.CANCELLED))
            await somebody_waits(clinic)
            await join(clinic, people[3], slot)
            await hold(connection, people[3])
        await freeing
        found = [(await entry(clinic, who)).status for who in people[1:4]]
        assert found == ["lapsed", "offered", "waiting"]
        await agree(clinic, slot)

    async def test_nothing_is_offered_of_a_slot_that_is_withdrawn(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await clinic.run("update schedule set withdrawn = true where id = :slot", slot=slot)
        await clinic.move(order_no, 1, S.CANCELLED)
        assert (await entry(clinic, people[1])).status == "ended"
        assert await clinic.figures(slot) == (0, 0, 0)

    async def test_who_leaves_at_that_moment_is_offered_nothing(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        await join(clinic, people[2], slot)
        async with clinic.engine.begin() as connection:
            assert await leave_waitlist(connection, 1, people[1][0], slot) == 1
            freeing = asyncio.create_task(clinic.move(order_no, 1, S.CANCELLED))
            await somebody_waits(clinic)
        await freeing
        found = [await entry(clinic, who) for who in people[1:3]]
        assert [(e.status, e.order_no is None) for e in found] == [
            ("left", True), ("offered", False),
        ]  # fmt: skip
        await agree(clinic, slot)

    async def test_a_walk_in_never_comes_before_the_line(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        walk_ins = [clinic.book(who, slot) for who in people[2:6]]
        codes = await asyncio.gather(clinic.move(order_no, 1, S.CANCELLED), *walk_ins)
        assert {code for code, _ in codes[1:]} == {"slot_full"}
        assert (await entry(clinic, people[1])).status == "offered"


class TestAnotherSlot:
    async def test_the_new_source_is_taken_and_the_old_one_free(self, clinic, people, full):
        slot, order_no = full
        other = await clinic.slot(hour=14)
        await clinic.move(order_no, 1, S.CONFIRMED)
        assert await to_slot(clinic, order_no, 2, other) == "moved"
        order = await clinic.order(order_no)
        assert (order.schedule_id, order.version, order.status) == (other, 2, "confirmed")
        assert (await clinic.figures(slot))[0] == 0
        await agree(clinic, slot, other)

    async def test_a_repeat_changes_nothing(self, clinic, people, full):
        slot, order_no = full
        other, third = await clinic.slot(hour=14), await clinic.slot(hour=15)
        assert await to_slot(clinic, order_no, 1, other) == "moved"
        assert await to_slot(clinic, order_no, 2, third) == "moved"
        assert await to_slot(clinic, order_no, 1, other) == "moved"  # late
        assert (await clinic.order(order_no)).schedule_id == third
        await agree(clinic, slot, other, third)

    async def test_a_slot_that_is_gone_leaves_everything_as_it_was(self, clinic, people, full):
        slot, order_no = full
        other = await clinic.slot(hour=14, sources=1)
        await clinic.booked(people[1], other)
        before = await clinic.order(order_no)
        assert await to_slot(clinic, order_no, 1, other) == "slot_full"
        assert await clinic.order(order_no) == before
        await agree(clinic, slot, other)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ("withdrawn = true", "schedule_unavailable"),
            ("starts_at = now() - interval '1 hour', ends_at = now()", "slot_begun"),
            ("date = current_date + 30", "not_open_yet"),
        ],
    )
    async def test_a_slot_that_cannot_be_booked_is_refused(
        self, clinic, people, full, change, code
    ):
        other = await clinic.slot(hour=14)
        await clinic.run(f"update schedule set {change} where id = :id", id=other)
        assert await to_slot(clinic, full[1], 1, other) == code

    async def test_the_same_slot_another_price_or_no_slot_is_refused(self, clinic, people, full):
        slot, order_no = full
        dearer = await clinic.slot(await clinic.another_doctor("resident"))
        assert await to_slot(clinic, order_no, 1, slot) == "same_slot"
        assert await to_slot(clinic, order_no, 1, dearer) == "price_differs"
        assert await to_slot(clinic, order_no, 1, 10**9) == "schedule_unknown"

    async def test_the_order_is_not_in_its_own_way_but_others_are(self, clinic, people, full):
        _, order_no = full
        doctor = await clinic.another_doctor()
        theirs = await clinic.slot(doctor, hour=9)
        await clinic.booked(people[0], theirs)
        same_day = await clinic.slot(hour=16)
        assert await to_slot(clinic, order_no, 1, same_day) == "moved"
        there = await clinic.slot(doctor, hour=11)
        assert await to_slot(clinic, order_no, 2, there) == "already_booked"

    async def test_the_old_source_passes_to_the_line(self, clinic, people, full):
        slot, order_no = full
        await join(clinic, people[1], slot)
        assert await to_slot(clinic, order_no, 1, await clinic.slot(hour=14)) == "moved"
        assert (await entry(clinic, people[1])).status == "offered"
        await agree(clinic, slot)

    async def test_two_that_swap_slots_do_not_wait_for_each_other(self, clinic, people):
        one, two = await clinic.slot(sources=2), await clinic.slot(hour=14, sources=2)
        first, second = await clinic.booked(people[0], one), await clinic.booked(people[1], two)
        for version in range(1, 12):
            there, back = (two, one) if version % 2 else (one, two)
            assert await asyncio.gather(
                to_slot(clinic, first, version, there), to_slot(clinic, second, version, back)
            ) == ["moved", "moved"]
        await agree(clinic, one, two)

    async def test_of_many_who_want_the_last_place_one_gets_it(self, clinic, people):
        there = await clinic.slot(hour=14, sources=1)
        here = await clinic.slot(sources=6)
        orders = [await clinic.booked(who, here) for who in people]
        codes = await asyncio.gather(*(to_slot(clinic, number, 1, there) for number in orders))
        assert sorted(codes) == ["moved", *["slot_full"] * 5]
        await agree(clinic, here, there)
