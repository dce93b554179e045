"""Messages over HTTP: what the two sides may write and read, and nobody else."""

import asyncio
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.context import Context
from db.base import Base
from db.keyring import Keyring
from domain.access import Role
from domain.consultation import ConsultationStatus
from domain.conversation import TEXT_AT_MOST, Side
from tests.support.api import as_caller, refused
from tests.support.booking import Clinic
from tests.support.documents import a_pdf
from tests.support.pictures import ELF, SVG, a_bomb, a_picture, taken_by_a_phone
from tests.support.talks import Conversation

pytestmark = pytest.mark.anyio
S = ConsultationStatus


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def talk(clinic: Clinic) -> Conversation:
    return await Conversation.begun(clinic)


@pytest.fixture
def patient(talk: Conversation, context: Context) -> dict[str, str]:
    return talk.patients(context)


@pytest.fixture
def doctor(talk: Conversation, context: Context) -> dict[str, str]:
    return talk.doctors(context)


async def write(
    client: httpx.AsyncClient, talk: Conversation, headers: dict[str, str], content: str = "您好"
) -> httpx.Response:
    body = {"content": content, "type": "text"}
    return await client.post(f"{talk.path}/messages", headers=headers, json=body)


async def send_picture(
    client: httpx.AsyncClient, talk: Conversation, headers: dict[str, str], data: bytes
) -> httpx.Response:
    return await client.post(
        f"{talk.path}/messages",
        headers=headers,
        data={"type": "image", "content": "手臂"},
        files={"file": ("x.exe", data)},
    )


async def test_the_two_sides_write_and_read(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, doctor: Any
) -> None:
    first = await write(client, talk, patient, "  头痛三天  ")
    assert first.status_code == 201, first.text
    assert (await write(client, talk, doctor, "发烧吗?")).json()["seq"] == 2
    seen = (await client.get(f"{talk.path}/messages", headers=doctor)).json()
    assert [(m["seq"], m["sender"], m["mine"], m["content"]) for m in seen["items"]] == [
        (1, "patient", False, "头痛三天"),
        (2, "doctor", True, "发烧吗?"),
    ]
    assert first.json() == {**seen["items"][0], "mine": True}
    assert (seen["more"], seen["read"]) == (False, {"patient": 0, "doctor": 0})


async def test_messages_come_in_parts_from_a_cursor_on(
    client: httpx.AsyncClient, talk: Conversation, patient: Any
) -> None:
    for n in range(5):
        await talk.write(Side.PATIENT, str(n))
    path = f"{talk.path}/messages"
    page = (await client.get(f"{path}?after=1&size=2", headers=patient)).json()
    assert ([m["seq"] for m in page["items"]], page["more"]) == ([2, 3], True)
    page = (await client.get(f"{path}?after=3&size=2", headers=patient)).json()
    assert ([m["seq"] for m in page["items"]], page["more"]) == ([4, 5], False)


@pytest.mark.parametrize("status", [status for status in S if status is not S.CONSULTING])
async def test_nobody_writes_but_while_it_is_consulted_on(
    client: httpx.AsyncClient, clinic: Clinic, context: Context, status: S
) -> None:
    talk = await Conversation.begun(clinic, status)
    for headers in (talk.patients(context), talk.doctors(context)):
        answer = await write(client, talk, headers)
        assert refused(answer) == (409, "not_allowed")
        assert answer.json()["orderStatus"] == status
        answer = await send_picture(client, talk, headers, a_picture())
        assert refused(answer) == (409, "not_allowed")
        answer = await client.post(f"{talk.path}/typing", headers=headers)
        assert refused(answer) == (409, "not_allowed")
        assert (await client.get(f"{talk.path}/messages", headers=headers)).status_code == 200
    assert await clinic.value("select count(*) from file") == 0


