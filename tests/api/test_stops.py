"""Calling a session off over HTTP, as far as the rows go. What the workflows do is in e2e."""

from hashlib import sha256

import pytest

from api.context import Context
from api.idempotency import hashed
from db.idempotency import first_answer, remember
from db.keyring import Keyring
from domain.access import Role
from domain.appointment import AppointmentStatus as S
from tests.support.api import as_caller, refused
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def operator(context: Context, clinic: Clinic) -> dict[str, str]:
    return as_caller(context, await clinic.account(), Role.OPERATOR)


async def test_a_session_is_called_off_and_shows_how_far_it_is(client, clinic, operator):
    slot = await clinic.slot()
    here = await clinic.booked(await clinic.someone(0), slot)
    await clinic.booked(await clinic.someone(1), slot)
    await clinic.move(here, 1, S.CONFIRMED)
    await clinic.move(here, 2, S.CHECKED_IN)
    stopped = await client.post(
        f"/schedules/{slot}/stop", json={"reason": "医生生病"}, headers=operator
    )
    assert stopped.status_code == 202, stopped.text
    body = stopped.json()
    assert (body["status"], body["total"], body["toTell"]) == ("running", 2, 2)
    assert body["failing"] == []
    assert [one["orderNo"] for one in body["desk"]] == [here]
    again = await client.post(f"/schedules/{slot}/stop", headers=operator)
    assert (again.status_code, again.json()["stopNo"]) == (202, body["stopNo"])
    for path in (f"/schedules/{slot}/stop", f"/ops/stops/{body['stopNo']}"):
        assert (await client.get(path, headers=operator)).json()["stopNo"] == body["stopNo"]
    listed = (await client.get("/ops/stops", headers=operator)).json()
    assert [one["stopNo"] for one in listed["items"]] == [body["stopNo"]]
    # What the operator wrote is sealed.
    audited = "select details::text from audit where event = 'session_stopped' and note is not null"
    assert await clinic.value(audited) == "{}"


async def test_who_may_not_and_what_is_not_there(client, clinic, context, operator):
    slot = await clinic.slot()
    patient = as_caller(context, (await clinic.someone())[0], Role.PATIENT)
    assert refused(await client.post(f"/schedules/{slot}/stop", headers=patient)) == (
        403, "forbidden",
    )  # fmt: skip
    assert refused(await client.get("/ops/stops", headers=patient)) == (403, "forbidden")
    missing = (404, "not_found")
    assert refused(await client.post(f"/schedules/{10**9}/stop", headers=operator)) == missing
    assert refused(await client.get(f"/schedules/{slot}/stop", headers=operator)) == missing
    reason = {"reason": "r"}
    for verb in ("pause", "resume"):
        answer = await client.post(f"/ops/stops/S-0/{verb}", json=reason, headers=operator)
        assert refused(answer) == missing


async def test_there_is_nothing_to_choose_without_a_stop(client, clinic, context):
    account, patient = await clinic.someone()
    order_no = await clinic.booked((account, patient), await clinic.slot())
    order = await clinic.order(order_no)
    path = f"/appointments/{order.id}/stop-choice"
    headers = as_caller(context, account, Role.PATIENT)
    answer = await client.post(path, json={"choice": "refund"}, headers=headers)
    assert refused(answer) == (409, "not_allowed")
    for wrong in ({"choice": "reschedule"}, {"choice": "refund", "scheduleId": 1}, {}):
        assert refused(await client.post(path, json=wrong, headers=headers)) == (422, "invalid")
    stranger = as_caller(context, (await clinic.someone(1))[0], Role.PATIENT)
    answer = await client.post(path, json={"choice": "refund"}, headers=stranger)
    assert refused(answer) == (404, "not_found")


async def test_one_key_is_one_stop(client, clinic, operator):
    slot, other = await clinic.slot(), await clinic.slot(hour=14)
    key = operator | {"Idempotency-Key": "k"}
    first = await client.post(f"/schedules/{slot}/stop", headers=key)
    again = await client.post(f"/schedules/{slot}/stop", headers=key)
    assert (again.status_code, again.json()["stopNo"]) == (202, first.json()["stopNo"])
    mismatch = (422, "idempotency_mismatch")
    assert refused(await client.post(f"/schedules/{other}/stop", headers=key)) == mismatch


async def test_who_took_another_slot_may_ask_again_under_the_key(client, clinic, context):
    """The order has nothing to choose any more; the first success is the answer all the same."""
    account, patient = await clinic.someone()
    order_no = await clinic.booked((account, patient), await clinic.slot())
    path = f"/appointments/{(await clinic.order(order_no)).id}/stop-choice"
    body = b'{"choice":"reschedule","scheduleId":1}'
    key = hashed(account, "k")
    content = sha256(f"POST /api/hospital{path}?\0".encode() + body).digest()
    async with context.engine.begin() as connection:
        assert await first_answer(connection, account, key, content) is None
        await remember(connection, account, key, order_no)
    headers = as_caller(context, account, Role.PATIENT) | {
        "Idempotency-Key": "k", "Content-Type": "application/json",
    }  # fmt: skip
    answer = await client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["orderNo"]) == (200, order_no)
    changed = await client.post(path, content=body.replace(b"1}", b"2}"), headers=headers)
    assert refused(changed) == (422, "idempotency_mismatch")
