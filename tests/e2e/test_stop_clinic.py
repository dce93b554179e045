"""A doctor's day is called off in a real house: three hundred patients, a third of whom have paid,
and workers that die."""

import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.support.books import check_books
from tests.support.house import House, eventually
from tests.support.visitors import Patient, log_in, make_slot, register

# Its own waits are longer in sum than what a test may take otherwise.
pytestmark = [pytest.mark.second_tier, pytest.mark.timeout(600)]

PATIENTS = 300
CHOOSING = 10  # of those who paid, so many would rather have another slot
KILLS = 6


def a_day(house: House) -> tuple[int, int]:
    """Two slots of one doctor on one day, with a source for every other patient."""
    first = make_slot(house, sources=PATIENTS // 2)
    [second] = house.sql(
        """with slot as (
               insert into schedule (hospital_id, doctor_id, department_id, date, time_slot,
                                     starts_at, ends_at, location, total_sources)
               select hospital_id, doctor_id, department_id, date, '23:00-23:30',
                      ends_at, ends_at + interval '30 minutes', location, total_sources
                 from schedule where id = %s returning id, total_sources
           ), places as (
               insert into source (schedule_id, number)
               select slot.id, n from slot, generate_series(1, slot.total_sources) n
           )
           select id from slot""",
        first,
    )
    return first, second["id"]


def crowd(house: House, holder: Patient) -> list[int]:
    """Different persons of one account; what is sealed in them is nobody's."""
    made = house.sql(
        """insert into patient (hospital_id, account_id, data_key_id, person_index, name_index,
                                phone_index, sealed, relation)
           select p.hospital_id, p.account_id, p.data_key_id, sha256(n::text::bytea), p.name_index,
                  p.phone_index, p.sealed, 'other'
             from patient p, generate_series(1, %s) n where p.id = %s
           returning id""",
        PATIENTS,
        holder.patient_id,
    )
    return [row["id"] for row in made]


def test_three_hundred_patients_and_workers_that_die(shaken: House) -> None:
    chance = random.Random(PATIENTS)
    holder, operator = register(shaken), log_in(shaken, "operator")
    slots = a_day(shaken)
    elsewhere = make_slot(shaken, sources=2 * CHOOSING)
    orders = [
        holder.post("/appointments", {"scheduleId": slots[n % 2], "patientId": person}, expect=201)
        for n, person in enumerate(crowd(shaken, holder))
    ]
    # The news of the last ones is still on its way when the day is called off.
    payments = {
        order["orderNo"]: holder.pay(order, delay=f"PT{n % 5}S") for n, order in _paying(orders)
    }
    began = operator.post(
        f"/schedules/{slots[0]}/stop", {"reason": "医生生病", "scope": "day"}, expect=202
    )
    assert (began["total"], sorted(began["scheduleIds"])) == (PATIENTS, sorted(slots))

    stop = f"/ops/stops/{began['stopNo']}"
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.2, 2))
        victim = chance.choice(("worker", "relay"))
        shaken.kill(victim)
        shaken.start(victim)
    moved = _some_choose(holder, orders[:CHOOSING], elsewhere)

    eventually(lambda: operator.get(stop)["toTell"] == 0, 120, what="everybody knows")
    done = eventually(
        lambda: (now := operator.get(stop))["status"] == "done" and now, 240, what="it is done"
    )
    assert (done["moved"], done["refunded"]) == (len(moved), PATIENTS - len(moved))
    check_books(shaken)
    _all_went_back_once(shaken, payments, moved)
    ends = Counter(holder.order(order)["status"] for order in orders)
    assert ends == {"cancelled": PATIENTS - len(moved), "confirmed": len(moved)}
    told = shaken.sql(
        """select params ->> 'order_no' as order_no, channel, count(*) from message
            where template = 'appointment_called_off'
            group by 1, 2 having count(*) > 1"""
    )
    assert told == []
    off = shaken.sql(
        """select order_no, count(*) from timeline where event = 'call_off'
            group by order_no having count(*) > 1"""
    )
    assert off == []


def _paying(orders: list[Any]) -> list[tuple[int, Any]]:
    """A third of them, and among these whoever will choose."""
    return list(enumerate(orders[:CHOOSING] + orders[CHOOSING::3]))


def _all_went_back_once(house: House, payments: dict[str, Any], moved: list[Any]) -> None:
    """In our books and in the gateway's; who moved has paid for the other slot."""
    kept = {order["orderNo"] for order in moved}
    owed = {
        payment["paymentNo"]: payment["amount"]
        for order_no, payment in payments.items()
        if order_no not in kept
    }
    ours = house.sql("select payment_no, amount from refund where status = 'succeeded'")
    theirs = house.at_gateway("select payment_no, amount from refund where state = 'succeeded'")
    of_today = {payment["paymentNo"] for payment in payments.values()}
    assert len(owed) > PATIENTS // 4
    for refunds, units in ((ours, 1), (theirs, 100)):  # yuan, fen
        found = [one for one in refunds if one["payment_no"] in of_today]
        assert len(found) == len(owed)
        assert {one["payment_no"]: float(one["amount"]) / units for one in found} == owed


def _some_choose(holder: Patient, orders: list[Any], elsewhere: int) -> list[Any]:
    """Those who know already: some want another slot. Who was too late has the money back."""
    moved = []
    for order in orders:
        choice = {"choice": "reschedule", "scheduleId": elsewhere}
        now = eventually(lambda order=order: _knows(holder, order), 60, what="it is called off")
        if now["status"] != "confirmed":
            continue
        answer = holder.send("POST", f"/appointments/{order['id']}/stop-choice", json=choice)
        if answer.status_code == 200:
            moved.append(order)
    return moved


def _knows(holder: Patient, order: Any) -> Any:
    now = holder.order(order)
    return now if now["chooseBy"] or now["status"] == "cancelled" else None
