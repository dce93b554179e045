"""Consultations in PostgreSQL: moves by version, and what cannot be changed."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.consultation import (
    NoteKind,
    enter_visit,
    notes_of,
    record_move,
)
from db.consultation.moves import shown_columns
from db.journal import read_timeline
from db.keyring import Keyring
from domain.consultation import ConsultationStatus as S
from domain.consultation import Reason, next_step
from domain.consultation.changes import evidence_wanted
from domain.order import Actor
from tests.support.booking import Clinic
from tests.support.consulting import TYPES, Practice

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def practice(engine: AsyncEngine, keyring: Keyring) -> Practice:
    return Practice(await Clinic.opened(engine, keyring))


@pytest.fixture
async def who(practice: Practice) -> tuple[int, int]:
    return await practice.clinic.someone()


# Moves


async def test_an_order_begins_with_a_timeline_and_the_promise_of_a_workflow(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    order = await practice.order(number)
    assert (order.status, order.version, order.payment_no) == ("pending", 0, None)
    assert (order.next_step, order.waiting_for) == ("close_unpaid", "payment")
    assert (order.due_at, order.doctor_name) == (order.pay_by, "示例医生")
    assert await timeline(practice, number) == [(0, "ordered", "pending")]
    promised = "select concat_ws(' ', workflow, subject, signal) from outbox"
    assert await practice.clinic.value(promised) == f"consultation {number}"


async def timeline(practice: Practice, number: str) -> list[tuple[int, str, str]]:
    async with practice.clinic.engine.connect() as connection:
        moves = await read_timeline(connection, number)
    return [(move.version, move.event, move.to_status) for move in moves]


async def test_a_move_writes_the_row_and_the_timeline(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    await practice.pay(number, NOW)
    assert await practice.move(
        number, "accept", at=NOW + HOUR, by=Actor("doctor", 12), status=S.CONSULTING,
        begins_at=NOW + HOUR, window_ends=NOW + 49 * HOUR,
    )  # fmt: skip
    order = await practice.order(number)
    assert (order.status, order.version, order.payment_no) == ("consulting", 2, "P1")
    assert (order.paid_at, order.started_at, order.ended_at) == (NOW, NOW + HOUR, None)
    assert order.window_ends == NOW + 49 * HOUR
    assert await timeline(practice, number) == [
        (0, "ordered", "pending"), (1, "paid", "pending"), (2, "accept", "consulting"),
    ]  # fmt: skip


async def test_an_older_move_changes_nothing_but_is_in_the_timeline(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    late = await practice.a_move(number, "paid", payment_no="P1", paid_at=NOW, accept_by=NOW)
    assert await practice.move(
        number, "cancel", at=NOW, version=2, status=S.CANCELLED, reason=Reason.PATIENT
    )
    before = await practice.order(number)
    assert not await practice.write(late)
    assert await practice.order(number) == before
    assert (before.status, before.payment_no, before.ended_at) == ("cancelled", None, NOW)
    assert [version for version, _, _ in await timeline(practice, number)] == [0, 1, 2]


async def test_a_repeated_move_is_written_once(practice: Practice, who: tuple[int, int]) -> None:
    number = await practice.ask(who)
    move = await practice.a_move(number, "extend", pay_by=NOW + 5 * HOUR)
    at_once = await asyncio.gather(*(practice.write(move) for _ in range(4)))
    assert sorted(at_once) == [False, False, False, True]
    assert len(await timeline(practice, number)) == 2


async def test_a_dead_activity_leaves_nothing_half_written(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    move = await practice.a_move(number, "cancel", status=S.CANCELLED)
    async with practice.clinic.engine.connect() as connection:  # which rolls back
        await record_move(connection, move)
    assert (await practice.order(number)).status == "pending"
    assert len(await timeline(practice, number)) == 1


async def test_the_columns_that_queries_look_at_agree_with_what_is_next(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)

    async def agrees() -> str:
        order, (case, progress) = await practice.order(number), await practice.start(number)
        due = next_step(case, progress)
        shown = (order.due_at, order.next_step, order.waiting_for)
        assert shown == (due.at, due.step, due.waiting_for)
        for name, value in shown_columns(case, progress).items():
            assert getattr(order, name) == value, name
        return due.step

    steps = [await agrees()]
    await practice.pay(number, NOW)
    steps.append(await agrees())
    case, progress = await practice.start(number)
    await practice.move(number, "ask_evidence", **evidence_wanted(case, progress, NOW + HOUR))
    steps.append(await agrees())
    await practice.move(number, "give_evidence", evidence_by=None)
    await practice.accept(number, NOW)
    steps.append(await agrees())
    assert steps == ["close_unpaid", "remind_doctor", "give_up_evidence", "end_window"]
    await practice.move(number, "window_over", status=S.REFUNDED)
    order = await practice.order(number)
    assert (order.due_at, order.next_step, order.waiting_for) == (None, None, None)


async def test_a_workflow_begins_with_all_that_its_row_keeps(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who, TYPES.PHONE, scheduled_at=NOW + 3 * HOUR, judged=True)
    await practice.pay(number, NOW)
    await practice.accept(number, NOW)
    at = NOW + 3 * HOUR
    more = {"calls": 2, "calling_until": at, "left_at": at, "time_to_accept": HOUR, "rung": (3, 4)}
    await practice.move(number, "call", **more)
    case, progress = await practice.start(number)
    assert {name: getattr(progress, name) for name in more} == more
    assert (case.scheduled_at, case.judged, case.terms.redials) == (at, True, 2)
    assert (progress.version, progress.begins_at) == (3, at)


@pytest.mark.parametrize(
    ("event", "kept"), [("complete", True), ("unsuitable", True), ("decline", False)]
)
async def test_what_ended_it_is_its_conclusion_and_other_notes_are_not(
    practice: Practice, who: tuple[int, int], event: str, kept: bool
) -> None:
    number = await practice.ask(who)
    note = await practice.note(who, number)
    await practice.move(number, event, at=NOW, note_id=note, status=S.REFUNDED)
    order = await practice.order(number)
    assert (order.conclusion is not None) == kept
    assert order.conclusion_kind == ("conclusion" if kept else None)
    assert order.ended_at == NOW


async def test_what_was_written_with_a_refused_command_is_nobodys_to_read(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    await practice.note(who, number, NoteKind.CONCLUSION)  # another was faster
    kept = await practice.note(who, number, NoteKind.JUDGEMENT)
    await practice.move(number, "accept", note_id=kept)
    async with practice.clinic.engine.connect() as connection:
        notes = await notes_of(connection, number)
        assert [(note.id, note.kind) for note in notes] == [(kept, NoteKind.JUDGEMENT)]


# The health record


async def enter(practice: Practice, number: str, sealed: bytes = b"sealed") -> None:
    async with practice.clinic.engine.begin() as connection:
        await enter_visit(connection, number, sealed)


async def test_a_visit_enters_the_record_once(practice: Practice, who: tuple[int, int]) -> None:
    number = await practice.completed(who)
    await asyncio.gather(*(enter(practice, number, bytes([n])) for n in range(3)))
    row = """select concat_ws(' ', count(*), min(type), min(patient_id), min(doctor_id),
                              min(department_id)) from health_record"""
    assert await practice.clinic.value(row) == f"1 visit {who[1]} {practice.clinic.doctor} 11"


async def test_a_visit_is_of_the_hospitals_day(practice: Practice, who: tuple[int, int]) -> None:
    at = datetime(2026, 11, 22, 22, 30, tzinfo=UTC)  # half past six the next morning in Shanghai
    await enter(practice, await practice.completed(who, at))
    day = await practice.clinic.value("select record_date from health_record")
    assert day == date(2026, 11, 23)


@pytest.mark.parametrize("table", ["health_record", "consultation_note"])
async def test_record_and_notes_can_be_neither_changed_nor_taken_away(
    practice: Practice, who: tuple[int, int], table: str
) -> None:
    number = await practice.completed(who)
    await practice.note(who, number)
    await enter(practice, number)
    for attack in (f"update {table} set sealed = ''", f"delete from {table}",
                   f"truncate {table} cascade"):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            await practice.clinic.run(attack)
    assert await practice.clinic.value(f"select count(*) from {table}") == 1
