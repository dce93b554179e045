"""Calling: everybody once, in the order of their turn, whatever happens at the same time."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.appointment import (
    Calling,
    NoSuchSession,
    Place,
    SessionFigures,
    SessionsWanted,
    call_again,
    call_next,
    list_sessions,
    move_order,
    pass_over,
    place_in_queue,
    queue_of_day,
    queue_of_session,
)
from db.keyring import Keyring
from domain.appointment import AppointmentStatus as S
from tests.support.booking import DAY, MINUTE, RULES, Clinic, a_move
from tests.support.catalogue import tomorrow

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
ACCOUNT = 99


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


class Room:
    """A doctor in a session, and the patients before the door."""

    def __init__(self, clinic: Clinic, slot: int) -> None:
        self.clinic, self.slot = clinic, slot
        self.by = Calling(1, clinic.doctor, ACCOUNT)

    async def expects(self, count: int) -> list[str]:
        account = await self.clinic.account()
        orders = []
        for person in await self.clinic.people(account, count):
            orders.append(await self.clinic.booked((account, person), self.slot))
            await self.clinic.move(orders[-1], 1, S.CONFIRMED, at=NOW, payment_no="P1")
        return orders

    async def check_in(self, order_no: str, *, late: timedelta | None = None) -> None:
        starts_at = (await self.clinic.order(order_no)).starts_at
        at = starts_at + late if late else starts_at - MINUTE
        await self.clinic.move(order_no, 2, S.CHECKED_IN, at=at)

    async def full_of(self, count: int) -> list[str]:
        orders = await self.expects(count)
        for order_no in orders:
            await self.check_in(order_no)
        return orders

    async def next(self) -> str | None:
        async with self.clinic.engine.begin() as connection:
            return await call_next(connection, self.by, self.slot)

    async def again(self, order_no: str) -> bool:
        async with self.clinic.engine.begin() as connection:
            return await call_again(connection, self.by, order_no)

    async def passes(self, order_no: str) -> bool:
        async with self.clinic.engine.begin() as connection:
            return await pass_over(connection, self.by, order_no)

    async def queue(self) -> list[str]:
        async with self.clinic.engine.connect() as connection:
            entries = await queue_of_session(connection, 1, self.slot)
        return [entry.order.order_no for entry in entries]

    async def place(self, order_no: str) -> Place:
        async with self.clinic.engine.connect() as connection:
            return await place_in_queue(connection, (await self.clinic.order(order_no)).id)

    async def figures(self) -> SessionFigures:
        wanted = SessionsWanted(1, self.clinic.doctor, tomorrow(), tomorrow())
        async with self.clinic.engine.connect() as connection:
            ((session,), _) = await list_sessions(connection, wanted)
        return session


@pytest.fixture
async def room(clinic: Clinic) -> Room:
    return Room(clinic, await clinic.slot(sources=20))


# Whose turn it is


async def test_those_who_are_here_are_called_by_their_numbers(room: Room) -> None:
    orders = await room.expects(4)
    for order_no in (orders[3], orders[1]):  # whoever came first
        await room.check_in(order_no)
    assert [await room.next() for _ in range(3)] == [orders[1], orders[3], None]


async def test_late_ones_are_called_last_in_the_order_they_came(room: Room) -> None:
    orders = await room.expects(4)
    await room.check_in(orders[1], late=MINUTE)
    await room.check_in(orders[0], late=2 * MINUTE)
    for order_no in orders[2:]:
        await room.check_in(order_no)
    called = [await room.next() for _ in range(5)]
    assert called == [orders[2], orders[3], orders[1], orders[0], None]


async def test_who_left_the_queue_is_not_called(room: Room) -> None:
    orders = await room.full_of(4)
    await room.clinic.move(orders[0], 3, S.COMPLETED, at=NOW)
    await room.clinic.move(orders[2], 3, S.CANCELLED, at=NOW)
    assert await room.queue() == [orders[1], orders[3]]
    assert [await room.next() for _ in range(3)] == [orders[1], orders[3], None]


async def test_another_doctors_session_is_not_there(room: Room) -> None:
    await room.full_of(1)
    for by in (Calling(1, room.clinic.doctor + 1, ACCOUNT), Calling(2, room.clinic.doctor, 1)):
        async with room.clinic.engine.begin() as connection:
            with pytest.raises(NoSuchSession):
                await call_next(connection, by, room.slot)
    assert (await room.figures()).waiting == 1


async def test_the_queue_shows_who_is_here_and_then_who_is_expected(
    room: Room, clinic: Clinic
) -> None:
    orders = await room.expects(4)
    unpaid = await clinic.booked(await clinic.someone(), room.slot)
    await room.check_in(orders[3])
    await room.check_in(orders[2], late=MINUTE)
    await clinic.move(orders[0], 2, S.NO_SHOW, at=NOW)
    assert await room.queue() == [orders[3], orders[2], orders[1]]
    assert unpaid not in await room.queue()
    async with clinic.engine.connect() as connection:
        entries = await queue_of_day(connection, 1, clinic.doctor, tomorrow())
        assert await queue_of_day(connection, 1, clinic.doctor, tomorrow() + DAY) == []
        assert await queue_of_day(connection, 1, clinic.doctor + 1, tomorrow()) == []
    assert [(entry.order.order_no, entry.late) for entry in entries] == [
        (orders[3], False), (orders[2], True), (orders[1], False),
    ]  # fmt: skip


# Many at once


async def test_twenty_at_once_call_ten_patients_once_each_in_their_order(
    room: Room, clinic: Clinic
) -> None:
    orders = await room.full_of(10)
    called = Counter(await asyncio.gather(*(room.next() for _ in range(20))))
    assert called == {**dict.fromkeys(orders, 1), None: 10}
    assert await clinic.ids("select order_no from appointment order by called_at") == orders
    assert await clinic.ids("select distinct calls from appointment") == [1]
    assert await clinic.value("select count(*) from audit where event = 'called'") == 10
    assert await clinic.value("select count(*) from outbox where workflow = 'message'") == 10


async def test_calling_passing_checking_in_and_leaving_at_once_lose_nobody(
    room: Room, clinic: Clinic
) -> None:
    """No deadlock either: each takes its locks in an order that the others can live with."""
    everyone = await room.expects(12)
    here, coming = everyone[:6], everyone[6:]
    for order_no in here:
        await room.check_in(order_no)
    assert [await room.next() for _ in range(3)] == here[:3]
    await asyncio.gather(
        *(room.passes(order_no) for order_no in here[:3]),
        *(room.again(order_no) for order_no in here[:3]),
        *(room.check_in(order_no, late=MINUTE) for order_no in coming),
        clinic.move(here[1], 3, S.CANCELLED, at=NOW),
        clinic.move(here[4], 3, S.COMPLETED, at=NOW),
        *(room.next() for _ in range(4)),
    )
    while await room.next():
        pass
    figures = await room.figures()
    assert (figures.checked_in, figures.waiting) == (10, 0)
    numbers = await clinic.ids("select queue_number from appointment where status = 'checked_in'")
    assert len(numbers) == len(set(numbers))


async def test_who_is_about_to_leave_is_not_waited_for(room: Room, clinic: Clinic) -> None:
    first, second = await room.full_of(2)
    async with clinic.engine.begin() as connection:
        moved = text("update appointment set status = 'completed' where order_no = :order_no")
        await connection.execute(moved, {"order_no": first})
        async with asyncio.timeout(5):
            assert await room.next() == second


# Again, and passed over


async def test_a_call_can_be_repeated_once_it_was_made(room: Room, clinic: Clinic) -> None:
    first, second = await room.full_of(2)
    await room.next()
    before = (await clinic.order(first)).called_at
    assert await room.again(first)
    assert not await room.again(second)
    order = await clinic.order(first)
    assert (order.calls, order.called_at > before) == (2, True)
    subjects = "select subject from outbox where workflow = 'message' order by id"
    assert await clinic.ids(subjects) == [f"{first}:appointment_called:{n}" for n in (1, 2)]


async def test_who_does_not_come_waits_behind_everyone(room: Room) -> None:
    first, second, third, expected = await room.expects(4)
    for order_no in (first, second, third):
        await room.check_in(order_no)
    assert await room.next() == first
    assert await room.passes(first)
    assert not await room.passes(first), "passed over once a call"
    assert not await room.passes(second), "was not called"
    await room.check_in(expected)
    assert [await room.next() for _ in range(5)] == [second, third, expected, first, None]
    place = await room.place(first)
    assert (place.calls, place.called_at is not None) == (2, True)


async def test_who_comes_late_comes_after_who_was_passed_over_before(room: Room) -> None:
    first, late = await room.expects(2)
    await room.check_in(first)
    await room.next()
    await room.passes(first)
    await room.check_in(late, late=MINUTE)
    assert [await room.next() for _ in range(2)] == [first, late]


async def test_who_was_passed_over_and_stands_at_the_door_is_called_again(room: Room) -> None:
    first, second = await room.full_of(2)
    await room.next()
    await room.passes(first)
    assert await room.again(first)
    assert [await room.next() for _ in range(2)] == [second, None]


async def test_who_left_can_be_neither_called_again_nor_passed_over(
    room: Room, clinic: Clinic
) -> None:
    (order_no,) = await room.full_of(1)
    await room.next()
    await clinic.move(order_no, 3, S.COMPLETED, at=NOW)
    before = await clinic.order(order_no)
    assert not await room.again(order_no)
    assert not await room.passes(order_no)
    assert await clinic.order(order_no) == before


async def test_who_takes_another_slot_begins_anew_there(room: Room, clinic: Clinic) -> None:
    """A clinic that is called off: who is here, and called, may take another slot at the desk."""
    (order_no,) = await room.full_of(1)
    await room.next()
    elsewhere = Room(clinic, await clinic.slot(hour=15))

    async def takes_it() -> str:
        move = a_move(order_no, 3, S.CONFIRMED, at=NOW)
        async with clinic.engine.begin() as connection:
            return await move_order(connection, move, elsewhere.slot, RULES)

    assert await takes_it() == "moved"
    place = await elsewhere.place(order_no)
    assert (place.ahead, place.called_at, place.calls) == (None, None, 1)
    await clinic.move(order_no, 4, S.CHECKED_IN, at=NOW)
    assert not await elsewhere.again(order_no), "was not called here"
    assert await elsewhere.next() == order_no
    assert await takes_it() == "moved", "a late repeat"
    assert (await elsewhere.place(order_no)).called_at is not None


async def test_calls_move_no_status_and_disturb_no_timeline(room: Room, clinic: Clinic) -> None:
    (order_no,) = await room.full_of(1)
    await room.next()
    await room.again(order_no)
    await room.passes(order_no)
    order = await clinic.order(order_no)
    assert (order.status, order.version) == ("checked_in", 2)
    assert await clinic.value("select count(*) from timeline") == 3
    noted = """select concat_ws(' ', event, actor_role, actor_id, details ->> 'calls')
                 from audit where subject = :order_no order by id"""
    assert await clinic.ids(noted, order_no=order_no) == [
        "called doctor 99 1", "called doctor 99 2", "passed_over doctor 99 2",
    ]  # fmt: skip
    await clinic.move(order_no, 3, S.COMPLETED, at=NOW)
    assert (await clinic.order(order_no)).calls == 2


# Places and figures


async def test_a_place_counts_those_who_are_called_before(room: Room) -> None:
    orders = await room.expects(4)
    assert (await room.place(orders[0])).ahead is None
    for order_no in orders[1:]:
        await room.check_in(order_no)
    assert [(await room.place(order_no)).ahead for order_no in orders] == [None, 0, 1, 2]
    await room.next()
    assert [(await room.place(order_no)).ahead for order_no in orders] == [None, 0, 0, 1]
    await room.passes(orders[1])
    assert [(await room.place(order_no)).ahead for order_no in orders] == [None, 2, 0, 1]


async def test_a_session_counts_its_orders_by_status(room: Room, clinic: Clinic) -> None:
    orders = await room.expects(6)
    await clinic.booked(await clinic.someone(), room.slot)  # unpaid
    for order_no in orders[:3]:
        await room.check_in(order_no)
    await room.next()
    await clinic.move(orders[2], 3, S.COMPLETED, at=NOW)
    await clinic.move(orders[3], 2, S.NO_SHOW, at=NOW)
    await clinic.move(orders[4], 2, S.CANCELLED, at=NOW)
    found = await room.figures()
    assert (found.total_sources, found.used_sources) == (20, 6)
    assert (found.confirmed, found.checked_in, found.waiting) == (1, 2, 1)
    assert (found.completed, found.no_show) == (1, 1)


async def test_sessions_are_listed_in_order_of_time_and_paged(clinic: Clinic) -> None:
    afternoon, morning = await clinic.slot(hour=14), await clinic.slot(hour=8)
    next_day = await clinic.slot(day=tomorrow() + DAY)
    await clinic.slot(await clinic.another_doctor())

    async def listed(page: int, size: int) -> tuple[list[int], int]:
        wanted = SessionsWanted(1, clinic.doctor, tomorrow(), tomorrow() + DAY, page, size)
        async with clinic.engine.connect() as connection:
            sessions, total = await list_sessions(connection, wanted)
        return [session.id for session in sessions], total

    assert await listed(1, 20) == ([morning, afternoon, next_day], 3)
    assert await listed(2, 2) == ([next_day], 3)
