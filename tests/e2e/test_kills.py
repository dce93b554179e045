"""Processes that are killed at any moment lose nothing and repeat nothing."""

import os
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.support.books import check_books, workflows
from tests.support.house import HASTE, House, eventually, pass_time
from tests.support.visitors import Patient, doctor_of, make_slot, new_key, register

pytestmark = pytest.mark.second_tier

ROOMS = ("worker", "relay", "api", "hasty", "gateway")
KILLS = 10
RUSH = 250
PATIENTS, SLOTS = 8, 10  # each patient books five of the ten
SETTLED = 240.0  # seconds
AWAY = (502, 503, 504)


def test_a_worker_that_dies_after_the_gateways_refund_gives_back_once(shaken: House) -> None:
    patient = register(shaken)
    order = patient.book(make_slot(shaken))
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    patient.post(f"/appointments/{order['id']}/cancel")
    asked = "select state from refund where payment_no = ?"
    number = payment["paymentNo"]
    eventually(lambda: shaken.at_gateway(asked, number), pause=0.002)
    shaken.kill("worker")
    assert patient.payment(payment)["refunds"][0]["status"] == "pending"
    # The gateway's own news of it arrives while nobody works.
    eventually(lambda: shaken.at_gateway(asked, number)[0]["state"] == "succeeded")
    shaken.start("worker")
    [refund] = patient.gets_back(payment, within=90)["refunds"]
    assert refund["status"] == "succeeded"
    assert len(shaken.at_gateway(asked, number)) == 1
    key = f"refund:{refund['refundNo']}"
    assert len(shaken.sql("select 1 from ledger_transfer where key = %s", key)) == 1


def test_a_worker_that_dies_while_money_comes_confirms_once(shaken: House) -> None:
    patient = register(shaken)
    order = patient.book(make_slot(shaken))
    payment = patient.open_payment(order)
    shaken.kill("worker")
    patient.pay_at_gateway(payment, times=3)
    number = payment["paymentNo"]
    eventually(lambda: shaken.sql("select 1 from inbox where subject = %s", number))
    shaken.kill("relay")
    shaken.start("worker")
    shaken.start("relay")
    patient.becomes(order, "confirmed", within=60)
    patient.is_told(order, "appointment_confirmed")
    assert [event for event, _, _ in patient.timeline(order)] == ["booked", "paid"]
    begun = Counter(w.id for w in workflows(shaken) if w.id == f"appointment/{order['orderNo']}")
    assert sum(begun.values()) == 1


def test_a_worker_that_dies_after_a_declined_consultations_refund_gives_back_once(
    shaken: House,
) -> None:
    patient = register(shaken)
    doctor_id, doctor = doctor_of(shaken, "attending")
    order = patient.ask(type="text", doctorId=doctor_id)
    payment = patient.pay(order)
    eventually(lambda: patient.order(order)["paid"])
    doctor.post(f"/consultations/{order['id']}/decline")
    asked = "select state from refund where payment_no = ?"
    number = payment["paymentNo"]
    eventually(lambda: shaken.at_gateway(asked, number), pause=0.002)
    shaken.kill("worker")
    assert patient.payment(payment)["refunds"][0]["status"] == "pending"
    eventually(lambda: shaken.at_gateway(asked, number)[0]["state"] == "succeeded")
    shaken.start("worker")
    [refund] = patient.gets_back(payment, within=90)["refunds"]
    assert (refund["status"], refund["cause"]) == ("succeeded", "clinic")
    assert len(shaken.at_gateway(asked, number)) == 1
    key = f"refund:{refund['refundNo']}"
    assert len(shaken.sql("select 1 from ledger_transfer where key = %s", key)) == 1
    patient.is_told(order, "consultation_refunded")


