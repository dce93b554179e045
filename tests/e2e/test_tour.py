"""Book, pay, be reminded, be seen or not come: on real servers, over HTTP, with short terms."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.books import check_books
from tests.support.house import FREE_LEVEL, HASTE, House, eventually, pass_time
from tests.support.visitors import Patient, Visitor, log_in, make_slot, new_key, register

BOOKED = ("booked", "pending", "patient")
PAID = ("paid", "confirmed", "system")


@pytest.fixture
def patient(house: House) -> Patient:
    return register(house)


@pytest.fixture
def operator(house: House) -> Visitor:
    return log_in(house, "operator")


def test_a_visit_from_registration_to_the_doctors_last_word(
    house: House, patient: Patient, operator: Visitor
) -> None:
    departments = patient.get("/departments")["items"]
    cardiology = next(d for d in departments if d["name"] == "心血管内科")
    doctors = patient.get("/doctors", departmentId=cardiology["id"])["items"]
    day = datetime.now(ZoneInfo("Asia/Shanghai")).date() + timedelta(days=2)
    chosen = next(d for d in doctors if d["level"] == "chief")
    evening = {
        "doctorId": chosen["id"],
        "departmentId": cardiology["id"],
        "startDate": str(day),
        "endDate": str(day),
        "weekdays": [0, 1, 2, 3, 4, 5, 6],
        "timeSlots": ["06:00-06:30"],
        "sourcePerSlot": 2,
        "location": "门诊楼 A2-07",
    }
    assert operator.post("/schedules/batch", evening, expect=201)["created"] == 1
    slots = patient.get("/schedules", doctorId=chosen["id"], date=str(day), size=100)["items"]
    slot = next(s for s in slots if s["timeSlot"] == "06:00-06:30")
    assert slot["availableSources"] == 2

    order = patient.book(slot["id"], symptoms="咳嗽两天")
    assert (order["status"], order["price"]) == ("pending", slot["price"])
    patient.pay(order)
    assert patient.becomes(order, "confirmed")["queueNumber"] == 1
    patient.is_told(order, "appointment_confirmed")
    sms = patient.get("/dev/outbox", to=patient.phone)[0]
    assert "A2-07" in sms["text"]
    assert chosen["name"] not in sms["text"]
    assert cardiology["name"] not in sms["text"]
    feed = patient.get("/notifications")["items"]
    assert chosen["name"] in feed[0]["text"]

    assert patient.post(f"/appointments/{order['id']}/check-in")["status"] == "checked_in"
    doctor = log_in(house, "doctor", chosen["id"])
    sessions = doctor.get("/doctors/me/queue", date=str(day))["sessions"]
    [waiting] = next(s["patients"] for s in sessions if s["id"] == slot["id"])
    assert (waiting["name"], waiting["queueNumber"]) == (patient.name, 1)
    assert patient.get(f"/appointments/{order['id']}/queue")["ahead"] == 0
    called = doctor.post("/doctors/me/queue/call-next", {"scheduleId": slot["id"]})
    assert called["orderNo"] == order["orderNo"]
    eventually(lambda: ("appointment_called", "in_app") in patient.messages(order))
    assert ("appointment_called", "sms") not in patient.messages(order)
    seen = doctor.get(f"/appointments/{order['id']}")
    assert seen["symptoms"] == "咳嗽两天"
    assert doctor.post(f"/appointments/{order['id']}/complete")["status"] == "completed"
    assert patient.timeline(order) == [
        BOOKED,
        PAID,
        ("check_in", "checked_in", "patient"),
        ("complete", "completed", "doctor"),
    ]
    again = patient.send("POST", f"/appointments/{order['id']}/check-in")
    assert (again.status_code, again.json()["code"]) == (409, "not_allowed")
    assert again.json()["orderStatus"] == "completed"


def test_an_order_that_nobody_pays_gives_its_source_back(house: House, patient: Patient) -> None:
    slot = make_slot(house, sources=1)
    order = patient.book(slot, hasty=True)
    rival = register(house)
    wanted = {"scheduleId": slot, "patientId": rival.patient_id}
    full = rival.send("POST", "/appointments", json=wanted)
    assert (full.status_code, full.json()["code"]) == (409, "slot_full")
    closed = patient.becomes(order, "cancelled")
    assert closed["reason"] == "unpaid"
    assert patient.timeline(order) == [BOOKED, ("expired", "cancelled", "system")]
    patient.is_told(order, "appointment_unpaid_closed")
    assert rival.book(slot)["sourceId"] == order["sourceId"]


def test_money_that_comes_too_late_goes_back(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house), hasty=True)
    payment = patient.open_payment(order)
    patient.becomes(order, "cancelled")
    eventually(lambda: patient.payment(payment)["status"] == "closed")
    patient.pay_at_gateway(payment)
    back = patient.gets_back(payment)["refunds"]
    assert [(r["amount"], r["cause"], r["status"]) for r in back] == [
        (order["price"], "order_closed", "succeeded")
    ]
    assert patient.order(order)["status"] == "cancelled"
    told = f"{back[0]['refundNo']}:payment_refunded:%"
    eventually(lambda: house.sql("select 1 from message where key like %s", told))


def test_the_patient_cancels_and_is_paid_back(house: House, patient: Patient) -> None:
    slot = make_slot(house, sources=1)
    order = patient.book(slot)
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    key = new_key()
    body = {"note": "来不了"}
    cancelled = patient.post(f"/appointments/{order['id']}/cancel", body, key=key)
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "patient")
    repeated = patient.post(f"/appointments/{order['id']}/cancel", body, key=key)
    assert repeated["version"] == cancelled["version"]
    [refund] = patient.gets_back(payment)["refunds"]
    assert (refund["amount"], refund["cause"]) == (order["price"], "patient")
    assert patient.order(order)["refundStatus"] == "succeeded"
    patient.is_told(order, "appointment_cancelled")
    register(house).book(slot)


def test_a_repeated_callback_pays_once(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house))
    payment = patient.pay(order, times=3)
    patient.becomes(order, "confirmed")
    delivered = "select 1 from delivery where state = 'due'"
    eventually(lambda: not house.at_gateway(delivered))
    assert patient.timeline(order) == [BOOKED, PAID]
    number = payment["paymentNo"]
    assert len(house.sql("select 1 from inbox where subject = %s", number)) == 1
    assert len(house.sql("select 1 from ledger_transfer where payment_no = %s", number)) == 1


def test_a_late_callback_counts_when_the_money_was_in_time(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house), hasty=True)
    payment = patient.pay(order, delay=f"PT{HASTE.seconds + 2}S")
    confirmed = patient.becomes(order, "confirmed")
    assert datetime.fromisoformat(confirmed["payBy"]) < datetime.now(tz=ZoneInfo("UTC"))
    number = payment["paymentNo"]
    eventually(lambda: house.sql("select 1 from inbox where subject = %s", number))
    eventually(lambda: not house.sql("select 1 from outbox where subject = %s", number))
    assert patient.timeline(order) == [BOOKED, PAID]
    assert patient.payment(payment)["refunds"] == []


def test_a_lost_callback_is_found_out_at_the_deadline(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house), hasty=True)
    payment = patient.pay(order, callback=False)
    patient.becomes(order, "confirmed")
    assert patient.payment(payment)["status"] == "paid"
    assert not house.sql("select 1 from inbox where subject = %s", payment["paymentNo"])


def test_a_bank_that_refuses_leaves_the_order_to_be_paid_again(
    house: House, patient: Patient
) -> None:
    order = patient.book(make_slot(house))
    payment = patient.pay(order, fail=True)
    assert patient.order(order)["status"] == "pending"
    same = patient.post("/payments", {"orderNo": order["orderNo"], "channel": "sandbox"})
    assert same["paymentNo"] == payment["paymentNo"]
    patient.pay_at_gateway(payment)
    patient.becomes(order, "confirmed")


def test_what_costs_nothing_is_confirmed_at_once(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house, level=FREE_LEVEL))
    assert (order["status"], order["price"], order["paid"]) == ("confirmed", 0, True)
    patient.is_told(order, "appointment_confirmed")
    cancelled = patient.post(f"/appointments/{order['id']}/cancel")
    assert (cancelled["status"], cancelled["refundStatus"]) == ("cancelled", None)


def test_a_reminder_goes_out_at_its_lead(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house, starts_in=timedelta(seconds=6)))
    patient.pay(order)
    patient.becomes(order, "confirmed")
    patient.is_told(order, "appointment_reminder")
    sent = house.sql(
        "select sent_at from message where key like %s and template = 'appointment_reminder'",
        f"{order['orderNo']}:%",
    )
    starts = datetime.fromisoformat(order["startsAt"])
    assert all(starts - timedelta(seconds=3) <= row["sent_at"] for row in sent)
    patient.post(f"/appointments/{order['id']}/check-in")


def test_three_no_shows_suspend_the_person(house: House, patient: Patient) -> None:
    slots = [make_slot(house, starts_in=timedelta(seconds=4)) for _ in range(3)]
    orders = [patient.book(slot) for slot in slots]
    payments = [patient.pay(order) for order in orders]
    for order in orders:
        patient.becomes(order, "no_show")
        patient.is_told(order, "appointment_no_show")
        assert patient.timeline(order)[-1] == ("missed", "no_show", "system")
    assert all(patient.payment(payment)["refunds"] == [] for payment in payments)
    wanted = {"scheduleId": make_slot(house), "patientId": patient.patient_id}
    refused = patient.send("POST", "/appointments", json=wanted)
    assert (refused.status_code, refused.json()["code"]) == (409, "suspended")
    said = ("appointment_suspended", "sms")
    eventually(lambda: any(said in patient.messages(order) for order in orders))


def test_an_operator_gives_more_time(house: House, patient: Patient, operator: Visitor) -> None:
    order = patient.book(make_slot(house), hasty=True)
    more = {"minutes": 5, "reason": "网络故障"}
    extended = operator.post(f"/ops/orders/{order['orderNo']}/extend", more)
    assert _instant(extended["payBy"]) == _instant(order["payBy"]) + timedelta(minutes=5)
    pass_time(_instant(order["payBy"]) + timedelta(seconds=1))
    assert patient.order(order)["status"] == "pending"
    patient.is_told(order, "appointment_extended")
    patient.pay(order)
    patient.becomes(order, "confirmed")
    assert patient.timeline(order) == [BOOKED, ("extend", "pending", "operator"), PAID]


def test_an_operator_cancels_and_refunds_with_an_audit_entry(
    house: House, patient: Patient, operator: Visitor
) -> None:
    order = patient.book(make_slot(house))
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    assert _refused(patient, f"/ops/orders/{order['orderNo']}/cancel-and-refund") == 403
    patient.post(f"/appointments/{order['id']}/check-in")
    path = f"/ops/orders/{order['orderNo']}/cancel-and-refund"
    cancelled = operator.post(path, {"reason": "医生急诊"})
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "clinic")
    [refund] = patient.gets_back(payment)["refunds"]
    assert refund["cause"] == "clinic"
    patient.is_told(order, "appointment_cancelled_by_clinic")
    [entry] = house.sql("select * from audit where subject = %s", order["orderNo"])
    assert (entry["event"], entry["actor_role"]) == ("cancel_and_refund", "operator")
    assert entry["actor_id"] == operator.user_id
    assert entry["note"] is not None
    assert "医生急诊".encode() not in entry["note"]


def test_the_figures_tell_of_all_this(house: House, patient: Patient) -> None:
    order = patient.book(make_slot(house))
    patient.pay(order)
    patient.is_told(order, "appointment_confirmed")

    def figures() -> dict[str, float]:
        text = patient.http.get(f"{house.url}/metrics").text
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (li.rsplit(" ", 1) for li in lines)}

    def seen(name: str) -> Callable[[], Any]:
        return lambda: figures().get(name, 0) > 0

    eventually(seen('hospital_bookings_total{outcome="booked"}'))
    eventually(seen('hospital_messages_total{channel="sms",outcome="sent"}'))
    eventually(seen('hospital_messages_total{channel="in_app",outcome="sent"}'))
    eventually(seen('hospital_payments_total{outcome="paid"}'))
    eventually(seen('hospital_relay_starts_total{outcome="kept"}'))
    assert "hospital_outbox_waiting" in figures()
    assert "hospital_outbox_oldest_seconds" in figures()


def test_the_books_are_in_order_at_the_end(house: House) -> None:
    """Last in this file: of everything that the others left behind."""
    check_books(house)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _refused(visitor: Visitor, path: str) -> int:
    return visitor.send("POST", path, json={"reason": "x"}).status_code
