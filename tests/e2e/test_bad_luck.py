"""Temporal away, PostgreSQL away, a workflow terminated or cancelled by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from api.idempotency import hashed
from tests.support.books import check_books, workflows
from tests.support.house import House, eventually, pass_time
from tests.support.visitors import log_in, make_slot, new_key, register


def test_booking_and_paying_go_on_while_temporal_is_away(shaken: House) -> None:
    patient = register(shaken)
    known = patient.book(make_slot(shaken))
    patient.pay(known)
    patient.becomes(known, "confirmed")

    shaken.stop_temporal()
    assert shaken.readiness() == "degraded"
    paid = patient.book(make_slot(shaken))
    payment = patient.pay(paid)
    in_time = patient.book(make_slot(shaken), hasty=True)
    late_news = patient.pay(in_time)
    unheard = patient.book(make_slot(shaken), hasty=True)
    patient.pay(unheard, callback=False)
    unpaid = patient.book(make_slot(shaken), hasty=True)
    key = new_key()
    with ThreadPoolExecutor() as hands:
        paths = [f"/appointments/{order['id']}/cancel" for order in (known, paid)]
        asked = [hands.submit(patient.send, "POST", path, key=key) for path in paths]
        for refused in (one.result(timeout=10) for one in asked):
            assert (refused.status_code, refused.json()["code"]) == (503, "try_again")
            assert int(refused.headers["retry-after"]) > 0
    pass_time(datetime.fromisoformat(unpaid["payBy"]))
    assert {patient.order(o)["status"] for o in (paid, in_time, unpaid)} == {"pending"}
    inbox = "select 1 from inbox where subject = any(%s)"
    numbers = [payment["paymentNo"], late_news["paymentNo"]]
    eventually(lambda: len(shaken.sql(inbox, numbers)) == 2)

    shaken.start_temporal()
    shaken.await_ready()
    for order in (paid, in_time, unheard):
        assert patient.becomes(order, "confirmed", within=60)["paid"]
        patient.is_told(order, "appointment_confirmed")
    assert patient.becomes(unpaid, "cancelled", within=60)["reason"] == "unpaid"
    done = patient.post(f"/appointments/{known['id']}/cancel", key=key)
    assert done["status"] == "cancelled"


def test_nothing_is_half_written_while_postgresql_is_away(shaken: House) -> None:
    patient, slot = register(shaken), make_slot(shaken)
    order = patient.book(make_slot(shaken))
    payment = patient.open_payment(order)
    key = new_key()
    wanted = {"scheduleId": slot, "patientId": patient.patient_id, "symptoms": "头痛"}

    shaken.stop_postgres()
    assert shaken.readiness() == "unavailable"
    for method, path, body in (
        ("POST", "/appointments", wanted),
        ("POST", "/payments", {"orderNo": order["orderNo"], "channel": "sandbox"}),
        ("POST", f"/appointments/{order['id']}/cancel", {"note": "来不了"}),
        ("GET", f"/appointments/{order['id']}", None),
        ("GET", "/schedules", None),
    ):
        away = patient.send(method, path, json=body, key=key if method == "POST" else None)
        assert (away.status_code, away.json()["code"]) == (503, "unavailable"), path
        assert int(away.headers["retry-after"]) > 0
    login = {"phone": patient.phone, "password": "whatever-it-is"}
    assert patient.send("POST", "/auth/login", json=login).status_code == 503
    assert httpx.get(f"{shaken.url}/healthz", trust_env=False).status_code == 200
    patient.pay_at_gateway(payment)  # its callback finds nobody who could keep it

    shaken.start_postgres()
    shaken.await_ready()
    patient.becomes(order, "confirmed", within=30)
    assert shaken.sql("select used_sources from schedule where id = %s", slot) == [
        {"used_sources": 0}
    ]
    booked = patient.post("/appointments", wanted, expect=201, key=key)
    assert patient.post("/appointments", wanted, expect=201, key=key)["id"] == booked["id"]


def test_a_command_whose_answer_was_lost_is_answered_when_repeated(shaken: House) -> None:
    """An API that is killed after the workflow took the command leaves no note of the key."""
    patient = register(shaken)
    order = patient.book(make_slot(shaken))
    path, key = f"/appointments/{order['id']}/cancel", new_key()
    done = patient.post(path, key=key)
    kept = hashed(patient.user_id, key)
    gone = shaken.sql("delete from idempotency where key = %s returning 1 as one", kept)
    assert gone == [{"one": 1}]
    eventually(lambda: not is_running(shaken, order))
    assert patient.post(path, key=key) == done
    another = patient.send("POST", path, key=new_key())
    assert (another.status_code, another.json()["code"]) == (409, "not_allowed")


def test_a_terminated_workflow_begins_again_from_its_row(shaken: House) -> None:
    patient = register(shaken)
    orders = [patient.book(make_slot(shaken)) for _ in range(2)]
    payments = [patient.pay(order) for order in orders]
    for order in orders:
        patient.becomes(order, "confirmed")
        patient.is_told(order, "appointment_confirmed")
        by_hand(shaken, order, lambda workflow: workflow.terminate("by hand"))
    seen, cancelled = orders
    assert patient.post(f"/appointments/{seen['id']}/check-in")["status"] == "checked_in"
    assert patient.post(f"/appointments/{cancelled['id']}/cancel")["status"] == "cancelled"
    patient.gets_back(payments[1])
    assert patient.payment(payments[0])["status"] == "paid"
    log_in(shaken, "operator").post(f"/appointments/{seen['id']}/complete")
    assert [event for event, _, _ in patient.timeline(seen)] == [
        "booked",
        "paid",
        "check_in",
        "complete",
    ]
    assert patient.messages(seen).count(("appointment_confirmed", "sms")) == 1


def test_cancel_in_temporals_web_ui_gives_back_source_and_money(shaken: House) -> None:
    patient, slot = register(shaken), make_slot(shaken, sources=1)
    order = patient.book(slot)
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    by_hand(shaken, order, lambda workflow: workflow.cancel())
    assert patient.becomes(order, "cancelled")["reason"] == "terminated"
    [refund] = patient.gets_back(payment)["refunds"]
    assert (refund["amount"], refund["cause"]) == (order["price"], "clinic")
    patient.is_told(order, "appointment_cancelled_by_clinic")
    register(shaken).book(slot)


def test_cancel_in_the_web_ui_while_the_patient_is_paying(shaken: House) -> None:
    """The money that is on its way comes back too, whichever of the two is first."""
    patient = register(shaken)
    order = patient.book(make_slot(shaken))
    payment = patient.open_payment(order)
    patient.pay_at_gateway(payment, callback=False)
    by_hand(shaken, order, lambda workflow: workflow.cancel())
    patient.becomes(order, "cancelled")
    patient.gets_back(payment)


def test_a_gateway_that_fails_for_a_while_delays_the_refund_alone(shaken: House) -> None:
    patient = register(shaken)
    order = patient.book(make_slot(shaken))
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    shaken.kill("gateway")
    cancelled = patient.post(f"/appointments/{order['id']}/cancel")
    assert cancelled["status"] == "cancelled"
    assert patient.payment(payment)["status"] == "paid"
    unpaid = patient.book(make_slot(shaken))
    wanted = {"orderNo": unpaid["orderNo"], "channel": "sandbox"}
    away = patient.send("POST", "/payments", json=wanted)
    assert (away.status_code, away.json()["code"]) == (503, "unavailable")
    shaken.start("gateway")
    patient.gets_back(payment, within=60)
    eventually(lambda: patient.send("POST", "/payments", json=wanted).status_code == 200)


def test_the_books_are_in_order_after_all_this(shaken: House) -> None:
    """Last in this file."""
    check_books(shaken)


def is_running(house: House, order: Any) -> bool:
    return any(
        w.id == f"appointment/{order['orderNo']}" and w.status is WorkflowExecutionStatus.RUNNING
        for w in workflows(house)
    )


def by_hand(
    house: House, order: Any, act: Callable[[WorkflowHandle[Any, Any]], Awaitable[None]]
) -> None:
    """What somebody does in Temporal's web UI."""

    async def do() -> None:
        client = await Client.connect(house.temporal_address)
        await act(client.get_workflow_handle(f"appointment/{order['orderNo']}"))

    asyncio.run(do())
