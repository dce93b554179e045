"""Suspensions as the account sees them, and appeals against them."""

import asyncio
from typing import Any

import httpx
import pytest

from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from tests.support.api import as_caller, refused
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio

MINE = "/users/me/suspensions"
WHY = {"note": "那天我住院了"}


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


class Suspended:
    """Somebody whose booking is suspended."""

    def __init__(self, client: httpx.AsyncClient, context: Context, account: int, id: int) -> None:
        self.client, self.id = client, id
        self.headers = as_caller(context, account, Role.PATIENT)

    async def sees(self) -> Any:
        return (await self.client.get(MINE, headers=self.headers)).json()["items"]

    async def appeals(self, key: str | None = None, **body: Any) -> httpx.Response:
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        path = f"{MINE}/{self.id}/appeal"
        return await self.client.post(path, json=body or WHY, headers=headers)


@pytest.fixture
async def who(client: httpx.AsyncClient, context: Context, clinic: Clinic) -> Suspended:
    person = await clinic.someone()
    order_no = await clinic.booked(person, await clinic.slot())
    return Suspended(client, context, person[0], await clinic.suspend(order_no))


async def test_ones_own_suspensions_are_listed(
    who: Suspended, context: Context, clinic: Clinic
) -> None:
    (seen,) = await who.sees()
    assert (seen["id"], seen["appeal"], seen["decision"]) == (who.id, None, "")
    assert seen["orderNo"] == await clinic.value("select order_no from booking_suspension")
    stranger = as_caller(context, await clinic.account(), Role.PATIENT)
    theirs = await who.client.get(MINE, headers=stranger)
    assert theirs.json()["total"] == 0
    staff = as_caller(context, 97, Role.OPERATOR)
    assert refused(await who.client.get(MINE, headers=staff)) == (403, "forbidden")


async def test_an_appeal_waits_for_an_operator_who_reads_what_was_written(
    who: Suspended, context: Context, clinic: Clinic
) -> None:
    answer = await who.appeals()
    assert (answer.status_code, answer.json()["appeal"]) == (201, "open")
    assert "住院".encode() not in bytes(await clinic.value("select note from work_item"))
    until = await clinic.value("select ends_at from booking_suspension")
    assert await clinic.value("select due_at from work_item") == until
    promised = "select workflow from outbox where workflow = 'work_item'"
    assert await clinic.ids(promised) == ["work_item"]
    operator = as_caller(context, 97, Role.OPERATOR)
    (listed,) = (await who.client.get("/work-items", headers=operator)).json()["items"]
    assert (listed["kind"], listed["decisions"]) == ("suspension_lift", ["lifted", "kept"])
    assert await clinic.value("select count(*) from access_log") == 0
    one = await who.client.get(f"/work-items/{listed['id']}", headers=operator)
    assert one.json()["note"] == WHY["note"]
    assert one.json()["timeline"][0]["actor"]["role"] == "patient"
    assert await clinic.value("select actor_role || ' ' || action from access_log") == (
        "operator read"
    )


async def test_an_operator_does_not_decide_their_own_appeal(
    who: Suspended, context: Context, clinic: Clinic
) -> None:
    await who.appeals()
    whose = await clinic.value("select account_id from appointment")
    assert await clinic.value("select excluded from work_item") == [whose]


async def test_one_appeals_once(who: Suspended, clinic: Clinic) -> None:
    answers = await asyncio.gather(*(who.appeals() for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    await clinic.run(
        "update work_item set status = 'decided', decision = 'kept', closed_at = now()"
    )
    assert refused(await who.appeals()) == (409, "already_appealed")
    (seen,) = await who.sees()
    assert (seen["appeal"], seen["decision"]) == ("decided", "kept")


async def test_a_repeat_under_the_same_key_is_the_first_answer(
    who: Suspended, clinic: Clinic
) -> None:
    for _ in range(2):
        assert (await who.appeals(key="k")).status_code == 201
    assert await clinic.value("select count(*) from work_item") == 1
    assert refused(await who.appeals(key="k", note="另一个")) == (422, "idempotency_mismatch")


async def test_what_is_over_or_somebody_elses_cannot_be_appealed_against(
    who: Suspended, context: Context, clinic: Clinic
) -> None:
    stranger = Suspended(who.client, context, await clinic.account(), who.id)
    assert refused(await stranger.appeals()) == (404, "not_found")
    await clinic.run("update booking_suspension set lifted_by = 1, lifted_at = now()")
    assert refused(await who.appeals()) == (409, "not_allowed")
    assert refused(await who.appeals(note=" ")) == (422, "invalid")
