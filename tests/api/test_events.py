"""Live conversations: nothing lost, nothing twice, across processes and after any break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from api import listeners, streams
from api.app import create_app
from api.context import Context
from api.streams import BEAT, LOOK
from db.conversation import mark_read, news_of
from db.keyring import Keyring, UnknownKey
from domain.access import Caller, Role
from domain.consultation import ConsultationStatus
from domain.conversation import Cursor, Side
from runtime.background import running
from tests.support.api import as_caller, client_to, close_context, make_context, refused
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
async def there(database_url: str, keyring: Keyring) -> AsyncIterator[FastAPI]:
    """Another process on the same database."""
    context = await make_context(database_url, keyring)
    async with process(context) as app:
        yield app
    await close_context(context)


async def write(app: FastAPI, talk: Conversation, side: Side, content: str) -> None:
    headers = (talk.patients if side is P else talk.doctors)(app.state.context)
    async with client_to(app) as client:
        body = {"content": content, "type": "text"}
        answer = await client.post(f"{talk.path}/messages", headers=headers, json=body)
    assert answer.status_code == 201, answer.text


def messages(events: list[Told]) -> list[int]:
    return [told.data["seq"] for told in events if told.event == "message"]


async def shown(told: AsyncIterator[listeners.Heard]) -> list[int]:
    """The numbers of the messages among it, until it ends."""
    return [heard.message.seq async for heard in told if heard.message]


@dataclass
class SlowRead:
    """A reading of news that has read, and answers only when it may."""

    has_read: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def news_of(self, *asked: Any) -> Any:
        found = await news_of(*asked)
        if not self.has_read.is_set():
            self.has_read.set()
            await self.may_answer.wait()
        return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], SlowRead]:
    """The next reading of news is slow."""

    def begin() -> SlowRead:
        reading = SlowRead()
        monkeypatch.setattr(streams, "news_of", reading.news_of)
        return reading

    return begin


async def test_a_message_is_heard_by_both_sides_in_every_process(
    here: FastAPI, context: Context, there: FastAPI, talk: Conversation
) -> None:
    async with AsyncExitStack() as stack:
        heard = [
            await stack.enter_async_context(listening(app, f"{talk.path}/events", headers))
            for app in (here, there)
            for headers in (talk.patients(context), talk.doctors(context))
        ]
        for stream in heard:
            first = await stream.next()
            assert (first.event, first.data["status"]) == ("status", "consulting")
        await write(here, talk, P, "从这里")
        await write(there, talk, D, "从那里")
        for stream in heard:
            told = [await stream.next("message") for _ in range(2)]
            assert [one.data["content"] for one in told] == ["从这里", "从那里"]
            assert stream.headers["content-type"].startswith("text/event-stream")
        assert [s.events()[1].data["mine"] for s in heard] == [True, False, True, False]


async def test_receipts_and_typing_are_heard_and_typing_has_no_id(
    here: FastAPI, context: Context, there: FastAPI, talk: Conversation
) -> None:
    await talk.write(P, "x")
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        async with client_to(there) as client:
            headers = talk.doctors(context)
            await client.post(f"{talk.path}/messages/read", headers=headers, json={"upTo": 1})
            read = await stream.next("read")
            await client.post(f"{talk.path}/typing", headers=headers)
            typing = await stream.next("typing")
    assert read.data == {"patient": 0, "doctor": 1}
    assert (typing.data, typing.id) == ({"side": "doctor"}, None)


async def test_a_listener_goes_on_in_another_process_where_it_was(
    here: FastAPI, context: Context, there: FastAPI, talk: Conversation
) -> None:
    headers = talk.patients(context)
    async with listening(here, f"{talk.path}/events", headers) as stream:
        await stream.next("status")
        await write(here, talk, D, "1")
        await write(here, talk, D, "2")
        last = await stream.next("message")
    await write(here, talk, D, "3")
    assert last.id is not None
    resumed = {**headers, "Last-Event-ID": last.id}
    async with listening(there, f"{talk.path}/events", resumed) as stream:
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
        await write(here, talk, D, "news")
        assert (await stream.next()).data["seq"] == 2


async def test_nothing_is_lost_or_twice_while_many_come_and_go(
    here: FastAPI, context: Context, there: FastAPI, talk: Conversation
) -> None:
    apps, heard, most = [here, there], [], 60

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

    async def write_many(side: Side, through: FastAPI) -> None:
        for n in range(most // 2):
            await write(through, talk, side, str(n))

    await asyncio.gather(listen(), write_many(P, here), write_many(D, there))
    assert heard == list(range(1, most + 1))


async def test_a_slow_listener_holds_little_and_misses_nothing(
    here: FastAPI, context: Context, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "BEHIND", 4)
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        stream.takes.clear()
        async with listening(here, f"{talk.path}/events", talk.doctors(context)) as quick:
            for n in range(20):
                await write(here, talk, D, str(n))
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


async def test_who_joined_while_another_was_first_misses_nothing(
    here: FastAPI, context: Context, talk: Conversation, slow: Callable[[], SlowRead]
) -> None:
    path, reading = f"{talk.path}/events", slow()
    async with listening(here, path, talk.patients(context)) as patient:
        await reading.has_read.wait()
        await write(here, talk, P, "after that was read")
        async with listening(here, path, talk.doctors(context)) as doctor:
            assert (await doctor.next("message")).data["seq"] == 1
            reading.may_answer.set()
            assert (await patient.next("message")).data["seq"] == 1


@pytest.mark.parametrize("written", [3, 4, 6, 7])
async def test_what_follows_a_full_batch_is_told_with_it(
    here: FastAPI,
    context: Context,
    talk: Conversation,
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    monkeypatch.setattr("db.conversation.news.MOST", 3)
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        for n in range(written):
            await talk.write(D, str(n))
        async with context.engine.begin() as connection:
            await mark_read(connection, talk.order_no, D, talk.doctor_account, written)
        context.streams._ring_here((talk.order_no,))
        read = await stream.next("read")
        assert (read.data["doctor"], messages(stream.events())) == (
            written,
            list(range(1, written + 1)),
        )
        await talk.becomes()
        await stream.next("status")


async def test_a_ring_that_comes_while_one_is_passed_on_is_passed_on_too(
    here: FastAPI, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: asyncio.Queue[list[str]] = asyncio.Queue()
    meanwhile = ["C1"]

    async def call(_: Any, orders: list[str], **__: Any) -> None:
        passed.put_nowait(orders)
        while meanwhile:
            context.streams.ring(meanwhile.pop())

    monkeypatch.setattr(streams, "call", call)
    context.streams.ring("C1")
    async with asyncio.timeout(5):
        assert [await passed.get() for _ in range(2)] == [["C1"], ["C1"]]


async def test_an_order_that_cannot_be_read_silences_no_other(
    here: FastAPI, context: Context, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = await Conversation.begun(talk.clinic, number=1)

    async def refusing(connection: Any, keyring: Keyring, afters: dict[str, int]) -> Any:
        if broken.order_no in afters:
            raise UnknownKey("k9")
        return await news_of(connection, keyring, afters)

    caller = Caller(broken.account, 1, 1, frozenset({Role.PATIENT}))
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        with context.streams.listening(broken.order_no, caller, Cursor()) as listener:
            told = listener.told()
            assert (await anext(told)).status is not None
            monkeypatch.setattr(streams, "news_of", refusing)
            for one in (broken, talk):
                await one.write(D, "x")
            context.streams._ring_here((broken.order_no, talk.order_no))
            assert (await stream.next("message")).data["seq"] == 1
            with pytest.raises(UnknownKey):
                await anext(told)
        await write(here, talk, D, "y")
        assert (await stream.next("message")).data["seq"] == 2


# An id of which nobody knows


BEYOND = ["999999", "999999.99.999999.999999", "0.99.0.0", "0.2.999999.999999"]


@pytest.mark.parametrize("id", BEYOND)
async def test_an_id_beyond_what_exists_silences_neither_its_own_side_nor_the_other(
    here: FastAPI, context: Context, talk: Conversation, id: str
) -> None:
    path = f"{talk.path}/events"
    await talk.write(D, "1")
    async with listening(here, path, talk.patients(context), lastEventId=id) as patient:
        told = await patient.next("status")
        assert told.data["version"] == 2
        async with listening(here, path, talk.doctors(context)) as doctor:
            assert (await doctor.next("message")).data["seq"] == 1
            await write(here, talk, P, "2")
            for stream in (patient, doctor):
                while (heard := await stream.next("message")).data["seq"] < 2:
                    pass
                assert heard.id == "2.2.0.0"
            async with client_to(here) as client:
                body = {"upTo": 2}
                headers = talk.doctors(context)
                await client.post(f"{talk.path}/messages/read", headers=headers, json=body)
            for stream in (patient, doctor):
                assert (await stream.next("read")).data == {"patient": 0, "doctor": 2}
            await talk.becomes()
            for stream in (patient, doctor):
                while (await stream.next("status")).data["version"] < 3:
                    pass


async def test_a_database_that_is_restored_under_open_streams_is_heard_on(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    for n in range(3):
        await talk.write(D, str(n))
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        async with context.engine.begin() as connection:
            await connection.execute(text("set local session_replication_role = replica"))
            await connection.execute(text("delete from consultation_message where seq > 1"))
        context.streams._ring_here((talk.order_no,))  # as the slow look does
        await stream.next("status")
        await write(here, talk, D, "anew")
        assert (await stream.next("message")).data["content"] == "anew"


# Its end


async def test_it_ends_with_the_consultation_after_telling_so(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    headers = talk.patients(context)
    async with listening(here, f"{talk.path}/events", headers) as stream:
        await stream.next("status")
        await write(here, talk, D, "last word")
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


async def test_who_comes_with_an_id_beyond_the_end_hears_how_it_ended(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    await talk.write(D, "1")
    await talk.becomes(status=ConsultationStatus.COMPLETED)
    headers = {**talk.patients(context), "Last-Event-ID": "9.9.0.0"}
    async with listening(here, f"{talk.path}/events", headers) as stream:
        [told] = await stream.until_ended()
    assert (told.event, told.data["status"], told.id) == ("status", "completed", "1.3.0.0")
    headers["Last-Event-ID"] = "9.3.0.0"
    async with listening(here, f"{talk.path}/events", headers) as stream:
        await stream.until_ended()
        assert stream.status == 204


async def test_a_new_doctor_is_not_sent_away_by_what_was_read_before(
    here: FastAPI, context: Context, talk: Conversation, slow: Callable[[], SlowRead]
) -> None:
    path = f"{talk.path}/events"
    async with listening(here, path, talk.patients(context)) as patient:
        await patient.next("status")
        reading = slow()
        await write(here, talk, P, "to the first doctor")
        await reading.has_read.wait()
        another = await talk.clinic.another_doctor()
        await talk.becomes(doctor_id=another)
        headers = as_caller(context, 98, Role.DOCTOR, doctor_id=another)
        async with listening(here, path, headers) as doctor:
            await doctor.next("status")
            reading.may_answer.set()
            assert (await patient.next("status")).data["version"] == 3
            await write(here, talk, P, "to the second")
            while (await doctor.next("message")).data["seq"] < 2:
                pass
    assert messages(doctor.events()) == [1, 2]


async def test_a_doctor_whose_case_it_no_longer_is_hears_nothing_more(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.doctors(context)) as stream:
        await stream.next("status")
        await talk.becomes(doctor_id=await talk.clinic.another_doctor())
        await write(here, talk, P, "not for the first doctor")
        events = await stream.until_ended()
    assert [told.event for told in events] == ["status"]


async def test_a_login_that_ended_ends_its_streams(
    here: FastAPI, context: Context, talk: Conversation
) -> None:
    async with listening(here, f"{talk.path}/events", talk.patients(context)) as stream:
        await stream.next("status")
        context.revocations.end(1)
        await stream.until_ended()


async def test_a_login_that_ended_hears_nothing_more_of_what_was_read_for_it(
    context: Context, talk: Conversation
) -> None:
    for n in range(3):
        await talk.write(D, str(n))
    caller = Caller(talk.account, 1, 1, frozenset({Role.PATIENT}))
    with context.streams.listening(talk.order_no, caller, Cursor()) as listener:
        told = listener.told()
        first = await anext(told)
        listener.end()
        assert first.message is not None
        assert await shown(told) == []


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


async def test_everybody_hears_a_heartbeat_and_is_looked_at_in_time_while_others_go(
    context: Context,
) -> None:
    caller, turns = Caller(1, 1, 1, frozenset({Role.PATIENT})), max(BEAT, LOOK)
    with ExitStack() as stack:
        others = [ExitStack() for _ in range(turns)]
        for number, other in enumerate(others):
            other.enter_context(context.streams.listening(f"C{number}", caller, Cursor()))
        last = stack.enter_context(context.streams.listening("C", caller, Cursor()))
        for second, other in enumerate(others):
            context.streams._beat(second)
            other.close()
    assert list(last._waiting) == [None]
    assert "C" in context.streams._due


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
    await close_context(context)


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


def test_a_cursor_goes_no_further_than_what_there_is() -> None:
    there = Cursor(10, 3, 8, 9)
    for within in (there, Cursor(), Cursor(4, 2, 0, 4), Cursor(10, 3, 0, 9)):
        assert within.within(there) == within
    assert Cursor(11, 3, 8, 9).within(there) == Cursor(10)
    assert Cursor(4, 4, 0, 0).within(there) == Cursor(4)
    for read in (Cursor(4, 2, 9, 4), Cursor(4, 2, 4, 10)):
        assert read.within(there) == Cursor(4)
