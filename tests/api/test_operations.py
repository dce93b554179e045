"""What operators see of every open order, and what they do about one."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from api.context import Context
from db.keyring import Keyring
from db.work_item import open_work_item
from domain.access import Role
from domain.appointment import AppointmentStatus as S
from domain.payment import RefundCause
from domain.work_item import WorkItemKind, for_desk
from tests.support.api import as_caller, refused
from tests.support.booking import Clinic, Till

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def operator(context: Context, clinic: Clinic) -> dict[str, str]:
    return as_caller(context, await clinic.account(), Role.OPERATOR)


async def orders(client, operator, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/ops/orders", params=query, headers=operator)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_each_open_order_says_what_it_waits_for(client, clinic, operator):
    slot = await clinic.slot()
    numbers = [await clinic.booked(await clinic.someone(n), slot) for n in range(4)]
    unpaid, confirmed, here, closed = numbers
    for number in (confirmed, here):
        await clinic.move(number, 1, S.CONFIRMED)
    await clinic.move(here, 2, S.CHECKED_IN)
    await clinic.move(closed, 1, S.CANCELLED)
    found = {order["orderNo"]: order for order in await orders(client, operator)}
    assert {no: (o["waitingFor"], o["nextStep"]) for no, o in found.items()} == {
        unpaid: ("payment", "release"),
        confirmed: ("patient", "no_show"),
        here: ("doctor", "complete"),
    }
    starts = (await clinic.order(confirmed)).starts_at
    due = {no: datetime.fromisoformat(order["due"]) for no, order in found.items()}
    assert due[unpaid] == (await clinic.order(unpaid)).pay_by
    assert due[confirmed] == starts + timedelta(minutes=30)
    midnight = due[here].astimezone(starts.tzinfo)
    assert (midnight.hour, midnight.minute, midnight.date()) == (
        0, 0, starts.date() + timedelta(days=1),
    )  # fmt: skip
    assert found[unpaid]["workflowId"] == f"appointment/{unpaid}"


async def test_a_session_called_off_and_its_orders(client, clinic, operator):
    slot = await clinic.slot()
    number = await clinic.booked(await clinic.someone(), slot)
    await clinic.move(number, 1, S.CONFIRMED)
    await client.post(f"/schedules/{slot}/stop", json={"reason": "r"}, headers=operator)
    await clinic.run("update appointment set choose_by = now() + interval '1 hour'")
    found = {o["kind"]: (o["waitingFor"], o["nextStep"]) for o in await orders(client, operator)}
    assert found == {"appointment": ("choice", "refund"), "stop_clinic": ("patients", "refund")}


async def test_a_paused_stop_says_when_it_goes_on_and_one_that_fails_needs_an_operator(
    client, clinic, operator
):
    slot = await clinic.slot()
    await client.post(f"/schedules/{slot}/stop", json={"reason": "r"}, headers=operator)
    await clinic.run("update stop_clinic set status = 'paused'")
    [paused] = await orders(client, operator)
    assert (paused["waitingFor"], paused["nextStep"]) == ("operator", "resume")
    begins = await clinic.value("select starts_at from schedule where id = :id", id=slot)
    chooses = await clinic.value("select choose_by from stop_clinic")
    assert datetime.fromisoformat(paused["due"]) == min(begins, chooses) - timedelta(hours=1)
    await clinic.run("update stop_clinic set status = 'running', failing = '{A-1}'")
    [failing] = await orders(client, operator)
    assert (failing["waitingFor"], failing["nextStep"]) == ("operator", "refund")


async def a_refund(clinic) -> str:
    """Promised long ago, and still on its way."""
    till = Till(clinic)
    await till.open(await clinic.booked(await clinic.someone(), await clinic.slot()))
    await till.take()
    refund = await till.owe(RefundCause.CLINIC)
    await clinic.run("update refund set created_at = now() - interval '30 hours'")
    await clinic.run("update appointment set status = 'cancelled'")
    return str(refund)


async def test_a_refund_that_is_stuck_waits_for_an_operator(client, clinic, operator):
    refund = await a_refund(clinic)
    async with clinic.engine.begin() as connection:
        new = for_desk(WorkItemKind.REFUND_STUCK, refund, timedelta(minutes=15))
        await open_work_item(connection, 1, new)
    [stuck] = await orders(client, operator, kind="refund")
    assert (stuck["orderNo"], stuck["waitingFor"]) == (refund, "operator")
    assert (stuck["due"], stuck["nextStep"]) == (None, None)
    assert stuck["nextStepText"] == "不会自动处理。"
    assert await orders(client, operator, kind="refund", overdue=True) == []
    # The operator has it tried again: now it has as long as the first time.
    closed = "update work_item set status = 'decided', closed_at = now() - interval '1 hour'"
    await clinic.run(closed)
    [retried] = await orders(client, operator, kind="refund")
    assert (retried["waitingFor"], retried["nextStep"]) == ("gateway", "work_item")
    looked = await clinic.value("select closed_at from work_item")
    assert datetime.fromisoformat(retried["due"]) == looked + timedelta(hours=24)


async def test_the_list_narrows(client, clinic, operator):
    slot = await clinic.slot()
    unpaid = await clinic.booked(await clinic.someone(0), slot)
    confirmed = await clinic.booked(await clinic.someone(1), slot)
    await clinic.move(confirmed, 1, S.CONFIRMED)
    await clinic.run(
        "update appointment set pay_by = now() - interval '1 minute' where order_no = :no",
        no=unpaid,
    )
    for query, wanted in (
        ({"waitingFor": "patient"}, [confirmed]),
        ({"status": "pending"}, [unpaid]),
        ({"overdue": True}, [unpaid]),
        ({"kind": "payment"}, []),
        ({"kind": "appointment", "size": 1}, [unpaid]),  # the soonest due first
    ):
        assert [order["orderNo"] for order in await orders(client, operator, **query)] == wanted


async def test_the_next_step_is_told_in_the_readers_language(client, clinic, operator):
    await clinic.booked(await clinic.someone(), await clinic.slot())
    [order] = await orders(client, operator | {"Accept-Language": "en"})
    assert order["nextStepText"].startswith("Unpaid at ")
    [order] = await orders(client, operator | {"Accept-Language": "zh"})
    assert "号源释放" in order["nextStepText"]


async def test_a_lost_workflow_is_begun_again(client, clinic, operator):
    number = await clinic.booked(await clinic.someone(), await clinic.slot())
    await clinic.run("delete from outbox")  # as if it had been started, and lost
    for _ in range(2):
        answer = await client.post(
            f"/ops/orders/{number}/retry", json={"reason": "流程丢失"}, headers=operator
        )
        assert (answer.status_code, answer.json()["orderNo"]) == (200, number)
    promised = "select count(*) from outbox where subject = :no and signal is null"
    assert await clinic.value(promised, no=number) == 1
    assert await clinic.value("select count(*) from audit where event = 'retry'") == 2


async def test_payments_refunds_and_stops_are_begun_again_too(client, clinic, operator):
    refund = await a_refund(clinic)
    slot = await clinic.slot(hour=15)
    stopped = await client.post(f"/schedules/{slot}/stop", json={"reason": "r"}, headers=operator)
    stop = stopped.json()["stopNo"]
    begun = "select workflow || '/' || subject from outbox where signal is null"
    for number, kind, workflow in (
        ("P1", "payment", "payment/P1"),
        (refund, "refund", "payment/P1"),
        (stop, "stop_clinic", f"stop_clinic/{stop}"),
    ):
        await clinic.run("delete from outbox")
        answer = await client.post(
            f"/ops/orders/{number}/retry", json={"reason": "流程丢失"}, headers=operator
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["kind"], told["orderNo"], told["workflowId"]) == (kind, number, workflow)
        assert await clinic.ids(begun) == [workflow]
        kept = "select count(*) from audit where event = 'retry' and subject = :number"
        assert await clinic.value(kept, number=number) == 1
    unknown = await client.post("/ops/orders/P2/retry", json={"reason": "r"}, headers=operator)
    assert refused(unknown) == (404, "not_found")


async def test_only_operators(client, clinic, context):
    number = await clinic.booked(await clinic.someone(), await clinic.slot())
    nurse = as_caller(context, 998, Role.NURSE)
    forbidden = (403, "forbidden")
    assert refused(await client.get("/ops/orders", headers=nurse)) == forbidden
    for path, body in (
        (f"/ops/orders/{number}/retry", {}),
        ("/ops/orders/P1/retry", {}),
        (f"/ops/orders/{number}/reassign", {"scheduleId": 1}),
    ):
        answer = await client.post(path, json={"reason": "r", **body}, headers=nurse)
        assert refused(answer) == forbidden
        operator = as_caller(context, 999, Role.OPERATOR)
        assert refused(await client.post(path, json=body, headers=operator)) == (422, "invalid")
