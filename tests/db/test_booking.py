"""Every rule of booking, with its own code, held by PostgreSQL."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.appointment import BookingRules, move_order
from db.keyring import Keyring
from domain.appointment import AppointmentStatus as S
from domain.hospital import AppointmentPolicy
from tests.support.booking import (
    DAY,
    HOUR,
    MINUTE,
    Clinic,
    a_move,
    config_with,
    without_appointments,
)
from tests.support.catalogue import tomorrow

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


def noonish() -> ZoneInfo:
    """A zone in which it is about noon, so that no test runs over midnight."""
    hours = 12 - datetime.now(UTC).hour
    return ZoneInfo(f"Etc/GMT{-hours:+d}" if hours else "Etc/UTC")  # its signs are reversed


async def shift(clinic: Clinic, slot: int, by: timedelta) -> None:
    """Move a slot in time, so that it begins so long from now."""
    await clinic.run(
        """update schedule set starts_at = now() + :by, ends_at = now() + :by + interval '1 hour'
            where id = :slot""",
        by=by,
        slot=slot,
    )


# Birth


async def test_a_booking_takes_one_source_and_promises_its_workflow(clinic: Clinic) -> None:
    who, slot = await clinic.someone(), await clinic.slot()
    code, order_no = await clinic.book(who, slot)
    assert code == "booked"
    assert await clinic.figures(slot) == (1, 1, 1)
    order = await clinic.order(order_no)
    assert (order.status, order.version, order.price) == ("pending", 0, Decimal("50.00"))
    assert (order.account_id, order.patient_id, order.queue_number) == (*who, 1)
    source = "select order_no from source where id = :id"
    assert await clinic.value(source, id=order.source_id) == order_no
    outbox = "select stream || ' ' || workflow || ' ' || subject from outbox"
    assert await clinic.value(outbox) == f"{order_no} appointment {order_no}"
    timeline = (
        "select event || ' ' || to_status || ' ' || actor_role || ' ' || actor_id from timeline"
    )
    assert await clinic.value(timeline) == f"booked pending patient {who[0]}"


async def test_queue_numbers_are_those_of_the_sources(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot(sources=3)
    people = await clinic.people(account, 3)
    orders = [await clinic.booked((account, person), slot) for person in people]
    assert [(await clinic.order(no)).queue_number for no in orders] == [1, 2, 3]


async def test_an_order_number_tells_neither_who_nor_how_many(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot()
    one, two = [
        await clinic.booked((account, person), slot) for person in await clinic.people(account, 2)
    ]
    assert re.fullmatch(r"A\d{6}[0-9A-HJKMNP-TV-Z]{12}", one)
    assert one[7:] != two[7:]


async def test_a_price_of_nothing_is_confirmed_at_once(clinic: Clinic) -> None:
    slot = await clinic.slot(await clinic.another_doctor(level="resident"))
    order = await clinic.order(await clinic.booked(await clinic.someone(), slot))
    assert (order.status, order.price) == ("confirmed", 0)
    assert await clinic.value("select to_status from timeline") == "confirmed"


async def test_the_payment_deadline_is_never_after_the_slots_start(clinic: Clinic) -> None:
    who, far, near = await clinic.someone(), await clinic.slot(), await clinic.slot(hour=15)
    await shift(clinic, near, 5 * MINUTE)
    order = await clinic.order(await clinic.booked(who, far))
    assert order.pay_by - order.created_at == 15 * MINUTE
    await clinic.move(order.order_no, 1, S.CANCELLED, at=order.created_at)
    order = await clinic.order(await clinic.booked(who, near))
    assert order.pay_by == order.starts_at
    assert order.pay_by - order.created_at < 5 * MINUTE


async def test_what_was_promised_is_pinned_into_the_order(clinic: Clinic) -> None:
    generous = config_with(
        AppointmentPolicy(payment_window=timedelta(minutes=40), late_refund_share=Decimal("0.5"))
    )
    slot = await clinic.slot()
    order = await clinic.order(await clinic.booked(await clinic.someone(), slot, config=generous))
    assert order.pay_by - order.created_at == 40 * MINUTE
    assert order.terms["payment_window"] == "PT40M"
    assert order.terms["late_refund_share"] == "0.5"
    assert order.terms["cancel_until"] == "23:59:00"


# Slots


async def test_a_full_slot_refuses(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot(sources=1)
    first, second = await clinic.people(account, 2)
    await clinic.booked((account, first), slot)
    assert (await clinic.book((account, second), slot))[0] == "slot_full"
    assert await clinic.figures(slot) == (1, 1, 1)
    assert await clinic.value("select count(*) from appointment") == 1
    assert await clinic.value("select count(*) from outbox") == 1


async def test_a_slot_that_has_begun_refuses(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await shift(clinic, slot, timedelta(seconds=-1))
    assert (await clinic.book(await clinic.someone(), slot))[0] == "slot_begun"


async def test_a_withdrawn_schedule_refuses(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await clinic.run("update schedule set withdrawn = true")
    assert (await clinic.book(await clinic.someone(), slot))[0] == "schedule_unavailable"


async def test_the_fourteenth_day_opens_at_seven_and_no_day_after_it_does(clinic: Clinic) -> None:
    zone = noonish()
    now = datetime.now(zone)
    last, after = [
        await clinic.slot(day=now.date() + days * DAY, hour=hour)
        for days, hour in ((14, 9), (15, 10))
    ]
    account = await clinic.account()
    people = [(account, person) for person in await clinic.people(account, 3)]

    def opening(at: datetime) -> object:
        policy = AppointmentPolicy(horizon_opens=at.time().replace(microsecond=0))
        return config_with(policy, zone=zone.key)

    later, earlier = opening(now + 10 * MINUTE), opening(now - 10 * MINUTE)
    assert (await clinic.book(people[0], last, config=later))[0] == "not_open_yet"
    assert (await clinic.book(people[0], last, config=earlier))[0] == "booked"
    assert (await clinic.book(people[1], after, config=earlier))[0] == "not_open_yet"
    thirteenth = await clinic.slot(day=now.date() + 13 * DAY)
    assert (await clinic.book(people[2], thirteenth, config=later))[0] == "booked"
    assert AppointmentPolicy().horizon_opens.isoformat() == "07:00:00"


async def test_a_level_without_a_fee_is_not_offered_and_never_free(clinic: Clinic) -> None:
    config = config_with()
    fees = tuple(fee for fee in config.registration_fees if fee.level != "chief")
    unpriced = replace(config, registration_fees=fees)
    code, _ = await clinic.book(await clinic.someone(), await clinic.slot(), config=unpriced)
    assert code == "not_offered"


async def test_without_the_feature_nothing_is_offered(clinic: Clinic) -> None:
    who, slot = await clinic.someone(), await clinic.slot()
    assert (await clinic.book(who, slot, config=without_appointments()))[0] == "not_offered"
    order_no, elsewhere = await clinic.booked(who, slot), await clinic.slot(hour=15)
    await clinic.move(order_no, 1, S.CONFIRMED)
    move = a_move(order_no, 2, S.CONFIRMED)
    async with clinic.engine.begin() as connection:
        closed = BookingRules.of(without_appointments())
        assert await move_order(connection, move, elsewhere, closed) == "not_offered"


async def test_nobody_is_booked_for_whose_key_was_thrown_away(clinic: Clinic) -> None:
    who, other, slot = await clinic.someone(1), await clinic.someone(2), await clinic.slot()
    await clinic.run(
        """update data_key set wrapped = null, shredded_at = now()
            where id = (select data_key_id from patient where id = :id)""",
        id=who[1],
    )
    assert (await clinic.book(who, slot))[0] == "patient_unknown"
    assert (await clinic.book(other, slot))[0] == "booked"


async def test_another_hospitals_schedule_is_unknown(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await clinic.run("update schedule set hospital_id = 2")
    who = await clinic.someone()
    assert (await clinic.book(who, slot))[0] == "schedule_unknown"
    assert (await clinic.book(who, 10**15))[0] == "schedule_unknown"


# Persons


async def test_another_accounts_person_is_unknown(clinic: Clinic) -> None:
    slot, mine, theirs = await clinic.slot(), await clinic.someone(), await clinic.someone()
    assert (await clinic.book((mine[0], theirs[1]), slot))[0] == "patient_unknown"
    assert (await clinic.book((mine[0], 10**15), slot))[0] == "patient_unknown"
    assert await clinic.figures(slot) == (0, 0, 0)


async def test_a_person_has_one_open_appointment_per_doctor_and_date(clinic: Clinic) -> None:
    who = await clinic.someone()
    morning, afternoon = await clinic.slot(), await clinic.slot(hour=15)
    next_day = await clinic.slot(day=tomorrow() + DAY)
    first = await clinic.booked(who, morning)
    assert (await clinic.book(who, afternoon))[0] == "already_booked"
    assert (await clinic.book(who, next_day))[0] == "booked"
    await clinic.move(first, 1, S.CANCELLED, at=datetime.now(UTC))
    assert (await clinic.book(who, afternoon))[0] == "booked"


async def test_a_person_has_two_open_appointments_a_day(clinic: Clinic) -> None:
    who = await clinic.someone()
    slots = [await clinic.slot(await clinic.another_doctor()) for _ in range(3)]
    codes = [(await clinic.book(who, slot))[0] for slot in slots]
    assert codes == ["booked", "booked", "daily_limit"]
    elsewhere = await clinic.slot(await clinic.another_doctor(), day=tomorrow() + DAY)
    assert (await clinic.book(who, elsewhere))[0] == "booked"


async def suspend(clinic: Clinic, order_no: str, lasting: timedelta = 90 * DAY) -> None:
    await clinic.run(
        """insert into booking_suspension (hospital_id, person_index, order_no, starts_at, ends_at)
           select 1, person_index, order_no, now() - interval '1 day', now() + :lasting
             from appointment where order_no = :order_no""",
        order_no=order_no,
        lasting=lasting,
    )


async def test_a_suspended_person_may_not_book_until_it_ends_or_is_lifted(clinic: Clinic) -> None:
    who, slot = await clinic.someone(), await clinic.slot()
    other = await clinic.slot(await clinic.another_doctor())
    await suspend(clinic, await clinic.booked(who, slot))
    assert (await clinic.book(who, other))[0] == "suspended"
    await clinic.run("update booking_suspension set lifted_by = :who", who=who[0])
    assert (await clinic.book(who, other))[0] == "booked"
    third = await clinic.slot(day=tomorrow() + DAY)
    await clinic.run("update booking_suspension set lifted_by = null, ends_at = now()")
    assert (await clinic.book(who, third))[0] == "booked"


# What a stranger learns: nothing


async def strangers(clinic: Clinic) -> list[tuple[str, tuple[int, int], bool]]:
    """Accounts that name the same ID number: written out just now, or held under another name."""
    fresh, renamed = await clinic.account(), await clinic.account()
    return [
        ("written out", (fresh, await clinic.person(fresh)), False),
        ("another name", (renamed, await clinic.person(renamed, name="陈大海")), True),
    ]


async def test_a_stranger_does_not_hear_of_an_appointment(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await clinic.booked(await clinic.someone(), slot)
    for how, who, held in await strangers(clinic):
        assert (await clinic.book(who, slot, held=held))[0] == "booking_refused", how


async def test_a_stranger_does_not_hear_of_the_daily_limit(clinic: Clinic) -> None:
    who = await clinic.someone()
    for _ in range(2):
        await clinic.booked(who, await clinic.slot(await clinic.another_doctor()))
    slot = await clinic.slot()
    for how, stranger, held in await strangers(clinic):
        assert (await clinic.book(stranger, slot, held=held))[0] == "booking_refused", how


async def test_a_stranger_does_not_hear_of_a_suspension(clinic: Clinic) -> None:
    order_no = await clinic.booked(await clinic.someone(), await clinic.slot())
    await suspend(clinic, order_no)
    slot = await clinic.slot(await clinic.another_doctor())
    for how, stranger, held in await strangers(clinic):
        assert (await clinic.book(stranger, slot, held=held))[0] == "booking_refused", how


async def test_another_account_that_holds_the_person_hears_why(clinic: Clinic) -> None:
    """A mother and a father each hold their child, under its one name."""
    slot = await clinic.slot()
    await clinic.booked(await clinic.someone(), slot)
    assert (await clinic.book(await clinic.someone(), slot))[0] == "already_booked"


async def test_different_persons_do_not_stand_in_each_others_way(clinic: Clinic) -> None:
    slot = await clinic.slot()
    await clinic.booked(await clinic.someone(1), slot)
    assert (await clinic.book(await clinic.someone(2), slot))[0] == "booked"


# Idempotency-Key


async def test_a_key_used_again_gives_the_first_order_again(clinic: Clinic) -> None:
    who, slot = await clinic.someone(), await clinic.slot()
    once = {"key": "k", "body_hash": b"1"}
    first = await clinic.booked(who, slot, **once)
    assert await clinic.book(who, slot, **once) == ("repeated", first)
    assert await clinic.book(who, slot, key="k", body_hash=b"2") == ("idempotency_mismatch", "")
    assert await clinic.figures(slot) == (1, 1, 1)


async def test_a_key_is_its_callers_own(clinic: Clinic) -> None:
    slot, once = await clinic.slot(), {"key": "k", "body_hash": b"1"}
    orders = {await clinic.booked(await clinic.someone(n), slot, **once) for n in (1, 2)}
    assert len(orders) == 2


async def test_a_refusal_is_judged_anew_under_the_same_key(clinic: Clinic) -> None:
    account, slot = await clinic.account(), await clinic.slot(sources=1)
    first, second = await clinic.people(account, 2)
    in_the_way = await clinic.booked((account, first), slot)
    once = {"key": "k", "body_hash": b"1"}
    assert (await clinic.book((account, second), slot, **once))[0] == "slot_full"
    await clinic.move(in_the_way, 1, S.CANCELLED, at=datetime.now(UTC) + HOUR)
    assert (await clinic.book((account, second), slot, **once))[0] == "booked"
    assert (await clinic.book((account, second), slot, **once))[0] == "repeated"
