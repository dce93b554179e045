"""The relay keeps promises: in sequence, once, and however often Temporal goes away."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.service import RPCError, RPCStatusCode

from activities.lifecycles import NoLifecycle
from db.keyring import Keyring
from db.outbox import CHANNEL, promise
from db.waitlist import WantedPlace, join_waitlist
from runtime.background import running
from runtime.metrics import Metrics
from tests.support.booking import RULES, Clinic
from workers.relay import (
    Relay,
    TemporalAway,
    keep_ending_lines,
    keep_measuring,
    listen,
    relay_until,
)

pytestmark = pytest.mark.anyio


def away(status: RPCStatusCode = RPCStatusCode.UNAVAILABLE) -> RPCError:
    return RPCError("away", status, b"")


@dataclass
class Lifecycles:
    """What Temporal was told. It fails for a subject as often as `fails` says."""

    heard: list[str] = field(default_factory=list)
    fails: dict[str, list[BaseException]] = field(default_factory=lambda: defaultdict(list))
    closed: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    slow: float = 0
    hearing: Counter[str] = field(default_factory=Counter)
    at_once: int = 0  # the most that were told of one subject at the same time
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self.news.clear()
            await self.news.wait()

    async def starts_of(self, kind: str, subjects: list[str]) -> Mapping[str, str]:
        if self.unreadable & set(subjects):
            raise ValueError("a row with terms that nobody understands")
        return {no: f"{kind}/{no}" for no in subjects if no not in self.closed}

    async def start(self, start: str) -> None:
        await self._hear(start.partition("/")[2], f"start {start}")

    async def tell(self, kind: str, subject: str, signal: str, args: Any = None) -> None:
        if subject in self.closed:
            raise NoLifecycle(subject)
        await self._hear(subject, f"{signal} {kind}/{subject}")

    async def tell_if_running(self, id: str, signal: str, args: Any) -> bool:
        await self._hear(id, f"{signal} {id}")
        return id not in self.closed

    async def _hear(self, subject: str, what: str) -> None:
        self.hearing[subject] += 1
        self.at_once = max(self.at_once, self.hearing[subject])
        self.news.set()
        try:
            await asyncio.sleep(self.slow)
            if self.fails[subject]:
                raise self.fails[subject].pop(0)
            self.heard.append(what)
            self.news.set()
        finally:
            self.hearing[subject] -= 1


@dataclass
class Station:
    """An outbox, a relay, and what it says to whom."""

    engine: AsyncEngine
    lifecycles: Lifecycles
    relay: Relay

    async def promise(
        self, stream: str, subject: str, signal: str | None = None, workflow: str = "appointment"
    ) -> None:
        async with self.engine.begin() as connection:
            await promise(
                connection, stream=stream, workflow=workflow, subject=subject, signal=signal,
                args={} if signal else None,
            )  # fmt: skip

    async def run_until_quiet(self) -> None:
        while await self.relay.relay_once():
            pass

    async def waiting(self) -> list[tuple[str, int, str | None]]:
        """Subject, attempts and error of what was not kept yet."""
        async with self.engine.connect() as connection:
            query = text("select subject, attempts, error from outbox order by id")
            return [tuple(row) for row in await connection.execute(query)]  # type: ignore[misc]

    async def make_due(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text("update outbox set due_at = now()"))


def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def station(engine: AsyncEngine) -> Station:
    lifecycles: Any = Lifecycles()
    return Station(engine, lifecycles, Relay(engine, lifecycles, metrics()))


async def test_a_promise_is_kept_and_forgotten(station: Station) -> None:
    await station.promise("A1", "A1")
    assert await station.relay.relay_once() == 1
    assert station.lifecycles.heard == ["start appointment/A1"]
    assert await station.waiting() == []
    assert await station.relay.relay_once() == 0


async def test_promises_of_one_order_are_kept_in_their_sequence(station: Station) -> None:
    await station.promise("A1", "A1")
    await station.promise("A2", "A2")
    await station.promise("A1", "P1", workflow="payment")
    await station.promise("A1", "P1", "money_taken", "payment")
    assert await station.relay.relay_once() == 2  # one of each order
    await station.run_until_quiet()
    heard = [what for what in station.lifecycles.heard if "A2" not in what]
    assert heard == ["start appointment/A1", "start payment/P1", "money_taken payment/P1"]


async def test_what_fails_waits_and_holds_up_its_own_order_only(station: Station) -> None:
    for n in range(1, 4):
        await station.promise(f"A{n}", f"A{n}")
    await station.promise("A2", "A2", "payment_received")
    station.lifecycles.fails["A2"] = [ValueError("of 13800138000")]
    await station.run_until_quiet()
    assert station.lifecycles.heard == ["start appointment/A1", "start appointment/A3"]
    assert await station.waiting() == [("A2", 1, "ValueError"), ("A2", 0, None)]
    await station.make_due()
    await station.run_until_quiet()
    assert station.lifecycles.heard[2:] == [
        "start appointment/A2",
        "payment_received appointment/A2",
    ]
    assert await station.waiting() == []


async def test_a_row_that_cannot_be_read_holds_up_its_own_order_only(station: Station) -> None:
    station.lifecycles.unreadable = {"A2"}
    for n in range(1, 4):
        await station.promise(f"A{n}", f"A{n}")
    await station.run_until_quiet()
    assert station.lifecycles.heard == ["start appointment/A1", "start appointment/A3"]
    assert await station.waiting() == [("A2", 1, "ValueError")]


async def test_what_fails_again_waits_longer(station: Station) -> None:
    await station.promise("A1", "A1")
    station.lifecycles.fails["A1"] = [away(RPCStatusCode.INVALID_ARGUMENT) for _ in range(12)]
    pauses = []
    for _ in range(12):
        await station.make_due()
        await station.relay.relay_once()
        async with station.engine.connect() as connection:
            query = text("select extract(epoch from due_at - now())::float from outbox")
            pauses.append(round((await connection.execute(query)).scalar_one()))
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 300


async def test_what_has_failed_for_months_holds_up_nobody(station: Station) -> None:
    """A pause that doubles outgrows every number."""
    await station.promise("A1", "A1")
    await station.promise("A2", "A2")
    async with station.engine.begin() as connection:
        await connection.execute(text("update outbox set attempts = 30000 where subject = 'A1'"))
    station.lifecycles.fails["A1"] = [ValueError()]
    await station.run_until_quiet()
    assert station.lifecycles.heard == ["start appointment/A2"]
    assert await station.waiting() == [("A1", 30001, "ValueError")]


@pytest.mark.parametrize(
    "error",
    [
        away(),
        away(RPCStatusCode.DEADLINE_EXCEEDED),
        RuntimeError("Failed client connect"),
    ],
    ids=["unavailable", "deadline", "never connected"],
)
async def test_while_temporal_is_away_nothing_is_lost_and_nobody_blamed(
    station: Station, error: BaseException
) -> None:
    for n in range(1, 4):
        await station.promise(f"A{n}", f"A{n}")
    station.lifecycles.fails = defaultdict(list, {f"A{n}": [error] for n in (1, 2)})
    with pytest.raises(TemporalAway):
        await station.relay.relay_once()
    assert station.lifecycles.heard == ["start appointment/A3"]
    assert await station.waiting() == [("A1", 0, None), ("A2", 0, None)]
    await station.run_until_quiet()  # it is back
    assert await station.waiting() == []


async def test_a_closed_order_needs_no_workflow_and_no_signal(station: Station) -> None:
    station.lifecycles.closed = {"A1", "message/A1:booked"}
    await station.promise("A1", "A1")
    await station.promise("A1", "A1", "payment_received")
    await station.promise("message/A1:booked", "A1:booked", "receipt", "message")
    await station.run_until_quiet()
    assert station.lifecycles.heard == ["receipt message/A1:booked"]
    assert await station.waiting() == []


async def test_a_message_is_started_as_an_order_is(station: Station) -> None:
    await station.promise("A1", "A1:appointment_called:1", workflow="message")
    await station.run_until_quiet()
    assert station.lifecycles.heard == ["start message/A1:appointment_called:1"]
    assert await station.waiting() == []


async def test_a_relay_that_dies_leaves_its_promises(station: Station) -> None:
    station.lifecycles.slow = 30
    await station.promise("A1", "A1")
    dying = asyncio.create_task(station.relay.relay_once())
    await station.lifecycles.until(lambda: station.lifecycles.hearing["A1"] > 0)
    assert await station.waiting() == [("A1", 0, None)]  # not before Temporal has it
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    station.lifecycles.slow = 0
    await station.run_until_quiet()
    assert station.lifecycles.heard == ["start appointment/A1"]


async def test_several_relays_share_the_work_and_never_tell_one_thing_twice(
    station: Station,
) -> None:
    for n in range(250):
        await station.promise(f"A{n}", f"A{n}")
        if n % 5 == 0:
            await station.promise(f"A{n}", f"A{n}", "second")
    station.lifecycles.slow = 0.005
    others = [Relay(station.engine, station.relay.lifecycles, metrics()) for _ in range(3)]

    async def work(relay: Relay) -> None:
        idle = 0
        while idle < 5:
            idle = 0 if await relay.relay_once() else idle + 1
            await asyncio.sleep(0.005)

    await asyncio.gather(*(work(relay) for relay in (station.relay, *others)))
    assert station.lifecycles.at_once == 1
    heard = station.lifecycles.heard
    assert len(heard) == len(set(heard)) == 300
    for n in range(0, 250, 5):
        first, second = f"start appointment/A{n}", f"second appointment/A{n}"
        assert heard.index(first) < heard.index(second)
    assert await station.waiting() == []


async def test_what_one_relay_holds_another_passes_over(station: Station) -> None:
    await station.promise("A1", "A1")
    await station.promise("A1", "A1", "second")
    async with station.engine.begin() as connection:
        await connection.execute(text("select * from outbox where signal is null for update"))
        await station.promise("A2", "A2")
        assert await station.relay.relay_once() == 1
    assert station.lifecycles.heard == ["start appointment/A2"]


async def test_it_runs_until_told_to_stop_and_tells_what_it_kept(station: Station) -> None:
    await station.promise("A1", "A1")
    await station.promise("A2", "A2")
    station.lifecycles.fails["A2"] = [ValueError() for _ in range(9)]
    rung, stop = asyncio.Event(), asyncio.Event()
    relaying = asyncio.create_task(station.relay.run(rung, stop))
    await station.lifecycles.until(lambda: len(station.lifecycles.heard) == 1)
    await station.promise("A3", "A3")
    rung.set()
    async with asyncio.timeout(1):  # the poll is slower than the bell
        await station.lifecycles.until(lambda: len(station.lifecycles.heard) == 2)
    figures = (
        'hospital_relay_starts_total{outcome="kept"} 2.0',
        'hospital_relay_starts_total{outcome="failed"}',
    )
    for _ in range(200):
        seen = generate_latest(station.relay.metrics.registry).decode()
        if all(figure in seen for figure in figures):
            break
        await asyncio.sleep(0.01)
    stop.set()
    rung.set()
    await relaying
    assert [figure for figure in figures if figure not in seen] == []


async def test_a_relay_that_breaks_ends_its_process(station: Station) -> None:
    class Broken:
        async def run(self, rung: asyncio.Event, stop: asyncio.Event) -> None:
            raise ZeroDivisionError

    broken: Any = Broken()
    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError):
            await relay_until(asyncio.Event(), asyncio.Event(), broken)
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(5):
        await relay_until(stop, asyncio.Event(), station.relay)


async def test_how_much_waits_is_told_also_while_temporal_is_away(station: Station) -> None:
    await station.promise("A1", "A1")
    await station.promise("A2", "A2")
    async with running(keep_measuring(station.engine, station.relay.metrics)):
        for _ in range(500):
            seen = generate_latest(station.relay.metrics.registry).decode()
            if "hospital_outbox_waiting 2.0" in seen:
                break
            await asyncio.sleep(0.01)
    assert "hospital_outbox_waiting 2.0" in seen
    assert "hospital_outbox_oldest_seconds 0.0\n" not in seen


async def test_a_line_ends_when_its_slot_begins(
    station: Station, engine: AsyncEngine, keyring: Keyring
) -> None:
    clinic = await Clinic.opened(engine, keyring)
    slot = await clinic.slot(sources=1)
    await clinic.booked(await clinic.someone(0), slot)
    account, patient = await clinic.someone(1)
    async with engine.begin() as connection:
        await join_waitlist(connection, WantedPlace(1, account, slot, patient), RULES)
    await clinic.run("update schedule set starts_at = now(), ends_at = now() + interval '1 h'")
    await clinic.run("delete from outbox")
    async with running(keep_ending_lines(engine)):
        async with asyncio.timeout(10):
            while not await station.waiting():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await station.run_until_quiet()
    (entry,) = await clinic.ids("select id from waitlist_entry where status = 'ended'")
    fact = f"waitlist-{entry}:waitlist_ended"
    assert station.lifecycles.heard == [f"start message/{fact}"]


async def test_a_ring_is_heard_also_after_the_connection_was_cut(
    station: Station, database_url: str
) -> None:
    rung = asyncio.Event()
    listening = asyncio.create_task(listen(database_url, rung))
    async with asyncio.timeout(10):
        await rung.wait()  # on connecting: something may have come before
        for cut in (False, True):
            rung.clear()
            async with station.engine.begin() as connection:
                if cut:
                    await connection.execute(
                        text(
                            """select pg_terminate_backend(pid) from pg_stat_activity
                                where datname = current_database() and query like 'listen%'"""
                        )
                    )
                else:
                    await connection.execute(text(f"notify {CHANNEL}"))
            await rung.wait()
    listening.cancel()
