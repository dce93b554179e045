"""Messages: in one order, sealed, counted, read."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.conversation import find_talk, mark_read, messages_after, news_of, readings_of, unread
from db.conversation.news import MOST
from db.keyring import Keyring
from domain.consultation import ConsultationType
from domain.conversation import Cursor, Side
from tests.support.booking import Clinic
from tests.support.talks import Conversation

pytestmark = pytest.mark.anyio
P, D = Side.PATIENT, Side.DOCTOR


@pytest.fixture
async def talk(engine: AsyncEngine, keyring: Keyring) -> Conversation:
    return await Conversation.begun(await Clinic.opened(engine, keyring))


async def test_two_sides_that_write_at_once_leave_no_gap(talk: Conversation) -> None:
    numbers = await asyncio.gather(
        *(talk.write(side, f"{side} {n}") for n in range(15) for side in Side)
    )
    assert sorted(numbers) == list(range(1, 31))
    async with talk.clinic.engine.connect() as connection:
        found = await messages_after(connection, talk.clinic.keyring, talk.order_no, 0, 100)
    assert [message.seq for message in found] == list(range(1, 31))
    assert [message.created_at for message in found] == sorted(m.created_at for m in found)


async def test_who_sees_a_message_sees_all_before_it(talk: Conversation) -> None:
    seen: list[list[int]] = []
    writing = asyncio.gather(*(talk.write(P, str(n)) for n in range(20)))
    while not writing.done():
        async with talk.clinic.engine.connect() as connection:
            found = await messages_after(connection, talk.clinic.keyring, talk.order_no, 0, 100)
        seen.append([message.seq for message in found])
    await writing
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)


async def test_what_was_written_lies_sealed_and_goes_with_the_person(talk: Conversation) -> None:
    await talk.write(P, "头痛三天")
    sealed = await talk.clinic.value("select sealed from consultation_message")
    assert "头痛".encode() not in sealed
    async with talk.clinic.engine.begin() as connection:
        await connection.execute(
            text(
                """update data_key set wrapped = null
                    where id = (select data_key_id from patient where id = :id)"""
            ),
            {"id": talk.patient},
        )
        [found] = await messages_after(connection, talk.clinic.keyring, talk.order_no, 0, 10)
    assert (found.seq, found.content) == (1, None)


@pytest.mark.parametrize(
    "change", ["update consultation_message set seq = 9", "delete from consultation_message"]
)
async def test_messages_are_only_ever_added(talk: Conversation, change: str) -> None:
    await talk.write(P, "x")
    with pytest.raises(DBAPIError, match="append-only"):
        async with talk.clinic.engine.begin() as connection:
            await connection.execute(text(change))


async def test_the_doctors_first_word_is_told_to_the_workflow_once(talk: Conversation) -> None:
    await talk.write(P, "first")
    assert await talk.clinic.value("select answered_at from consultation") is None
    await asyncio.gather(*(talk.write(D, str(n)) for n in range(5)))
    answered = await talk.clinic.value("select answered_at from consultation")
    assert answered is not None
    promises = await talk.clinic.ids("select workflow || '/' || signal from outbox")
    assert promises == ["consultation/answered"]
    await talk.write(D, "later")
    assert await talk.clinic.value("select answered_at from consultation") == answered


async def test_after_a_switch_a_word_is_owed_and_told_anew(talk: Conversation) -> None:
    await talk.write(D, "one moment")
    await talk.becomes("switch", switched_to=ConsultationType.PHONE, answered=True)  # they had met
    assert await talk.clinic.value("select answered_at from consultation") is not None
    await talk.becomes("switch", switched_to=ConsultationType.TEXT, answered=False)
    assert await talk.clinic.value("select answered_at from consultation") is None
    await talk.write(D, "now by text")
    assert await talk.clinic.value("select answered_at from consultation") is not None
    promises = await talk.clinic.ids("select workflow || '/' || signal from outbox")
    assert promises == ["consultation/answered", "consultation/answered"]


async def test_a_word_between_a_switch_and_its_row_counts(talk: Conversation) -> None:
    switched_at = datetime.now(UTC)
    await talk.write(D, "before the row told of it")
    await talk.becomes("switch", at=switched_at, switched_to=ConsultationType.TEXT, answered=False)
    assert await talk.clinic.value("select answered_at from consultation") is not None


async def test_reading_goes_forward_and_never_beyond_the_end(talk: Conversation) -> None:
    for n in range(3):
        await talk.write(P, str(n))

    async def read(up_to: int) -> tuple[bool, int]:
        async with talk.clinic.engine.begin() as connection:
            news = await mark_read(connection, talk.order_no, D, talk.doctor_account, up_to)
            return news, (await readings_of(connection, talk.order_no))[D]

    assert await read(0) == (True, 0)
    assert await read(2) == (True, 2)
    assert await read(1) == (False, 2)
    assert await read(99) == (True, 3)
    assert await read(99) == (False, 3)


async def test_only_the_other_sides_messages_are_unread(talk: Conversation) -> None:
    another = await Conversation.begun(talk.clinic, number=1)
    for side in (P, P, D):
        await talk.write(side, "x")
    both = [talk.order_no, another.order_no]

    async def counted(side: Side) -> list[int]:
        async with talk.clinic.engine.connect() as connection:
            found = await unread(connection, both, side)
        return [found[order_no] for order_no in both]

    assert (await counted(D), await counted(P)) == ([2, 0], [1, 0])
    async with talk.clinic.engine.begin() as connection:
        await mark_read(connection, talk.order_no, D, talk.doctor_account, 1)
    assert (await counted(D), await counted(P)) == ([1, 0], [1, 0])
    async with talk.clinic.engine.connect() as connection:
        assert await unread(connection, [], D) == {}


async def test_news_come_in_parts_and_of_each_order_its_own(talk: Conversation) -> None:
    another = await Conversation.begun(talk.clinic, number=1)
    for n in range(MOST + 2):
        await talk.write(P, str(n))
    await another.write(D, "here")
    async with talk.clinic.engine.connect() as connection:
        found = await news_of(
            connection, talk.clinic.keyring, {talk.order_no: 0, another.order_no: 0, "none": 0}
        )
        rest = await news_of(connection, talk.clinic.keyring, {talk.order_no: MOST})
    assert found.keys() == {talk.order_no, another.order_no}
    assert (len(found[talk.order_no].messages), found[talk.order_no].more) == (MOST, True)
    assert [m.content for m in found[another.order_no].messages] == ["here"]
    assert (len(rest[talk.order_no].messages), rest[talk.order_no].more) == (2, False)


@pytest.mark.parametrize(("written", "more"), [(1, False), (2, False), (3, True)])
async def test_a_full_part_knows_whether_another_follows(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch, written: int, more: bool
) -> None:
    monkeypatch.setattr("db.conversation.news.MOST", 2)
    for n in range(written):
        await talk.write(P, str(n))
    async with talk.clinic.engine.connect() as connection:
        found = await news_of(connection, talk.clinic.keyring, {talk.order_no: 0})
        beyond = await news_of(connection, talk.clinic.keyring, {talk.order_no: 99})
    news, none = found[talk.order_no], beyond[talk.order_no]
    assert (len(news.messages), news.more) == (min(written, 2), more)
    here = Cursor(2, 1) if more else Cursor(written, 2)
    assert news.cursor(Cursor(0, 1)) == here, "the head is had after the last part"
    assert (none.messages, none.more, none.cursor(Cursor(99))) == ((), False, Cursor(written, 2))


async def test_no_message_is_newer_than_what_says_whom_it_concerns(talk: Conversation) -> None:
    await talk.write(P, "to the first doctor")
    another = await talk.clinic.another_doctor()

    class Interrupted:
        """A new doctor, and a message to them, between the first statement and the second."""

        def __init__(self, connection: AsyncConnection) -> None:
            self.connection, self.executed = connection, 0

        async def execute(self, *statement: Any) -> Any:
            self.executed += 1
            if self.executed == 2:
                await talk.becomes(doctor_id=another)
                await talk.write(P, "to the second")
            return await self.connection.execute(*statement)

    async with talk.clinic.engine.connect() as connection:
        interrupted: Any = Interrupted(connection)
        news = (await news_of(interrupted, talk.clinic.keyring, {talk.order_no: 0}))[talk.order_no]
    assert (interrupted.executed, news.head.doctor_id) == (2, talk.doctor)
    assert [message.content for message in news.messages] == ["to the first doctor"]


async def test_another_hospitals_conversation_is_not_found(talk: Conversation) -> None:
    async with talk.clinic.engine.connect() as connection:
        assert await find_talk(connection, 2, talk.id) is None
        assert await find_talk(connection, 1, talk.id + 1) is None
