"""The bench: right arithmetic, no target but this machine's, and a look at what it has done."""

import argparse
import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from api.fields import to_id_card
from cli import bench as command
from cli.bench import stage
from cli.bench.booking import bookable_days, measure, prepare
from cli.bench.cases import Bench, Plan
from cli.bench.figures import Figures, percentile, row
from cli.bench.load import Outcome, burst, request
from cli.bench.target import BenchError, Target, database_of, find_target
from db.catalogue import load_config
from db.keyring import Keyring, create_keyring
from domain.account import person_refusal
from tests.support.api import a_client, close_context, hospital_config, make_context
from tests.support.gateway import serve

pytestmark = pytest.mark.anyio

LOCAL = "postgresql://postgres@/hospital?host=%2Frun%2Fhospital"


# Arithmetic


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1, 100), (0.001, 1), (0, 1)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile(range(1, 101), share) == value


def test_of_few_values_the_high_percentiles_are_the_slowest() -> None:
    assert percentile([1.0, 2.0, 9.0], 0.99) == 9.0
    assert percentile([7.0], 0.5) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_errors_count_neither_as_speed_nor_as_latency() -> None:
    outcome = Outcome(seconds=2.0, latencies=[0.001] * 10)
    outcome.errors["503 unavailable"] += 30
    figures = Figures.of("hot", 16, outcome, lost=0, oversold=0)
    assert (figures.requests, figures.per_second, figures.p99) == (40, 5.0, 1.0)
    assert not figures.sound
    assert figures.as_json()["errors"] == {"503 unavailable": 30}


@pytest.mark.parametrize("wrong", [{"lost": 1}, {"oversold": 1}, {"in_time": False}])
def test_a_run_that_does_not_add_up_is_not_sound(wrong: dict[str, int]) -> None:
    outcome = Outcome(seconds=1.0, latencies=[0.001])
    assert Figures.of("hot", 1, outcome, lost=0, oversold=0, in_time=True).sound
    assert not Figures.of("hot", 1, outcome, **wrong).sound


# Only this machine


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    create_keyring(tmp_path / "keyring.json")
    return tmp_path


def find(data_dir: Path, url: str = "http://127.0.0.1:8000", **given: str | None) -> Target:
    asked = {"database_url": LOCAL, "temporal": None} | given
    return find_target(url, data_dir=data_dir, environ={}, **asked)


def test_this_machine_is_measured(data_dir: Path) -> None:
    assert find(data_dir, "http://localhost:8100").url == "http://localhost:8100/api/hospital"
    assert find(data_dir, "http://[::1]:8100").port == 8100
    target = find(data_dir, database_url="postgresql://h@127.0.0.1:5432/h", temporal="[::1]:7233")
    assert target.settings.temporal.address == "[::1]:7233"


@pytest.mark.parametrize(
    "url",
    [
        "http://hospital.example:8000",
        "http://192.0.2.1:8000",
        "http://127.0.0.1.hospital.example",
        "https://127.0.0.1",
        "127.0.0.1:8000",
        "http://127.0.0.1:port",
    ],
)
def test_no_other_address_is(data_dir: Path, url: str) -> None:
    with pytest.raises(BenchError):
        find(data_dir, url)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"database_url": "postgresql://db.hospital.example/hospital"},
        {"database_url": "postgresql://localhost,192.0.2.1/hospital"},
        {"database_url": "postgresql:///hospital?hostaddr=192.0.2.1"},
        {"database_url": "mysql://127.0.0.1/hospital"},
        {"temporal": "temporal.hospital.example:7233"},
    ],
)
def test_nor_a_database_or_temporal_elsewhere(data_dir: Path, elsewhere: dict[str, str]) -> None:
    with pytest.raises(BenchError):
        find(data_dir, **elsewhere)


def test_the_database_of_a_running_house_is_found_where_its_socket_is(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no `up` is running"):
        database_of(tmp_path)
    lines = ["4711", str(tmp_path), "1700000000", "5432", "/tmp/somewhere else", ""]
    (tmp_path / "postmaster.pid").write_text("\n".join(lines))
    assert database_of(tmp_path) == "postgresql://postgres@/hospital?host=%2Ftmp%2Fsomewhere%20else"


@pytest.mark.parametrize(
    "words", [["nothing"], ["booking", "--clients", "0"], ["booking", "--cases", "cold"]]
)
def test_wrong_words_are_refused(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)


def test_more_bursts_than_days_are_refused(data_dir: Path) -> None:
    with pytest.raises(BenchError, match="room for 5"):
        bookable_days(find(data_dir), Plan((1,) * 6, 10, 10, 10, ("distinct", "hot")))


# The load


Answer = Callable[[bytes], bytes | None]


@contextlib.asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[int, list[int]]]:
    """Its port, and how many requests each connection has brought."""
    connections: list[int] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(0)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                connections[number] += 1
                said = answer(head)
                if said is None:
                    break
                writer.write(said[:20])  # in two pieces, as networks like to do
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(said[20:])
        writer.close()

    listening = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], connections


