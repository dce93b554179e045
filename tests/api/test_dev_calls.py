"""A call of the console provider, ended by hand: what stands in for phones in development."""

import httpx
import pytest

from activities.gateways.voice import ConsoleVoice
from api.context import Context
from db.keyring import Keyring
from tests.support.api import client_of, close_context, make_context, refused
from tests.support.booking import Clinic
from tests.support.phones import Pair, RememberedVoice

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def played(clinic: Clinic) -> Pair:
    return await Pair.of(clinic, ConsoleVoice())


async def test_a_call_of_the_console_is_ended_by_hand(
    played: Pair, client: httpx.AsyncClient
) -> None:
    call_no = (await played.activities.place_call(played.wanted())).call_no
    for body in ({"outcome": "talked", "duration": "PT4M10S"}, {"outcome": "failed"}):
        answer = await client.post(f"/dev/calls/{call_no}/end", json=body)
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert (shown["status"], shown["outcome"], shown["duration"]) == (
            "ended",
            "talked",
            "PT4M10S",
        )
    (signal,) = await played.clinic.ids("select args from outbox")
    assert (signal["outcome"], signal["duration"], signal["attempt"]) == ("talked", 250, 1)


async def test_a_call_without_a_talk_has_no_length(played: Pair, client: httpx.AsyncClient) -> None:
    call_no = (await played.activities.place_call(played.wanted())).call_no
    body = {"outcome": "patient_busy", "duration": "PT1M"}
    shown = (await client.post(f"/dev/calls/{call_no}/end", json=body)).json()
    assert (shown["outcome"], shown["duration"], shown["answeredAt"]) == (
        "patient_busy",
        "PT0S",
        None,
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"outcome": "well"},
        {"outcome": "talked", "duration": "-PT1M"},
        {"outcome": "talked", "duration": "P2D"},
    ],
)
async def test_an_end_that_cannot_be_is_refused(
    played: Pair, client: httpx.AsyncClient, body: dict[str, str]
) -> None:
    call_no = (await played.activities.place_call(played.wanted())).call_no
    answer = await client.post(f"/dev/calls/{call_no}/end", json=body)
    assert refused(answer) == (422, "invalid")


async def test_a_real_call_or_none_is_not_ended_by_hand(
    clinic: Clinic, client: httpx.AsyncClient
) -> None:
    real = await Pair.of(clinic, RememberedVoice(name="twilio"))
    placed = await real.activities.place_call(real.wanted())
    for number in (placed.call_no, "T2611220000000000AA"):
        answer = await client.post(f"/dev/calls/{number}/end", json={"outcome": "talked"})
        assert refused(answer) == (404, "not_found")
    assert await clinic.value("select status from phone_call") == "ringing"


async def test_outside_development_there_is_no_such_route(
    database_url: str, keyring: Keyring
) -> None:
    context = await make_context(database_url, keyring, env="production")
    async with client_of(context) as client:
        answer = await client.post("/dev/calls/T2611220000000000AA/end", json={"outcome": "talked"})
    assert refused(answer) == (404, "not_found")
    await close_context(context)


async def test_the_development_outbox_shows_whom_the_console_would_ring(
    played: Pair, client: httpx.AsyncClient
) -> None:
    call_no = (await played.activities.place_call(played.wanted())).call_no
    found = (await client.get("/dev/outbox")).json()
    assert {message["to"] for message in found} == {"13800000001", "13900000000"}
    for message in found:
        assert (message["channel"], message["template"]) == ("voice", "phone_call")
        assert call_no in message["text"]
        assert not {word for word in ("心血管", "医生", "diagnosis") if word in message["text"]}
