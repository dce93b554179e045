"""Files over HTTP: sent, shown to whom they concern, and to nobody else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api import files as routes
from api.app import create_app
from api.context import Context
from db.file import attach_files
from db.keyring import Keyring
from domain.access import Caller, Role, Stake
from domain.hospital import FilePolicy, Policies
from tests.support import bombs
from tests.support.api import as_caller, client_of, close_context, make_context, refused
from tests.support.booking import Clinic
from tests.support.documents import a_pdf, a_zip_too
from tests.support.pictures import (
    ELF,
    EXE,
    GIF,
    SVG,
    a_bomb,
    a_heic,
    a_picture,
    taken_by_a_phone,
)
from tests.support.storage import MemoryStorage

pytestmark = pytest.mark.anyio
SMALL = FilePolicy(max_bytes=50_000, max_pixels=1_000_000)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def me(context: Context, clinic: Clinic) -> dict[str, str]:
    return as_caller(context, await clinic.account(), Role.PATIENT)


async def send(
    client: httpx.AsyncClient,
    headers: dict[str, str],
    data: bytes,
    name: str = "x.jpg",
    **fields: Any,
) -> httpx.Response:
    files = {"file": (name, data, "image/jpeg")}
    return await client.post("/files", headers=headers, files=files, data=fields)


async def test_a_picture_is_kept_and_shown(client: httpx.AsyncClient, me: dict[str, str]) -> None:
    sent = await send(client, me, taken_by_a_phone())
    assert sent.status_code == 201, sent.text
    file = sent.json()
    assert (file["contentType"], file["width"], file["height"]) == ("image/jpeg", 48, 64)
    shown = await client.get(f"/files/{file['id']}", headers=me)
    assert shown.status_code == 200
    assert len(shown.content) == file["size"] == int(shown.headers["content-length"])
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["cache-control"].startswith("private")
    assert shown.headers["content-disposition"] == f'inline; filename="{file["id"]}.jpg"'
    assert b"SecretPhone" not in shown.content
    small = await client.get(f"/files/{file['id']}/thumbnail", headers=me)
    assert small.headers["content-type"] == "image/jpeg"


async def test_a_heic_and_a_document(client: httpx.AsyncClient, me: dict[str, str]) -> None:
    assert (await send(client, me, a_heic())).json()["contentType"] == "image/jpeg"
    file = (await send(client, me, a_pdf(), purpose="evidence")).json()
    assert (file["contentType"], file["thumbnailUrl"]) == ("application/pdf", None)
    shown = await client.get(file["url"])
    assert shown.content.startswith(b"%PDF-")
    assert len(shown.content) == file["size"]
    assert shown.headers["content-disposition"].startswith("attachment;")
    assert refused(await client.get(f"/files/{file['id']}/thumbnail", headers=me))[0] == 404


async def test_the_address_that_was_given_works_without_a_login(
    client: httpx.AsyncClient, me: dict[str, str]
) -> None:
    file = (await send(client, me, a_picture())).json()
    other = (await send(client, me, a_picture())).json()
    assert (await client.get(file["url"])).status_code == 200
    assert (await client.get(file["thumbnailUrl"])).status_code == 200
    query = httpx.URL(file["url"]).params
    head, _, tail = query["signature"].rpartition(".")
    forged = f"{head}.{'B' if tail[0] == 'A' else 'A'}{tail[1:]}"
    for path, changes in (
        (f"/files/{other['id']}", {}),
        (f"/files/{file['id']}", {"expires": "9999999999"}),
        (f"/files/{file['id']}", {"signature": forged}),
        (f"/files/{file['id']}", {"signature": "x"}),
    ):
        answer = await client.get(path, params={**query, **changes})
        assert refused(answer) == (401, "bad_signature")
    without = {"signature": query["signature"]}
    answer = await client.get(f"/files/{file['id']}", params=without)
    assert refused(answer) == (401, "bad_signature")
    assert refused(await client.get(f"/files/{file['id']}")) == (401, "not_authenticated")


async def test_an_access_token_is_no_signature(
    client: httpx.AsyncClient, me: dict[str, str]
) -> None:
    file = (await send(client, me, a_picture())).json()
    token = me["Authorization"].removeprefix("Bearer ")
    query = {**httpx.URL(file["url"]).params, "signature": token}
    answer = await client.get(f"/files/{file['id']}", params=query)
    assert refused(answer) == (401, "bad_signature")
    bearer = {"Authorization": f"Bearer {httpx.URL(file['url']).params['signature']}"}
    answer = await client.get(f"/files/{file['id']}", headers=bearer)
    assert refused(answer) == (401, "not_authenticated")


async def test_an_address_expires_and_ends_with_its_login(
    client: httpx.AsyncClient, context: Context, me: dict[str, str]
) -> None:
    file = (await send(client, me, a_picture())).json()
    caller = context.tokens.read(me["Authorization"].removeprefix("Bearer "))
    past = context.passes.issue(caller, f"file/{file['id']}", timedelta(seconds=-1))
    query = {"expires": int(past.expires_at.timestamp()), "signature": past.token}
    answer = await client.get(f"/files/{file['id']}", params=query)
    assert refused(answer) == (401, "link_expired")
    context.revocations.end(caller.session_id)
    assert refused(await client.get(file["url"])) == (401, "session_revoked")


async def test_a_strangers_file_does_not_exist(
    client: httpx.AsyncClient, context: Context, clinic: Clinic, me: dict[str, str]
) -> None:
    file = (await send(client, me, a_picture())).json()
    for role in Role:
        stranger = as_caller(context, 99, role, doctor_id=clinic.doctor)
        for path in (f"/files/{file['id']}", f"/files/{file['id']}/thumbnail", "/files/999"):
            assert refused(await client.get(path, headers=stranger)) == (404, "not_found")


async def test_those_on_the_case_see_it_and_leave_a_trace(
    client: httpx.AsyncClient, context: Context, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, patient = await clinic.someone()
    me = as_caller(context, account, Role.PATIENT)
    file = (await send(client, me, a_picture())).json()
    async with context.engine.begin() as connection:
        await attach_files(
            connection, context.keyring, hospital_id=1, account_id=account,
            file_ids=[file["id"]], order_no="C1", patient_id=patient,
        )  # fmt: skip

    async def concerns(connection: Any, hospital_id: int, order_no: str, asks: int) -> Stake:
        return Stake(account, clinic.doctor)

    monkeypatch.setattr(routes, "stake_of_case", concerns)
    doctor = as_caller(context, 77, Role.DOCTOR, doctor_id=clinic.doctor)
    another = as_caller(context, 78, Role.DOCTOR, doctor_id=clinic.doctor + 1)
    path = f"/files/{file['id']}"
    assert (await client.get(path, headers=me)).status_code == 200
    assert (await client.get(path, headers=doctor)).status_code == 200
    assert refused(await client.get(path, headers=another)) == (404, "not_found")
    traces = "select actor_id from access_log where object = :object and actor_role = 'doctor'"
    assert await clinic.ids(traces, object=f"file/{file['id']}") == [77]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (SVG, (415, "unsupported_file")),
        (ELF, (415, "unsupported_file")),
        (EXE, (415, "unsupported_file")),
        (GIF, (415, "unsupported_file")),
        (b"", (415, "unsupported_file")),
        (a_pdf(b"/OpenAction << /S /JavaScript /JS (x) >>"), (415, "unsupported_file")),
        (a_pdf(b"/OpenAction<</S/Rendition/JS(app.alert(1))/OP 0>>"), (415, "unsupported_file")),
        (a_pdf(b"/AcroForm << /XFA%c\n[1 0 R] >>"), (415, "unsupported_file")),
        (a_pdf(after=b"PK\x03\x04"), (422, "broken_file")),
        (a_zip_too(), (422, "broken_file")),
        (bombs.of_scans(2400), (422, "broken_file")),
        (a_picture()[:-100], (422, "broken_file")),
        (a_bomb(), (422, "image_too_large")),
    ],
)
async def test_what_may_not_come_is_refused_whatever_it_is_called(
    client: httpx.AsyncClient, me: dict[str, str], data: bytes, code: tuple[int, str]
) -> None:
    assert refused(await send(client, me, data)) == code


async def test_a_second_file_behind_a_picture_is_gone(
    client: httpx.AsyncClient, me: dict[str, str]
) -> None:
    file = (await send(client, me, a_picture() + b"PK\x03\x04" + SVG)).json()
    shown = (await client.get(file["url"])).content
    assert b"svg" not in shown
    assert b"PK" not in shown


@pytest.mark.parametrize(
    "body",
    [
        {"json": {}},
        {"data": {"purpose": "x"}},
        {"files": {"picture": ("x", b"x")}},
        {"files": {"file": ("x", a_picture())}, "data": {"purpose": "Not A Word"}},
    ],
)
async def test_a_form_without_its_parts_is_invalid(
    client: httpx.AsyncClient, me: dict[str, str], body: dict[str, Any]
) -> None:
    answer = await client.post("/files", headers=me, **body)
    assert refused(answer) == (422, "invalid")


async def test_a_form_that_is_none_is_malformed(
    client: httpx.AsyncClient, me: dict[str, str]
) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        headers = {**me, "content-type": kind}
        answer = await client.post("/files", headers=headers, content=b"--y\r\nnothing")
        assert refused(answer) == (400, "malformed")
    answer = await client.post("/files", files={"file": ("x", a_picture())})
    assert refused(answer) == (401, "not_authenticated")


async def test_the_same_key_and_content_is_one_file_whatever_the_boundary(
    client: httpx.AsyncClient, me: dict[str, str], clinic: Clinic
) -> None:
    headers = {**me, "Idempotency-Key": "one"}
    answers = [await send(client, headers, a_picture()) for _ in range(3)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await clinic.value("select count(*) from file") == 1
    other = await send(client, headers, a_picture("PNG"))
    assert refused(other) == (422, "idempotency_mismatch")
    both = await asyncio.gather(
        *(send(client, {**me, "Idempotency-Key": "two"}, a_picture()) for _ in range(3))
    )
    assert len({answer.json()["id"] for answer in both}) == 1


# Limits and faults


@pytest.fixture
async def strict(database_url: str, context: Context) -> AsyncIterator[Context]:
    config = replace(context.config, policies=Policies(files=SMALL))
    made = await make_context(database_url, context.keyring, config)
    yield made
    await close_context(made)


async def test_a_large_file_is_refused_before_it_is_read_whole(
    strict: Context, me: dict[str, str]
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n'
        while True:
            read += 10_000
            yield b"x" * 10_000

    headers = {**me, "content-type": "multipart/form-data; boundary=x"}
    async with client_of(strict) as client:
        answer = await client.post("/files", headers=headers, content=endless())
        assert refused(answer) == (413, "file_too_large")
        assert read < 200_000
        claimed = {**headers, "content-length": "900000"}
        answer = await client.post("/files", headers=claimed, content=b"")
        assert refused(answer) == (413, "file_too_large")
        just = await client.post("/files", headers=me, files={"file": ("x", b"x" * 50_001)})
        assert refused(just) == (413, "file_too_large")


async def test_other_routes_keep_their_limit(strict: Context, me: dict[str, str]) -> None:
    async with client_of(strict) as client:
        answer = await client.post("/appointments", headers=me, content=b"x" * (1024 * 1024 + 1))
    assert refused(answer) == (413, "too_large")


async def test_who_sends_too_many_waits(
    client: httpx.AsyncClient, me: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.uploads.FILES_PER_HOUR", 2)
    answers = [await send(client, me, a_picture()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[2].headers["retry-after"]) > 0


async def test_a_storage_that_is_away_is_503_and_leaves_nothing_shown(
    database_url: str, context: Context, clinic: Clinic, me: dict[str, str]
) -> None:
    storage = MemoryStorage()
    made = await make_context(database_url, context.keyring, context.config, storage=storage)
    try:
        async with client_of(made) as client:
            file = (await send(client, me, a_picture())).json()
            storage.away = True
            for answer in (await send(client, me, a_picture()), await client.get(file["url"])):
                assert refused(answer) == (503, "unavailable")
            storage.away = False
            for name, sealed in storage.objects.items():
                storage.objects[name] = sealed[:-1] + bytes([sealed[-1] ^ 1])
            assert refused(await client.get(file["url"])) == (503, "unavailable")
            storage.objects.clear()
            assert refused(await client.get(file["url"])) == (503, "unavailable")
    finally:
        await close_context(made)


async def test_a_shredded_file_is_gone(
    client: httpx.AsyncClient, context: Context, me: dict[str, str]
) -> None:
    file = (await send(client, me, a_picture())).json()
    async with context.engine.begin() as connection:
        await connection.execute(text("update data_key set wrapped = null"))
    assert refused(await client.get(file["url"])) == (404, "not_found")


async def test_the_document_says_what_is_sent_and_what_comes_back(context: Context) -> None:
    paths = create_app(context).openapi()["paths"]
    send = paths["/api/hospital/files"]["post"]
    assert send["requestBody"]["content"].keys() == {"multipart/form-data"}
    assert "image/webp" in paths["/api/hospital/files/{id}"]["get"]["responses"]["200"]["content"]


async def test_a_pass_says_to_whom_it_was_given(context: Context) -> None:
    caller = Caller(1, 1, 1, frozenset())
    made = context.passes.issue(caller, "file/1", timedelta(minutes=1))
    assert made.caller == context.passes.read(made.token, "file/1").caller == caller