def ok(_head: bytes) -> bytes:
    return b'HTTP/1.1 201 Created\r\nContent-Length: 12\r\n\r\n{"id": 4711}'


def judge(status: int, body: bytes) -> str | None:
    return None if (status, body) == (201, b'{"id": 4711}') else str(status)


WANTED = request("GET", "127.0.0.1", "/")


async def test_each_client_asks_again_on_its_own_connection() -> None:
    async with server(ok) as (port, connections):
        outcome = await burst("127.0.0.1", port, [WANTED] * 50, clients=4, seconds=5, judge=judge)
    assert len(connections) == 4
    assert sum(connections) == len(outcome.latencies) == 50
    assert not outcome.errors
    assert outcome.seconds > 0
    assert min(outcome.latencies) > 0


async def test_wrong_answers_and_broken_connections_are_counted() -> None:
    answers = iter([ok(b""), b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n", None])
    async with server(lambda _head: next(answers)) as (port, _):
        outcome = await burst("127.0.0.1", port, [WANTED] * 9, clients=1, seconds=5, judge=judge)
    assert len(outcome.latencies) == 1
    assert outcome.errors == {"503": 1, "connection_lost": 1}


async def test_a_burst_is_over_when_its_time_is() -> None:
    async with server(ok) as (port, _):
        outcome = await burst("127.0.0.1", port, [WANTED] * 9, clients=1, seconds=0, judge=judge)
    assert outcome.answers == 0


# On a real application


@pytest.fixture
async def bench(
    engine: AsyncEngine, database_url: str, keyring: Keyring, data_dir: Path
) -> AsyncIterator[Bench]:
    """Of a running API whose Temporal is away."""
    async with engine.begin() as connection:
        await load_config(connection, hospital_config())
    context = await make_context(database_url, keyring)
    plan = Plan((2,), 60, 20, 0, ("distinct", "hot", "full", "listing"))
    async with serve(create_app(context)) as url:
        found = find(data_dir, url, database_url=database_url)
        target = Target(found.host, found.port, found.settings, hospital_config(), keyring)
        client = await a_client(keyring)
        yield Bench(target, plan, engine, client, bookable_days(target, plan))
    await close_context(context)


async def test_every_case_is_measured_and_adds_up(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await prepare(bench)
    distinct, hot, full, listing = await measure(bench)
    said = capsys.readouterr().out
    for figures in (distinct, hot, full, listing):
        assert figures.errors == {}
        assert figures.requests == 60
        assert row(figures) in said
    for booked in (distinct, hot):
        assert (booked.lost, booked.oversold) == (0, 0)
        assert booked.in_time is False  # nobody relays here, and the bench says so
        assert not booked.sound
    assert full.sound
    assert listing.sound


async def test_the_next_run_books_for_others_while_orders_are_open(
    bench: Bench, engine: AsyncEngine
) -> None:
    bench.plan = replace(bench.plan, cases=("hot",))
    await prepare(bench)
    await measure(bench)
    first = {person.id for person in bench.persons}
    await prepare(bench)
    assert first.isdisjoint(person.id for person in bench.persons)
    async with engine.begin() as connection:
        await connection.execute(text("update appointment set status = 'cancelled'"))
    await prepare(bench)
    assert {person.id for person in bench.persons} == first


async def test_what_was_sold_twice_is_found(bench: Bench, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        _, slots = await stage.make_slots(
            connection, bench.target.config, bench.days[:1], slots=3, sources=4
        )
        counted = {"slots": slots}
        assert (await connection.execute(stage.OVERSOLD, counted)).scalar() == 0
        await connection.execute(
            text("update schedule set used_sources = 1 where id = :id"), {"id": slots[0]}
        )
        await connection.execute(
            text("update source set order_no = 'A1' where schedule_id = :id and number = 1"),
            {"id": slots[1]},
        )
        assert (await connection.execute(stage.OVERSOLD, counted)).scalar() == 2


async def test_two_benches_at_once_are_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as first, engine.connect() as second:
        await stage.ensure_alone(first)
        with pytest.raises(BenchError, match="another bench"):
            await stage.ensure_alone(second)


def test_the_invented_are_of_nobody_and_all_different() -> None:
    people = [stage.invented(number, "+8613800009000") for number in (0, 1, 19_999, 20_000, 99_999)]
    assert len({person.id_card for person in people}) == len(people)
    for person in people:
        assert to_id_card(person.id_card) == person.id_card
        assert person.id_card.startswith("990000")
        assert person_refusal(person.id_card, person.gender, date(2026, 11, 22)) is None
