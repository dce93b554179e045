"""Live conversations: nothing lost, nothing twice, across processes and after any break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from api import streams
from api.app import create_app
from api.context import Context
from db.keyring import Keyring
from domain.access import Caller, Role
from domain.consultation import ConsultationStatus
from domain.conversation import Cursor, Side
from runtime.background import running
from tests.support.api import client_of, make_context, refused
from tests.support.booking import Clinic
from tests.support.talks import Conversation, Told, listening

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
P, D = Side.PATIENT, Side.DOCTOR


@asynccontextmanager
async def process(context: Context) -> AsyncIterator[FastAPI]:
    """An API process, as its lifespan runs it."""
    async with running(context.streams.run()):
        yield create_app(context)


@pytest.fixture
async def talk(context: Context, keyring: Keyring) -> Conversation:
    return await Conversation.begun(await Clinic.opened(context.engine, keyring))


@pytest.fixture
async def here(context: Context) -> AsyncIterator[FastAPI]:
    async with process(context) as app:
        yield app


@pytest.fixture
async def other(database_url: str, keyring: Keyring) -> AsyncIterator[Context]:
    """Another process on the same database."""
    context = await make_context(database_url, keyring)
    async with process(context):
        yield context
    await context.engine.dispose()


async def write(context: Context, talk: Conversation, side: Side, content: str) -> None:
    headers = talk.patients(context) if side is P else talk.doctors(context)
    async with client_of(context) as client:
        body = {"content": content, "type": "text"}
        answer = await client.post(f"{talk.path}/messages", headers=headers, json=body)
    assert answer.status_code == 201, answer.text


def messages(events: list[Told]) -> list[int]:
    return [told.data["seq"] for told in events if told.event == "message"]


async def test_a_message_is_heard_by_both_sides_in_every_process(
    here: FastAPI, context: Context, other: Context, talk: Conversation
) -> None:
    there = create_app(other)
    async with AsyncExitStack() as stack:
        heard = [
            await stack.enter_async_context(listening(app, f"{talk.path}/events", headers))
            for app in (here, there)
            for headers in (talk.patients(context), talk.doctors(context))
        ]
        for stream in heard:
            first = await stream.next()
            assert (first.event, first.data["status"]) == ("status", "consulting")
        await write(context, talk, P, "从这里")
        await write(other, talk, D, "从那里")
        for stream in heard:
            told = [await stream.next("message") for _ in range(2)]
            assert [one.data["content"] for one in told] == ["从这里", "从那里"]
            assert stream.headers["content-type"].startswith("text/event-stream")
        assert [s.events()[1].data["mine"] for s in heard] == [True, False, True, False]


async def test_receipts_and_typing_are_heard_and_typing_has_no_id(
    here: FastAPI, context: Context, other: Context, talk: Conversation
) -> None:
    await talk.write(P, "x")
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        async with client_of(other) as client:
            headers = talk.doctors(context)
            await client.post(f"{talk.path}/messages/read", headers=headers, json={"upTo": 1})
            read = await stream.next("read")
            await client.post(f"{talk.path}/typing", headers=headers)
            typing = await stream.next("typing")
    assert read.data == {"patient": 0, "doctor": 1}
    assert (typing.data, typing.id) == ({"side": "doctor"}, None)


async def test_a_listener_goes_on_in_another_process_where_it_was(
    here: FastAPI, context: Context, other: Context, talk: Conversation
) -> None:
    headers = talk.patients(context)
    async with listening(here, f"{talk.path}/events", headers) as stream:
        await stream.next("status")
        await write(context, talk, D, "1")
        await write(context, talk, D, "2")
        last = await stream.next("message")
    await write(context, talk, D, "3")
    assert last.id is not None
    resumed = {**headers, "Last-Event-ID": last.id}
    async with listening(create_app(other), f"{talk.path}/events", resumed) as stream:
        found = [(await stream.next("message")).data["seq"] for _ in range(2)]
        assert found == [2, 3]
        assert [told.event for told in stream.events()] == ["message", "message"]
    path = f"{talk.path}/events"
    async with listening(here, path, headers, lastEventId="2") as stream:
        assert (await stream.next("message")).data["seq"] == 3
    async with listening(here, path, headers) as stream:
        assert [(await stream.next("message")).data["seq"] for _ in range(3)] == [1, 2, 3]


async def test_what_was_heard_with_its_id_is_not_heard_again(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    await talk.write(P, "x")
    headers = talk.patients(context)
    async with listening(here, f"{talk.path}/events", headers) as stream:
        status = await stream.next("status")
    assert status.id == "1.2.0.0"
    resumed = {**headers, "Last-Event-ID": status.id}
    async with listening(here, f"{talk.path}/events", resumed) as stream:
        await write(context, talk, D, "news")
        assert (await stream.next()).data["seq"] == 2


async def test_nothing_is_lost_or_twice_while_many_come_and_go(
    here: FastAPI, context: Context, other: Context, talk: Conversation
) -> None:
    apps, heard, most = [here, create_app(other)], [], 60

    async def listen() -> None:
        cursor = ""
        turn = 0
        while len(heard) < most:
            query = {"lastEventId": cursor} if cursor else {}
            app, turn = apps[turn % 2], turn + 1
            path = f"{talk.path}/events"
            async with listening(app, path, talk.patients(context), **query) as stream:
                for _ in range(7):
                    told = await stream.next("message")
                    heard.append(told.data["seq"])
                    cursor = told.id or ""
                    if len(heard) == most:
                        return

    async def write_many(side: Side, through: Context) -> None:
        for n in range(most // 2):
            await write(through, talk, side, str(n))

    await asyncio.gather(listen(), write_many(P, context), write_many(D, other))
    assert heard == list(range(1, most + 1))


async def test_a_slow_listener_holds_little_and_misses_nothing(
    here: FastAPI, context: Context, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BEHIND", 4)
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        stream.takes.clear()
        async with listening(here, f"{talk.path}/events", talk.doctors(context)) as quick:
            for n in range(20):
                await write(context, talk, D, str(n))
                assert (await quick.next("message")).data["seq"] == n + 1
        [slow] = context.streams._listeners()
        assert len(slow._waiting) <= 4
        stream.takes.set()
        heard = [(await stream.next("message")).data["seq"] for _ in range(20)]
    assert heard == list(range(1, 21))


async def test_a_ring_that_was_lost_is_made_good(
    here: FastAPI, context: Context, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        await talk.write(D, "nobody rang")
        context.streams._ring_here((talk.order_no,))  # as the slow look does
        assert (await stream.next("message")).data["content"] == "nobody rang"


async def test_what_happened_while_nobody_listened_to_postgres_is_made_good(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        ended = """select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where query ilike 'listen%' and datname = current_database()"""
        for _ in range(100):
            async with context.engine.connect() as connection:
                if await connection.scalar(text(ended)):
                    break
            await asyncio.sleep(0.05)
        await talk.write(D, "meanwhile")
        assert (await stream.next("message")).data["content"] == "meanwhile"


# Its end


async def test_it_ends_with_the_consultation_after_telling_so(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    headers = talk.patients(context)
    async with listening(here, f"{talk.path}/events", headers) as stream:
        await stream.next("status")
        await write(context, talk, D, "last word")
        await talk.becomes(status=ConsultationStatus.COMPLETED)
        events = await stream.until_ended()
    assert [told.event for told in events] == ["status", "message", "status"]
    assert events[-1].data["status"] == "completed"
    async with listening(here, f"{talk.path}/events", headers) as stream:
        late = await stream.until_ended()
    assert [told.event for told in late] == ["message", "status"]
    resumed = {**headers, "Last-Event-ID": late[-1].id or ""}
    async with listening(here, f"{talk.path}/events", resumed) as stream:
        await stream.until_ended()
        assert stream.status == 204


async def test_a_doctor_whose_case_it_no_longer_is_hears_nothing_more(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.doctors(context)) as stream:
        await stream.next("status")
        await talk.becomes(doctor_id=await talk.clinic.another_doctor())
        await write(context, talk, P, "not for the first doctor")
        events = await stream.until_ended()
    assert [told.event for told in events] == ["status"]


async def test_a_login_that_ended_ends_its_streams(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        context.revocations.end(1)
        await stream.until_ended()


async def test_it_ends_with_its_process(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        context.streams.close()
        await stream.until_ended()
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.until_ended()
        assert stream.status == 429


async def test_who_goes_away_is_forgotten(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        assert context.streams.open == 1
    assert (context.streams.open, context.streams._rooms) == (0, {})


async def test_one_account_has_a_few_streams_of_an_order(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with AsyncExitStack() as stack:
        headers = talk.patients(context)
        for _ in range(5):
            stream = await stack.enter_async_context(
                listening(here, f"{talk.path}/events", headers)
            )
            await stream.next("status")
        async with listening(here, f"{talk.path}/events", headers) as sixth:
            await sixth.until_ended()
            assert (sixth.status, sixth.document()["code"]) == (429, "too_many_requests")


async def test_streams_hold_no_connection(
    database_url: str, keyring: Keyring, talk: Conversation
) -> None:
    context = await make_context(database_url, keyring)
    async with process(context) as app, AsyncExitStack() as stack:
        for who in (talk.patients(context), talk.doctors(context)):
            for _ in range(5):
                stream = await stack.enter_async_context(listening(app, f"{talk.path}/events", who))
                await stream.next("status")
        pool = context.engine.pool
        assert pool.checkedout() == 0  # type: ignore[attr-defined]
    await context.engine.dispose()


# Who may come


async def test_a_ticket_opens_events_and_nothing_else(
    here: FastAPI, context: Context, client: httpx.AsyncClient, talk: Conversation
) -> None:
    ticket = (await client.post("/events/ticket", headers=talk.patients(context))).json()["ticket"]
    async with listening(here, f"{talk.path}/events", ticket=ticket) as stream:
        await stream.next("status")
    bearer = {"Authorization": f"Bearer {ticket}"}
    answer = await client.get(f"{talk.path}/messages", headers=bearer)
    assert refused(answer) == (401, "not_authenticated")
    answer = await client.get(f"/files/1?expires=1&signature={ticket}")
    assert refused(answer) == (401, "bad_signature")
    another = await Conversation.begun(talk.clinic, number=1)
    answer = await client.get(f"{another.path}/events?ticket={ticket}")
    assert refused(answer) == (404, "not_found")
    assert refused(await client.post("/events/ticket")) == (401, "not_authenticated")


async def test_a_ticket_runs_out_and_ends_with_its_login(
    context: Context, client: httpx.AsyncClient, talk: Conversation
) -> None:
    caller = Caller(talk.account, 1, 1, frozenset({Role.PATIENT}))
    past = context.passes.issue(caller, "events", timedelta(seconds=-1)).token
    of_a_file = context.passes.issue(caller, "file/1", timedelta(minutes=1)).token
    for token, code in (
        (past, "link_expired"),
        (of_a_file, "bad_signature"),
        ("x", "bad_signature"),
    ):
        answer = await client.get(f"{talk.path}/events?ticket={token}")
        assert refused(answer) == (401, code)
    good = context.passes.issue(caller, "events", timedelta(minutes=1)).token
    context.revocations.end(1)
    answer = await client.get(f"{talk.path}/events?ticket={good}")
    assert refused(answer) == (401, "session_revoked")
    assert refused(await client.get(f"{talk.path}/events")) == (401, "not_authenticated")


async def test_an_id_that_is_none_of_ours_is_invalid(
    context: Context, client: httpx.AsyncClient, talk: Conversation
) -> None:
    for wrong in ("x", "1.2", "1.2.3.4.5", "-1", "9" * 10):
        headers = {**talk.patients(context), "Last-Event-ID": wrong}
        answer = await client.get(f"{talk.path}/events", headers=headers)
        assert refused(answer) == (422, "invalid")


async def test_a_doctors_listening_leaves_a_trace(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    for headers in (talk.patients(context), talk.doctors(context)):
        async with listening(here, f"{talk.path}/events", headers) as stream:
            await stream.next("status")
    traces = "select actor_id from access_log where action = 'listen'"
    assert await talk.clinic.ids(traces) == [talk.doctor_account]


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = Cursor(12, 3, 10, 12)
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(str(Cursor())) == Cursor()
    assert Cursor.parse("7") == replace(Cursor(), seq=7)