def test_a_worker_that_is_away_when_a_consultations_window_ends_ends_it_once(
    shaken: House,
) -> None:
    patient = register(shaken)
    doctor_id, doctor = doctor_of(shaken, "attending")
    order = patient.ask(type="text", doctorId=doctor_id, hasty=True)
    payment = patient.pay(order)
    eventually(lambda: patient.order(order)["paid"], pause=0.02)
    accepted = doctor.post(f"/consultations/{order['id']}/accept")
    shaken.kill("worker")
    pass_time(datetime.fromisoformat(accepted["windowEnds"]))
    assert patient.order(order)["status"] == "consulting"
    shaken.start("worker")
    assert patient.becomes(order, "refunded", within=60)["reason"] == "no_answer"
    [refund] = patient.gets_back(payment, within=60)["refunds"]
    assert (refund["status"], refund["amount"]) == ("succeeded", 39.9)
    asked = "select state from refund where payment_no = ?"
    assert len(shaken.at_gateway(asked, payment["paymentNo"])) == 1
    patient.is_told(order, "consultation_refunded")
    assert [event for event, _, _ in patient.timeline(order)] == [
        "ordered", "paid", "accept", "window_over",
    ]  # fmt: skip
    assert Counter(patient.messages(order))[("consultation_refunded", "sms")] == 1


def test_orders_that_expire_all_at_once_hold_up_nobody(shaken: House) -> None:
    """More of them than two processes have places for activities. Each waits for its payment's
    workflow, which needs places too."""
    bystander, patient = register(shaken), register(shaken)
    confirmed = bystander.book(make_slot(shaken))
    bystander.pay(confirmed)
    bystander.becomes(confirmed, "confirmed")
    doctor_id, _ = doctor_of(shaken, "attending")
    for name in ("worker", "relay"):
        shaken.kill(name)
    for _ in range(RUSH):
        patient.open_payment(patient.ask(type="text", doctorId=doctor_id, hasty=True))
    time.sleep(HASTE.seconds)
    for name in ("worker", "relay"):
        shaken.start(name)

    def open_ones() -> int:
        counted = (
            "select count(*) as n from consultation where account_id = %s and ended_at is null"
        )
        return int(shaken.sql(counted, patient.user_id)[0]["n"])

    eventually(lambda: open_ones() < RUSH, within=60)
    done = bystander.send("POST", f"/appointments/{confirmed['id']}/cancel")
    assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    eventually(lambda: open_ones() == 0, within=90)


