"""A doctor's own reply templates, over HTTP."""

from typing import Any

import httpx
import pytest

import db.reply_template
from api.context import Context
from domain.access import Role
from tests.support.api import as_caller, refused
from tests.support.care import Care

pytestmark = pytest.mark.anyio

PATH = "/doctors/me/reply-templates"
HELLO = {"title": "问候", "text": "您好，请描述一下症状。"}


@pytest.fixture
async def care(client: httpx.AsyncClient, context: Context) -> Care:
    return await Care.opened(client, context)


async def titles(care: Care, who: dict[str, str], query: str = "") -> list[str]:
    page = (await care.send("GET", PATH + query, who)).json()
    return [item["title"] for item in page["items"]]


async def test_a_template_is_added_changed_and_dropped(care: Care) -> None:
    who = await care.doctor()
    added = await care.send("POST", PATH, who, HELLO)
    assert added.status_code == 201
    assert added.json().items() >= HELLO.items()
    one = f"{PATH}/{added.json()['id']}"
    changed = await care.send("PUT", one, who, HELLO | {"title": "开场"})
    assert (changed.json()["title"], changed.json()["text"]) == ("开场", HELLO["text"])
    await care.send("POST", PATH, who, HELLO)
    assert await titles(care, who) == ["开场", "问候"]
    assert await titles(care, who, "?size=1&page=2") == ["问候"]
    assert (await care.send("DELETE", one, who)).status_code == 204
    assert await titles(care, who) == ["问候"]
    assert refused(await care.send("DELETE", one, who)) == (404, "not_found")
    assert refused(await care.send("PUT", one, who, HELLO)) == (404, "not_found")


async def test_the_same_key_adds_one(care: Care) -> None:
    who = await care.doctor()
    first, again = [await care.send("POST", PATH, who, HELLO, key="k") for _ in range(2)]
    assert first.json() == again.json()
    other = await care.send("POST", PATH, who, HELLO | {"title": "x"}, key="k")
    assert refused(other) == (422, "idempotency_mismatch")
    await care.send("DELETE", f"{PATH}/{first.json()['id']}", who)
    assert refused(await care.send("POST", PATH, who, HELLO, key="k")) == (404, "not_found")


async def test_another_doctors_do_not_exist(care: Care) -> None:
    added = await care.send("POST", PATH, await care.doctor(), HELLO)
    other = await care.doctor(await care.clinic.another_doctor())
    one = f"{PATH}/{added.json()['id']}"
    assert await titles(care, other) == []
    assert refused(await care.send("PUT", one, other, HELLO)) == (404, "not_found")
    assert refused(await care.send("DELETE", one, other)) == (404, "not_found")


async def test_there_are_only_so_many(care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.reply_template, "MOST", 1)
    who = await care.doctor()
    await care.send("POST", PATH, who, HELLO)
    assert refused(await care.send("POST", PATH, who, HELLO)) == (409, "too_many")


@pytest.mark.parametrize(
    "change",
    [{"title": ""}, {"title": " "}, {"title": "长" * 51}, {"text": ""}, {"text": "长" * 2001}],
)
async def test_a_template_has_a_title_and_a_text_of_some_length(
    care: Care, change: dict[str, Any]
) -> None:
    who = await care.doctor()
    assert refused(await care.send("POST", PATH, who, HELLO | change)) == (422, "invalid")
    added = (await care.send("POST", PATH, who, HELLO)).json()
    wrong = await care.send("PUT", f"{PATH}/{added['id']}", who, HELLO | change)
    assert refused(wrong) == (422, "invalid")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.DOCTOR])
async def test_only_doctors_have_templates(care: Care, role: Role) -> None:
    who = as_caller(care.context, 9, role)
    for method, path in (
        ("GET", PATH), ("POST", PATH), ("PUT", f"{PATH}/1"), ("DELETE", f"{PATH}/1"),
    ):  # fmt: skip
        body = HELLO if method in ("POST", "PUT") else None
        assert refused(await care.send(method, path, who, body)) == (403, "forbidden")
