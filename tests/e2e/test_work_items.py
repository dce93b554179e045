"""What a machine cannot finish waits for a person, and goes on when they have decided."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from activities.gateways.sandbox_payment import SandboxControls, sandbox_http
from activities.gateways.sandbox_wire import RefundMode
from tests.support.books import workflows
from tests.support.house import House, eventually
from tests.support.visitors import Patient, Visitor, log_in, make_slot, new_key, register


@contextmanager
def refunds_that_fail(house: House) -> Iterator[None]:
    """The gateway refuses them for good."""

    async def set_mode(mode: RefundMode) -> None:
        url = f"http://127.0.0.1:{house.ports['gateway']}"
        async with sandbox_http() as http:
            await SandboxControls(url, house.gateway_secret, http).refunds(mode)

    asyncio.run(set_mode(RefundMode.FAIL))
    try:
        yield
    finally:
        asyncio.run(set_mode(RefundMode.SUCCEED))


def stuck(house: House, operator: Visitor) -> tuple[Patient, Any, Any]:
    """Somebody whose money does not come back; the payment, and the work item."""
    patient = register(house)
    order = patient.book(make_slot(house))
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    with refunds_that_fail(house):
        patient.post(f"/appointments/{order['id']}/cancel")
        item = eventually(lambda: waiting_for(operator, order), what="a work item")
    return patient, payment, item


def waiting_for(operator: Visitor, order: Any) -> Any:
    found = operator.get("/work-items", kind="refund_stuck", status="open", size=100)["items"]
    return next((item for item in found if item["orderNo"] == order["orderNo"]), None)


def test_a_refund_that_failed_goes_back_when_an_operator_says_so(house: House) -> None:
    operator = log_in(house, "operator")
    patient, payment, item = stuck(house, operator)
    path, key = f"/work-items/{item['id']}", new_key()
    begun = f"work_item/{item['number']}"
    eventually(lambda: begun in {workflow.id for workflow in workflows(house)})
    assert operator.post(f"{path}/claim")["claimedBy"] == operator.user_id
    done = operator.post(f"{path}/decide", {"decision": "retry", "remark": "已恢复"}, key=key)
    assert (done["status"], done["decision"]) == ("decided", "retry")
    again = operator.post(f"{path}/decide", {"decision": "retry", "remark": "已恢复"}, key=key)
    assert again["version"] == done["version"]
    refused = operator.send("POST", f"{path}/decide", json={"decision": "paid_otherwise"})
    assert (refused.status_code, refused.json()["orderStatus"]) == (409, "decided")
    refunds = patient.gets_back(payment)["refunds"]
    assert [refund["status"] for refund in refunds] == ["failed", "succeeded"]
    story = operator.get(path)["timeline"]
    assert [entry["event"] for entry in story] == ["opened", "claimed", "decided"]


def test_a_refund_that_was_paid_otherwise_is_settled(house: House) -> None:
    operator = log_in(house, "operator")
    patient, payment, item = stuck(house, operator)
    operator.post(f"/work-items/{item['id']}/decide", {"decision": "paid_otherwise"})
    (refund,) = patient.gets_back(payment)["refunds"]
    assert refund["status"] == "settled_elsewhere"


def test_an_appeal_lifts_a_suspension(house: House) -> None:
    patient, operator = register(house), log_in(house, "operator")
    order = patient.book(make_slot(house))
    house.sql(
        """insert into booking_suspension (hospital_id, person_index, order_no, starts_at, ends_at)
           select hospital_id, person_index, order_no, now(), now() + interval '90 days'
             from appointment where order_no = %s""",
        order["orderNo"],
    )
    slot = make_slot(house)
    wanted = {"scheduleId": slot, "patientId": patient.patient_id}
    assert patient.send("POST", "/appointments", json=wanted).json()["code"] == "suspended"
    (mine,) = patient.get("/users/me/suspensions")["items"]
    path = f"/users/me/suspensions/{mine['id']}/appeal"
    patient.post(path, {"note": "那天我住院了"}, expect=201)
    found = operator.get("/work-items", kind="suspension_lift", status="open")["items"]
    (item,) = [one for one in found if one["orderNo"] == order["orderNo"]]
    assert operator.get(f"/work-items/{item['id']}")["note"] == "那天我住院了"
    operator.post(f"/work-items/{item['id']}/decide", {"decision": "lifted"})
    patient.is_told({"orderNo": item["number"]}, "suspension_lifted")
    patient.book(slot)
