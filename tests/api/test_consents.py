"""The texts a person accepts, over HTTP."""

from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.context import Context
from domain.access import Role
from domain.consent import ConsentKind, ConsentTexts
from tests.support.api import as_caller, client_of, refused
from tests.support.care import Care

pytestmark = pytest.mark.anyio

MINE = "/users/me/consents"


@pytest.fixture
async def care(client: httpx.AsyncClient, context: Context) -> Care:
    return await Care.opened(client, context)


@pytest.fixture
async def held(care: Care) -> tuple[int, int]:
    """An account, and a person of it."""
    return await care.clinic.someone(1)


def wanted(patient: int, **change: Any) -> dict[str, Any]:
    return {"kind": "online_care", "version": "2026-01", "patientId": patient} | change


async def test_todays_texts_are_shown_in_both_languages(care: Care) -> None:
    page = (await care.send("GET", "/consents", care.patient(1))).json()
    assert [text["kind"] for text in page["items"]] == list(ConsentKind)
    assert all(item["text"]["zh"] and item["text"]["en"] for item in page["items"])
    assert page["total"] == 2
    second = (await care.send("GET", "/consents?size=1&page=2", care.patient(1))).json()
    assert [item["kind"] for item in second["items"]] == ["guardian"]
    assert refused(await care.send("GET", "/consents", None)) == (401, "not_authenticated")


async def test_what_is_accepted_is_kept_with_the_hash_of_its_text(
    care: Care, held: tuple[int, int]
) -> None:
    account, patient = held
    given = await care.send("POST", MINE, care.patient(account), wanted(patient))
    assert given.status_code == 201
    text_now = care.context.consents.current(ConsentKind.ONLINE_CARE, date(2026, 11, 23))
    assert text_now is not None
    assert given.json().items() >= (wanted(patient) | {"textHash": text_now.digest.hex()}).items()
    listed = (await care.send("GET", MINE, care.patient(account))).json()
    assert (listed["items"], listed["total"]) == ([given.json()], 1)


async def test_accepting_again_is_the_first_acceptance(care: Care, held: tuple[int, int]) -> None:
    account, patient = held
    answers = [
        await care.send("POST", MINE, care.patient(account), wanted(patient), key=key)
        for key in ("", "", "k", "k")
    ]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    other = wanted(patient, kind="guardian")
    mismatch = await care.send("POST", MINE, care.patient(account), other, key="k")
    assert refused(mismatch) == (422, "idempotency_mismatch")


async def test_an_old_version_is_refused_with_todays(care: Care, held: tuple[int, int]) -> None:
    account, patient = held
    texts = care.context.consents.consents
    newer = replace(texts[0], version="2026-02", valid_from=date(2026, 2, 1))
    coming = replace(texts[0], version="2999-01", valid_from=date(2999, 1, 1))
    context = replace(care.context, consents=ConsentTexts((*texts, newer, coming)))
    async with client_of(context) as client:
        for version in ("2026-01", "2999-01", "nonsense"):
            answer = await client.post(
                MINE, json=wanted(patient, version=version), headers=care.patient(account)
            )
            assert refused(answer) == (409, "consent_outdated")
            assert (answer.json()["version"], answer.json()["rule"]) == ("2026-02", "R20")
        good = wanted(patient, version="2026-02")
        assert (
            await client.post(MINE, json=good, headers=care.patient(account))
        ).status_code == 201


async def test_a_strangers_person_does_not_exist(care: Care, held: tuple[int, int]) -> None:
    _, patient = held
    stranger, _ = await care.clinic.someone(2)
    for unknown in (patient, 999999):
        answer = await care.send("POST", MINE, care.patient(stranger), wanted(unknown))
        assert refused(answer) == (404, "not_found")
    assert (await care.send("GET", MINE, care.patient(stranger))).json()["total"] == 0


async def test_nobody_is_their_own_guardian(care: Care, held: tuple[int, int]) -> None:
    account, patient = held
    who = care.patient(account)
    guardian = wanted(patient, kind="guardian")
    async with care.context.engine.begin() as connection:
        await connection.execute(text("update patient set relation = 'self'"))
    answer = await care.send("POST", MINE, who, guardian)
    assert refused(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["field"] == "patientId"
    async with care.context.engine.begin() as connection:
        await connection.execute(text("update patient set relation = 'child'"))
    assert (await care.send("POST", MINE, who, guardian)).status_code == 201


@pytest.mark.parametrize(
    "change", [{"kind": "marketing"}, {"version": ""}, {"version": "v" * 41}, {"patientId": "x"}]
)
async def test_a_wrong_field_is_refused(
    care: Care, held: tuple[int, int], change: dict[str, Any]
) -> None:
    account, patient = held
    answer = await care.send("POST", MINE, care.patient(account), wanted(patient, **change))
    assert refused(answer) == (422, "invalid")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PATIENT])
async def test_staff_accept_nothing_for_anybody(
    care: Care, held: tuple[int, int], role: Role
) -> None:
    who = as_caller(care.context, held[0], role)
    assert refused(await care.send("POST", MINE, who, wanted(held[1]))) == (403, "forbidden")
    assert refused(await care.send("GET", MINE, who)) == (403, "forbidden")
