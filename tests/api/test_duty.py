"""Going on duty, and what entitles to it: over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from domain.hospital import Compliance
from tests.support.api import (
    as_caller,
    client_of,
    close_context,
    hospital_config,
    make_context,
    refused,
)
from tests.support.care import Care

pytestmark = pytest.mark.anyio

DUTY = "/doctors/me/duty"
ON = {"online": True, "types": ["text", "emergency"]}
OFF: dict[str, Any] = {"online": False, "types": []}
GOOD = {
    "licenceNo": "110990000000001",
    "licenceValidUntil": "2999-12-31",
    "practisingSince": "2010-07-01",
    "institution": "示例医院",
    "institutionConsentUntil": "2999-12-31",
}


@pytest.fixture
async def care(client: httpx.AsyncClient, context: Context) -> Care:
    return await Care.opened(client, context)


@pytest.fixture
async def lawful(database_url: str, keyring: Keyring) -> AsyncIterator[Care]:
    """The same under `compliance: cn-2022`."""
    config = replace(hospital_config(), compliance=Compliance.CN_2022)
    context = await make_context(database_url, keyring, config)
    async with client_of(context) as client:
        yield await Care.opened(client, context)
    await close_context(context)


# Duty


async def test_who_never_was_on_duty_is_off(care: Care) -> None:
    shown = await care.send("GET", DUTY, await care.doctor())
    assert shown.json() == {
        "online": False,
        "types": [],
        "since": None,
        "lastSeenAt": None,
        "counted": False,
        "repeatEvery": "PT30S",
    }


async def test_a_doctor_goes_on_duty_and_patients_see_it(care: Care) -> None:
    who = await care.doctor()
    put = await care.send("PUT", DUTY, who, ON)
    assert put.status_code == 200
    assert put.json().items() >= {**ON, "counted": True}.items()
    assert (await care.send("GET", DUTY, who)).json() == put.json()
    again = (await care.send("PUT", DUTY, who, ON)).json()
    assert again["since"] == put.json()["since"]
    assert again["lastSeenAt"] > put.json()["lastSeenAt"]

    async def seen() -> tuple[bool, bool]:
        listed = (await care.client.get("/doctors")).json()["items"]
        alone = (await care.client.get(f"/doctors/{care.clinic.doctor}")).json()
        return listed[0]["online"], alone["online"]

    assert await seen() == (True, True)
    assert (await care.send("PUT", DUTY, who, OFF)).json()["online"] is False
    assert await seen() == (False, False)


@pytest.mark.parametrize(
    "body",
    [
        {"online": True, "types": []},
        {"online": True},
        {"types": ["text"]},
        {"online": True, "types": ["text", "text"]},
        {"online": True, "types": ["fax"]},
        {"online": "perhaps", "types": ["text"]},
    ],
)
async def test_duty_is_of_some_types_each_named_once(care: Care, body: Any) -> None:
    assert refused(await care.send("PUT", DUTY, await care.doctor(), body)) == (422, "invalid")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.DOCTOR])
async def test_only_doctors_go_on_duty(care: Care, role: Role) -> None:
    who = as_caller(care.context, 9, role)
    assert refused(await care.send("PUT", DUTY, who, ON)) == (403, "forbidden")
    assert refused(await care.send("GET", DUTY, who)) == (403, "forbidden")


async def test_a_doctor_of_no_catalogue_has_no_duty(care: Care) -> None:
    who = as_caller(care.context, 9, Role.DOCTOR)
    assert refused(await care.send("PUT", DUTY, who, ON)) == (403, "forbidden")


async def test_an_expired_licence_goes_off_duty_but_not_on(care: Care) -> None:
    who = await care.doctor()
    path = f"/doctors/{care.clinic.doctor}/credential"
    expired = {**GOOD, "licenceValidUntil": "2020-01-01"}
    assert (await care.send("PUT", path, care.operator, expired)).status_code == 200
    answer = await care.send("PUT", DUTY, who, ON)
    assert refused(answer) == (409, "licence_expired")
    assert answer.json()["rule"] == "R07"
    assert (await care.send("PUT", DUTY, who, OFF)).status_code == 200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"licenceNo": None}, "licence_missing"),
        ({"practisingSince": None}, "too_few_years"),
        ({"institutionConsentUntil": "2020-01-01"}, "institution_consent_missing"),
        ({}, None),
    ],
)
async def test_under_the_law_all_of_it_is_asked_for(
    lawful: Care, change: dict[str, Any], code: str | None
) -> None:
    who = await lawful.doctor()
    assert refused(await lawful.send("PUT", DUTY, who, ON)) == (409, "licence_missing")
    path = f"/doctors/{lawful.clinic.doctor}/credential"
    kept = await lawful.send("PUT", path, lawful.operator, GOOD | change)
    assert kept.json()["refusal"] == code
    answer = await lawful.send("PUT", DUTY, who, ON)
    assert answer.status_code == 200 if code is None else refused(answer) == (409, code)


# Credentials


async def test_an_operator_records_credentials_and_sees_them(care: Care) -> None:
    path = f"/doctors/{care.clinic.doctor}/credential"
    assert refused(await care.send("GET", path, care.operator)) == (404, "not_found")
    put = await care.send("PUT", path, care.operator, GOOD)
    assert put.json() == GOOD | {"doctorId": care.clinic.doctor, "refusal": None}
    assert (await care.send("GET", path, care.operator)).json() == put.json()


async def test_each_change_is_audited_once_and_without_the_number(care: Care) -> None:
    path = f"/doctors/{care.clinic.doctor}/credential"
    await care.send("PUT", path, care.operator, GOOD)
    await care.send("PUT", path, care.operator, GOOD)
    await care.send("PUT", path, care.operator, {})
    async with care.context.engine.connect() as connection:
        audits = (
            await connection.execute(
                text("select event, subject, actor_id, details from audit order by id")
            )
        ).all()
    assert [row.event for row in audits] == ["credential_changed"] * 2
    assert {(row.subject, row.actor_id) for row in audits} == {(f"doctor/{care.clinic.doctor}", 90)}
    first, second = (row.details for row in audits)
    assert first["before"] is None
    assert first["after"] == second["before"]
    assert (first["after"]["licence"], second["after"]["licence"]) == (True, False)
    assert GOOD["licenceNo"] not in str(audits)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
async def test_nobody_else_sees_or_records_credentials(care: Care, role: Role) -> None:
    path = f"/doctors/{care.clinic.doctor}/credential"
    who = as_caller(care.context, 9, role, doctor_id=care.clinic.doctor)
    assert refused(await care.send("GET", path, who)) == (403, "forbidden")
    assert refused(await care.send("PUT", path, who, GOOD)) == (403, "forbidden")


async def test_an_unknown_doctor_is_not_found(care: Care) -> None:
    for method, body in (("GET", None), ("PUT", GOOD)):
        answer = await care.send(method, "/doctors/999999/credential", care.operator, body)
        assert refused(answer) == (404, "not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"licenceNo": "12"}, "licenceNo"),
        ({"licenceNo": "number 123456"}, "licenceNo"),
        ({"licenceValidUntil": "soon"}, "licenceValidUntil"),
        ({"practisingSince": "2999-01-01"}, "practisingSince"),
        ({"institution": "长" * 101}, "institution"),
        ({"institution": "a\u0000b"}, "institution"),
    ],
)
async def test_a_wrong_credential_is_refused_by_its_field(
    care: Care, change: dict[str, Any], field: str
) -> None:
    path = f"/doctors/{care.clinic.doctor}/credential"
    answer = await care.send("PUT", path, care.operator, GOOD | change)
    assert refused(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
