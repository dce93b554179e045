"""The bench of conversations: it hears what it sends, and says when something is missing."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from cli.bench.listeners import Heard
from cli.bench.messages import TalkFigures, TalkPlan, bench_messages
from cli.bench.processes import resident, serving
from cli.bench.target import Target, find_target
from db.catalogue import load_config
from db.keyring import Keyring, create_keyring
from tests.support.api import close_context, hospital_config, make_context
from tests.support.gateway import serve

pytestmark = pytest.mark.anyio


@pytest.fixture
async def target(
    engine: AsyncEngine, database_url: str, keyring: Keyring, tmp_path: Path
) -> AsyncIterator[Target]:
    """A running API whose Temporal is away."""
    create_keyring(tmp_path / "keyring.json")
    async with engine.begin() as connection:
        await load_config(connection, hospital_config())
    context = await make_context(database_url, keyring)
    async with serve(create_app(context)) as url:
        found = find_target(
            url, data_dir=tmp_path, database_url=database_url, temporal=None, environ={}
        )
        yield Target(found.host, found.port, found.settings, hospital_config(), keyring)
        context.streams.close()
    await close_context(context)


async def test_everything_that_is_sent_is_heard(
    target: Target, engine: AsyncEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    assert await bench_messages(target, TalkPlan(streams=6, rate=20, seconds=1), file) == 0
    said = capsys.readouterr().out
    assert "6 of 6 streams stayed open" in said
    assert "70 messages" in said
    assert "Lost 0, twice 0, out of order 0, errors 0." in said
    assert '"lost": 0' in await asyncio.to_thread(file.read_text)
    async with engine.connect() as connection:
        left = await connection.scalar(
            text("select count(*) from consultation where status = 'consulting'")
        )
        promised = await connection.scalar(text("select count(*) from outbox"))
    assert (left, promised) == (0, 0), "closed again, and no workflow was asked for"


def test_what_was_lost_twice_or_out_of_order_is_told() -> None:
    assert Heard([1, 2, 3]).faults(3) == (0, 0, 0)
    assert Heard([1, 3]).faults(4) == (2, 0, 0)
    assert Heard([1, 2, 2, 3]).faults(3) == (0, 1, 0)
    assert Heard([2, 1, 3]).faults(3) == (0, 0, 1)


@pytest.mark.parametrize(
    "wrong", [{"lost": 1}, {"twice": 1}, {"out_of_order": 1}, {"errors": {"503": 1}}, {"open": 9}]
)
def test_a_run_with_faults_is_not_sound(wrong: dict[str, int]) -> None:
    good = {
        "streams": 10, "open": 10, "opened_in": 1.0, "messages": 5, "per_second": 1.0, "p50": 1.0,
        "p95": 1.0, "p99": 1.0, "answered_p50": 1.0, "lost": 0, "twice": 0, "out_of_order": 0,
        "errors": {}, "processes": 1, "memory_before": 1.0, "memory": 1.0, "generator": 0.1,
    }  # fmt: skip
    assert TalkFigures(**good).sound  # type: ignore[arg-type]
    assert not TalkFigures(**{**good, **wrong}).sound  # type: ignore[arg-type]


async def test_who_serves_a_port_is_found_with_its_memory() -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    async with server:
        [pid] = serving(server.sockets[0].getsockname()[1])
        waits = (sys.executable, "-c", "input()", "--door", "3")
        behind = await asyncio.create_subprocess_exec(*waits, stdin=asyncio.subprocess.PIPE)
        assert serving(server.sockets[0].getsockname()[1]) == [behind.pid]
        await behind.communicate(b"\n")
    assert resident(pid) > 10
    assert serving(1) == []
    assert resident(2**22 + 1) == 0.0
