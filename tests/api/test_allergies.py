"""Allergies of one's persons, over HTTP."""

from typing import Any

import httpx
import pytest

from api.context import Context
from domain.access import Role
from tests.support.api import as_caller, refused
from tests.support.care import Care

pytestmark = pytest.mark.anyio

PENICILLIN = {"substance": "青霉素", "reaction": "皮疹", "severity": "moderate"}


@pytest.fixture
async def care(client: httpx.AsyncClient, context: Context) -> Care:
    return await Care.opened(client, context)


@pytest.fixture
async def held(care: Care) -> tuple[dict[str, str], str]:
    """An account's headers, and the path of its person's allergies."""
    account, patient = await care.clinic.someone(1)
    return care.patient(account), f"/users/me/patients/{patient}/allergies"


async def test_an_allergy_is_recorded_and_withdrawn_and_stays_in_the_history(
    care: Care, held: tuple[dict[str, str], str]
) -> None:
    who, path = held
    recorded = await care.send("POST", path, who, PENICILLIN)
    assert recorded.status_code == 201
    assert recorded.json().items() >= (PENICILLIN | {"status": "active"}).items()
    await care.send("POST", path, who, {"substance": "花生"})
    for _ in range(2):
        gone = await care.send("DELETE", f"{path}/{recorded.json()['id']}", who)
        assert gone.status_code == 204

    async def listed(query: str = "") -> list[tuple[str, str]]:
        page = (await care.send("GET", path + query, who)).json()
        assert page["total"] >= len(page["items"])
        return [(item["substance"], item["status"]) for item in page["items"]]

    assert await listed() == [("青霉素", "withdrawn"), ("花生", "active")]
    assert await listed("?status=active") == [("花生", "active")]
    assert await listed("?status=withdrawn") == [("青霉素", "withdrawn")]
    assert await listed("?size=1&page=2") == [("花生", "active")]


async def test_the_same_key_records_one(care: Care, held: tuple[dict[str, str], str]) -> None:
    who, path = held
    first, again = [await care.send("POST", path, who, PENICILLIN, key="k") for _ in range(2)]
    assert first.json() == again.json()
    other = await care.send("POST", path, who, {"substance": "花生"}, key="k")
    assert refused(other) == (422, "idempotency_mismatch")
    assert (await care.send("GET", path, who)).json()["total"] == 1


async def test_a_strangers_person_does_not_exist(
    care: Care, held: tuple[dict[str, str], str]
) -> None:
    who, path = held
    recorded = (await care.send("POST", path, who, PENICILLIN)).json()["id"]
    account, patient = await care.clinic.someone(2)
    stranger = care.patient(account)
    own = f"/users/me/patients/{patient}/allergies"
    for method, where in (
        ("GET", path),
        ("POST", path),
        ("DELETE", f"{path}/{recorded}"),
        ("DELETE", f"{own}/{recorded}"),
        ("GET", "/users/me/patients/999999/allergies"),
    ):
        body = PENICILLIN if method == "POST" else None
        answer = await care.send(method, where, stranger, body)
        assert refused(answer) == (404, "not_found")
    shown = (await care.send("GET", path, who)).json()
    assert [item["status"] for item in shown["items"]] == ["active"]


async def test_there_are_only_so_many(
    care: Care, held: tuple[dict[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    who, path = held
    monkeypatch.setattr("db.allergy.MOST_ALLERGIES", 1)
    await care.send("POST", path, who, PENICILLIN)
    assert refused(await care.send("POST", path, who, PENICILLIN)) == (409, "too_many")


@pytest.mark.parametrize(
    "change",
    [
        {"substance": ""},
        {"substance": "  "},
        {"substance": "长" * 101},
        {"reaction": "长" * 201},
        {"severity": "terrible"},
    ],
)
async def test_a_wrong_field_is_refused_and_not_repeated(
    care: Care, held: tuple[dict[str, str], str], change: dict[str, Any]
) -> None:
    who, path = held
    answer = await care.send("POST", path, who, PENICILLIN | change)
    assert refused(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == list(change)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PATIENT])
async def test_staff_have_no_persons_here(
    care: Care, held: tuple[dict[str, str], str], role: Role
) -> None:
    _, path = held
    who = as_caller(care.context, 9, role)
    for method, where in (("GET", path), ("POST", path), ("DELETE", f"{path}/1")):
        body = PENICILLIN if method == "POST" else None
        assert refused(await care.send(method, where, who, body)) == (403, "forbidden")
