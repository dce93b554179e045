"""The line for a full slot over HTTP."""

from typing import Any

import httpx
import pytest

from api.context import Context
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
async def full(clinic: Clinic) -> tuple[int, str]:
    slot = await clinic.slot(sources=1)
    return slot, await clinic.booked(await clinic.someone(0), slot)


@pytest.fixture
async def waiting(clinic: Clinic, context: Context) -> tuple[int, dict[str, str]]:
    """A person of an account, and that account's headers."""
    account, patient = await clinic.someone(1)
    return patient, as_caller(context, account, Role.PATIENT)


async def mine(client: httpx.AsyncClient, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await client.get("/users/me/waitlist", headers=headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_joining_tells_the_place_and_the_offer_can_be_paid(client, clinic, full, waiting):
    slot, order_no = full
    patient, headers = waiting
    path = f"/schedules/{slot}/waitlist"
    joined = await client.post(path, json={"patientId": patient}, headers=headers)
    assert joined.status_code == 201, joined.text
    assert (joined.json()["status"], joined.json()["place"]) == ("waiting", 1)
    again = await client.post(path, json={"patientId": patient}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, joined.json()["id"])

    await clinic.move(order_no, 1, S.CANCELLED)
    [entry] = await mine(client, headers)
    assert (entry["status"], entry["place"]) == ("offered", None)
    order = await client.get(f"/appointments/{entry['appointmentId']}", headers=headers)
    assert (order.json()["status"], order.json()["payBy"]) == ("pending", entry["payBy"])
    assert order.json()["orderNo"] == entry["orderNo"]


async def test_without_a_name_it_is_the_accounts_own_person(client, full, waiting):
    patient, headers = waiting
    joined = await client.post(f"/schedules/{full[0]}/waitlist", headers=headers)
    assert (joined.status_code, joined.json()["patientId"]) == (201, patient)


async def test_leaving(client, full, waiting):
    patient, headers = waiting
    path = f"/schedules/{full[0]}/waitlist"
    await client.post(path, json={"patientId": patient}, headers=headers)
    assert (await client.delete(path, headers=headers)).status_code == 204
    assert [entry["status"] for entry in await mine(client, headers)] == ["left"]
    assert refused(await client.delete(path, headers=headers)) == (404, "not_found")


async def test_what_is_refused(client, clinic, context, full, waiting):
    patient, headers = waiting
    free = await clinic.slot(hour=14)

    async def join(slot: int, who: int = patient, as_: dict[str, str] = headers) -> Any:
        path = f"/schedules/{slot}/waitlist"
        return refused(await client.post(path, json={"patientId": who}, headers=as_))

    assert await join(free) == (409, "not_full")
    assert await join(10**9) == (404, "not_found")
    assert await join(full[0], who=10**9) == (404, "not_found")
    operator = as_caller(context, 999, Role.OPERATOR)
    assert await join(full[0], as_=operator) == (403, "forbidden")


async def test_a_strangers_place_is_not_shown(client, clinic, context, full, waiting):
    patient, headers = waiting
    await client.post(
        f"/schedules/{full[0]}/waitlist", json={"patientId": patient}, headers=headers
    )
    other, _ = await clinic.someone(2)
    assert await mine(client, as_caller(context, other, Role.PATIENT)) == []


async def test_added_sources_are_offered(client, clinic, context, full, waiting):
    patient, headers = waiting
    slot = full[0]
    await client.post(f"/schedules/{slot}/waitlist", json={"patientId": patient}, headers=headers)
    operator = as_caller(context, 999, Role.OPERATOR)
    changed = await client.patch(f"/schedules/{slot}", json={"totalSources": 2}, headers=operator)
    assert (changed.json()["usedSources"], changed.json()["status"]) == (2, "full")
    assert [entry["status"] for entry in await mine(client, headers)] == ["offered"]