def test_kills_at_random_moments_of_a_rush(shaken: House) -> None:
    seed = int(os.environ.get("HOSPITAL_TEST_SEED", time.time_ns() % 10**6))
    print(f"HOSPITAL_TEST_SEED={seed}")
    chance = random.Random(seed)
    patients = [register(shaken) for _ in range(PATIENTS)]
    slots = [make_slot(shaken, sources=PATIENTS) for _ in range(SLOTS)]
    errands = [
        Errand(patient, slot, chance.choice(PLANS))
        for patient in patients
        for slot in chance.sample(slots, SLOTS // 2)
    ]
    chance.shuffle(errands)
    with ThreadPoolExecutor(PATIENTS) as crowd:
        running = [crowd.submit(errand.run) for errand in errands]
        _kill_now_and_then(shaken, chance, running)
        orders = [one.result(timeout=SETTLED) for one in running]
    shaken.mend()
    check_books(shaken, within=SETTLED)

    assert len({order["orderNo"] for order in orders}) == len(errands)
    for errand, order in zip(errands, orders, strict=True):
        now = errand.patient.order(order)
        assert now["status"] in errand.ends_as(shaken, order), (errand.plan, now, seed)


def _kill_now_and_then(house: House, chance: random.Random, running: list[Future[Any]]) -> None:
    for _ in range(KILLS):
        if all(one.done() for one in running):
            return
        time.sleep(chance.uniform(0.5, 4))
        victim = chance.choice(ROOMS)
        house.kill(victim)
        time.sleep(chance.uniform(0, 1))
        house.start(victim)


Plan = tuple[str, ...]
PLANS: tuple[Plan, ...] = (
    ("pay",),
    ("pay", "pay again"),
    ("pay", "cancel"),
    ("pay", "check in"),
    ("cancel",),
    ("haste",),
    ("haste", "pay"),
    ("haste", "pay unheard"),
    ("haste", "pay late"),
)


@dataclass
class Errand:
    """One order of one patient, who repeats with the same key until there is an answer."""

    patient: Patient
    slot: int
    plan: Plan

    def run(self) -> Any:
        wanted = {"scheduleId": self.slot, "patientId": self.patient.patient_id}
        hasty = "haste" in self.plan
        order = self._insist("/appointments", wanted, hasty=hasty)
        for step in self.plan:
            match step:
                case "pay":
                    self._pay(order)
                case "pay again":
                    self._pay(order, times=2)
                case "pay unheard":
                    self._pay_unheard(order)
                case "pay late":
                    self._pay_late(order)
                case "cancel" | "check in":
                    path = f"/appointments/{order['id']}/{step.replace(' ', '-')}"
                    self._until_it_may(path)
        return order

    def ends_as(self, house: House, order: Any) -> set[str]:
        """What may have become of it; money that was in time must have counted."""
        if "cancel" in self.plan:
            return {"cancelled"}
        if "check in" in self.plan:
            return {"checked_in"}
        paid = house.at_gateway(
            "select paid_at from payment where payment_no = ?", self._payment_no(house, order)
        )
        if not paid or paid[0]["paid_at"] is None:
            return {"cancelled"}
        pay_by = datetime.fromisoformat(order["payBy"])
        in_time = datetime.fromisoformat(paid[0]["paid_at"]) < pay_by
        # Money that is late by a moment may still find the order waiting for the last word.
        return {"confirmed"} if in_time else {"confirmed", "cancelled"}

    def _payment_no(self, house: House, order: Any) -> str:
        rows = house.sql("select payment_no from payment where order_no = %s", order["orderNo"])
        return str(rows[0]["payment_no"]) if rows else ""

    def _pay(self, order: Any, **at_gateway: Any) -> None:
        payment = self._open_payment(order)
        if payment is not None:
            self._pay_at_gateway(payment, **at_gateway)

    def _pay_unheard(self, order: Any) -> None:
        """No gateway takes money in silence for what it closed: if the house was so slow that it
        may have been closed before, it tells."""
        payment = self._open_payment(order)
        if payment is not None:
            self._pay_at_gateway(payment, callback=False)
            if datetime.now(UTC) >= datetime.fromisoformat(order["payBy"]):
                self._pay_at_gateway(payment)

    def _pay_late(self, order: Any) -> None:
        payment = self._open_payment(order)
        pass_time(datetime.fromisoformat(order["payBy"]))
        if payment is not None:
            self._pay_at_gateway(payment)

    def _open_payment(self, order: Any) -> Any:
        wanted = {"orderNo": order["orderNo"], "channel": "sandbox"}
        payment = self._insist("/payments", wanted, refusal="not_payable")
        # The deadline may have passed while the house was down.
        return payment if payment and payment["status"] == "pending" else None

    def _pay_at_gateway(self, payment: Any, **params: Any) -> None:
        path = f"/dev/sandbox-gateway/{payment['paymentNo']}/pay"
        self._insist(path, None, params=params)

    def _until_it_may(self, path: str) -> None:
        """A command that has to wait until the payment has arrived, or has been done already."""
        key = new_key()
        done = lambda: self._insist(path, None, key=key, refusal="not_allowed")  # noqa: E731
        eventually(lambda: done() is not None, within=SETTLED, pause=0.5, what=path)

    def _insist(
        self, path: str, body: Any, *, key: str | None = None, refusal: str = "", **more: Any
    ) -> Any:
        """The answer, however often the house has to be asked; None for that refusal."""
        key = key or new_key()

        def ask() -> httpx.Response | None:
            try:
                answer = self.patient.send("POST", path, json=body, key=key, **more)
            except httpx.TransportError:
                return None
            return None if answer.status_code in AWAY else answer

        [answer] = eventually(
            lambda: [a for a in (ask(),) if a is not None], within=120, pause=0.2, what=path
        )
        if answer.status_code == 409 and answer.json()["code"] == refusal:
            return None
        assert answer.is_success, (path, answer.text)
        return answer.json()