async def test_a_conversation_of_others_does_not_exist(
    client: httpx.AsyncClient, talk: Conversation, context: Context
) -> None:
    strangers = [
        as_caller(context, 99, Role.PATIENT),
        as_caller(context, 99, Role.DOCTOR, doctor_id=talk.doctor + 1),
        as_caller(context, 99, Role.NURSE),
        as_caller(context, 99, Role.PHARMACIST),
    ]
    for headers in strangers:
        for answer in (
            await write(client, talk, headers),
            await send_picture(client, talk, headers, a_picture()),
            await client.get(f"{talk.path}/messages", headers=headers),
            await client.post(f"{talk.path}/messages/read", headers=headers, json={"upTo": 1}),
            await client.post(f"{talk.path}/typing", headers=headers),
            await client.get(f"{talk.path}/events", headers=headers),
        ):
            assert refused(answer) == (404, "not_found")
    operator = as_caller(context, 99, Role.OPERATOR)
    answer = await client.get(f"{talk.path}/messages", headers=operator)
    assert refused(answer) == (403, "forbidden")
    assert refused(await client.get(f"{talk.path}/messages")) == (401, "not_authenticated")


async def test_the_doctors_reading_leaves_a_trace_and_the_patients_does_not(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, doctor: Any
) -> None:
    for headers in (patient, doctor):
        await client.get(f"{talk.path}/messages", headers=headers)
    traces = "select actor_id from access_log where object = :object"
    found = await talk.clinic.ids(traces, object=f"consultation/{talk.order_no}")
    assert found == [talk.doctor_account]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "text"},
        {"type": "text", "content": ""},
        {"type": "text", "content": "   "},
        {"type": "text", "content": "x" * (TEXT_AT_MOST + 1)},
        {"type": "text", "content": "x\0y"},
        {"type": "text", "content": 7},
        {"type": "text", "content": "x", "fileId": 1},
        {"type": "video", "content": "x"},
        {"type": "image", "content": "x"},
        {"type": "image", "fileId": 2**63},
        [],
        "x",
    ],
)
async def test_what_is_no_message_is_invalid(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, body: Any
) -> None:
    answer = await client.post(f"{talk.path}/messages", headers=patient, json=body)
    assert refused(answer) == (422, "invalid")


async def test_what_is_no_json_is_malformed(
    client: httpx.AsyncClient, talk: Conversation, patient: Any
) -> None:
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        answer = await client.post(f"{talk.path}/messages", headers=patient, content=content)
        assert refused(answer) == (400, "malformed")
    large = b'{"type": "text", "content": "' + b"x" * 1024 * 1024 + b'"}'
    answer = await client.post(f"{talk.path}/messages", headers=patient, content=large)
    assert refused(answer) == (413, "too_large")


async def test_a_repeat_with_its_key_is_the_same_message(
    client: httpx.AsyncClient, talk: Conversation, patient: Any
) -> None:
    keyed = {**patient, "Idempotency-Key": "k"}
    answers = await asyncio.gather(*(write(client, talk, keyed) for _ in range(4)))
    assert {answer.json()["seq"] for answer in answers} == {1}
    assert refused(await write(client, talk, keyed, "other")) == (422, "idempotency_mismatch")
    await talk.becomes(status=S.COMPLETED)
    assert (await write(client, talk, keyed)).json()["seq"] == 1
    pictured = {**patient, "Idempotency-Key": "p"}
    assert refused(await send_picture(client, talk, pictured, a_picture()))[0] == 409


async def test_a_picture_is_seen_by_both_sides_without_what_it_carried(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, doctor: Any, context: Context
) -> None:
    keyed = {**patient, "Idempotency-Key": "k"}
    sent = await send_picture(client, talk, keyed, taken_by_a_phone())
    assert sent.status_code == 201, sent.text
    again = await send_picture(client, talk, keyed, taken_by_a_phone())
    assert again.json()["seq"] == sent.json()["seq"] == 1
    assert await talk.clinic.value("select count(*) from file") == 1
    [message] = (await client.get(f"{talk.path}/messages", headers=doctor)).json()["items"]
    assert (message["type"], message["content"]) == ("image", "手臂")
    assert message["file"]["url"] != sent.json()["file"]["url"], "each was given their own"
    for url in (
        message["file"]["url"],
        message["file"]["thumbnailUrl"],
        sent.json()["file"]["url"],
    ):
        shown = await client.get(url)
        assert shown.status_code == 200
        assert b"SecretPhone" not in shown.content
    path = f"/files/{message['file']['id']}"
    another = as_caller(context, 99, Role.DOCTOR, doctor_id=talk.doctor + 1)
    assert refused(await client.get(path, headers=another)) == (404, "not_found")
    await talk.becomes(doctor_id=await talk.clinic.another_doctor())
    assert refused(await client.get(message["file"]["url"])) == (404, "not_found")


async def test_a_picture_that_was_sent_before_comes_by_its_id(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, doctor: Any
) -> None:
    async def upload(headers: dict[str, str], data: bytes) -> int:
        sent = await client.post("/files", headers=headers, files={"file": ("x", data)})
        number: int = sent.json()["id"]
        return number

    async def name(file_id: int) -> httpx.Response:
        body = {"type": "image", "fileId": file_id}
        return await client.post(f"{talk.path}/messages", headers=patient, json=body)

    mine = await upload(patient, a_picture())
    assert (await name(mine)).json()["file"]["id"] == mine
    for refusing in (await upload(doctor, a_picture()), 999):
        assert refused(await name(refusing)) == (422, "file_unknown")
    assert refused(await name(await upload(patient, a_pdf()))) == (415, "unsupported_file")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (SVG, (415, "unsupported_file")),
        (ELF, (415, "unsupported_file")),
        (a_pdf(), (415, "unsupported_file")),
        (a_bomb(), (422, "image_too_large")),
        (a_picture()[:-100], (422, "broken_file")),
    ],
)
async def test_what_is_no_picture_is_refused(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, data: bytes, code: Any
) -> None:
    assert refused(await send_picture(client, talk, patient, data)) == code
    assert await talk.clinic.value("select count(*) from consultation_message") == 0


async def test_a_form_says_what_it_brings(
    client: httpx.AsyncClient, talk: Conversation, patient: Any
) -> None:
    path, picture = f"{talk.path}/messages", {"file": ("x", a_picture())}
    form: dict[str, Any]
    for form in (
        {"data": {"type": "text", "content": "x"}, "files": picture},
        {"data": {"type": "image"}, "files": {"other": ("x", b"x")}},
        {"files": picture},
    ):
        assert refused(await client.post(path, headers=patient, **form)) == (422, "invalid")


async def test_receipts(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, doctor: Any
) -> None:
    for _ in range(3):
        await write(client, talk, patient)
    path = f"{talk.path}/messages/read"
    for up_to, read in ((2, 2), (1, 2), (99, 3)):
        answer = await client.post(path, headers=doctor, json={"upTo": up_to})
        assert answer.json() == {"patient": 0, "doctor": read}
    assert refused(await client.post(path, headers=doctor, json={"upTo": -1})) == (422, "invalid")


async def test_who_writes_too_fast_waits(
    client: httpx.AsyncClient, talk: Conversation, patient: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.conversation.PER_MINUTE", 2)
    answers = [await write(client, talk, patient) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert await talk.clinic.value("select count(*) from consultation_message") == 2


async def test_the_document_says_what_is_sent_and_what_comes_back(context: Context) -> None:
    paths = create_app(context).openapi()["paths"]
    path = "/api/hospital/consultations/{id}"
    sent = paths[f"{path}/messages"]["post"]["requestBody"]["content"]
    assert sent.keys() == {"application/json", "multipart/form-data"}
    assert "$defs" not in str(sent)
    told = paths[f"{path}/events"]["get"]["responses"]
    assert told["200"]["content"].keys() == {"text/event-stream"}
    assert "204" in told


ROWS_OF_ALL_TABLES = "select " + " + ".join(
    f"(select count(*) from {table})" for table in Base.metadata.tables
)


async def test_typing_is_kept_nowhere(
    client: httpx.AsyncClient, talk: Conversation, patient: Any
) -> None:
    before = await talk.clinic.value(ROWS_OF_ALL_TABLES)
    assert (await client.post(f"{talk.path}/typing", headers=patient)).status_code == 204
    assert await talk.clinic.value(ROWS_OF_ALL_TABLES) == before > 0
