"""Keeps the promises in the outbox: every order gets its workflow, every signal its reader.

Woken by NOTIFY, with a slow poll as the safety net. Several relays may run: a row that one holds is
skipped by the others. Rows of one order are kept in sequence; a row that fails waits by itself and
holds up its own order only.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import structlog
import uvloop
from psycopg import sql
from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.file import Files
from activities.gateways.storage import StorageAway
from activities.lifecycles import NoLifecycle
from db.housekeeping import tidy
from db.measures import oldest_work_items, outbox_waiting, since_reconciled
from db.outbox import CHANNEL
from db.waitlist import end_begun_lines
from runtime.background import kept, running
from runtime.entry import Entry, enter, stop_on_signals
from runtime.garbage import settle_garbage
from runtime.gateways import open_storage, open_video
from runtime.lifecycles import Start, TemporalLifecycles
from runtime.metrics import Metrics, served
from runtime.temporal import connect, metrics_runtime
from workers.serve import add_metrics_arguments, open_activities, worker
from workers.video import VideoWatcher, keep_watching
from workflows.queues import LIFECYCLES

log = structlog.get_logger(__name__)

BATCH = 100
AT_ONCE = 24  # few enough that the worker beside has a place free for each first task
TIDY_EVERY = 3600.0  # seconds
MEASURE_EVERY = 2.0  # seconds
END_LINES_EVERY = 60.0  # seconds: who waited for a slot hears this soon that it has begun
POLL = 2.0  # seconds, when nobody rings
AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)

# The first of each order that is due and that no other relay holds.
DUE = text(
    """select o.id, o.workflow, o.subject, o.signal, o.args, o.attempts
         from outbox o
        where o.due_at <= now()
          and not exists (select 1 from outbox e where e.stream = o.stream and e.id < o.id)
        order by o.id
        limit :batch
          for update skip locked"""
)
KEPT = text("delete from outbox where id = any(:ids)")
LATER = text(
    """update outbox set attempts = attempts + 1, error = :error,
           due_at = now() + least(power(2, least(attempts, 9)), 300) * interval '1 second'
     where id = :id"""
)

Promise = Row[Any]
Starts = Mapping[tuple[str, str], Start | Exception]  # by kind and subject


class TemporalAway(Exception):
    """No promise can be kept now; none of them is to blame."""


@dataclass(frozen=True)
class Relay:
    engine: AsyncEngine
    lifecycles: TemporalLifecycles
    metrics: Metrics

    async def run(self, rung: asyncio.Event, stop: asyncio.Event) -> None:
        """Keep promises until told to stop, two batches at a time: while the last of one is under
        way, Temporal is busy with the other."""
        await asyncio.gather(self._run(rung, stop), self._run(rung, stop))

    async def _run(self, rung: asyncio.Event, stop: asyncio.Event) -> None:
        """The database or Temporal away: try again."""
        while not stop.is_set():
            rung.clear()
            try:
                while await self.relay_once():
                    if stop.is_set():
                        return
            except (TemporalAway, SQLAlchemyError) as error:
                log.warning("relay_waits", error=type(error).__name__)
                await asyncio.sleep(1)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), POLL)

    async def relay_once(self) -> int:
        """Keep one batch of promises. Rows go only once Temporal has them; a relay that dies in
        between leaves them to be kept again, which Temporal knows by the workflow's id."""
        async with self.engine.begin() as connection:
            promises = (await connection.execute(DUE, {"batch": BATCH})).all()
            if not promises:
                return 0
            starts = await self._starts(promises)
            turns = asyncio.Semaphore(AT_ONCE)
            outcomes = await asyncio.gather(
                *(self._keep(promise, starts, turns) for promise in promises),
                return_exceptions=True,
            )
            await self._write_down(connection, promises, outcomes)
        if any(isinstance(outcome, TemporalAway) for outcome in outcomes):
            raise TemporalAway
        return len(promises)

    async def _starts(self, promises: Sequence[Promise]) -> Starts:
        """One look at the rows for all that only wait to be started."""
        subjects: dict[str, list[str]] = defaultdict(list)
        for promise in promises:
            if promise.signal is None:
                subjects[promise.workflow].append(promise.subject)
        starts: dict[tuple[str, str], Start | Exception] = {}
        for kind, numbers in subjects.items():
            starts |= await self._starts_of(kind, numbers)
        return starts

    async def _starts_of(self, kind: str, numbers: list[str]) -> Starts:
        """A row that cannot be read holds up its own promise only: then each is read by itself."""
        try:
            found = await self.lifecycles.starts_of(kind, numbers)
        except SQLAlchemyError:
            raise
        except Exception as error:
            if len(numbers) == 1:
                return {(kind, numbers[0]): error}
            each = [await self._starts_of(kind, [number]) for number in numbers]
            return {subject: start for one in each for subject, start in one.items()}
        return {(kind, subject): start for subject, start in found.items()}

    async def _keep(self, promise: Promise, starts: Starts, turns: asyncio.Semaphore) -> None:
        async with turns:
            await self._send(promise, starts)

    async def _send(self, promise: Promise, starts: Starts) -> None:
        try:
            if promise.signal is None:
                await self._start(starts.get((promise.workflow, promise.subject)))
            elif promise.workflow == "message":  # a receipt: of no use once the message has ended
                await self.lifecycles.tell_if_running(
                    f"message/{promise.subject}", promise.signal, promise.args
                )
            else:
                with suppress(NoLifecycle):  # closed by itself meanwhile
                    await self.lifecycles.tell(
                        promise.workflow, promise.subject, promise.signal, promise.args
                    )
        except RPCError as error:
            if error.status in AWAY:
                raise TemporalAway from None
            raise
        except RuntimeError:  # what a client says that never connected
            raise TemporalAway from None

    async def _start(self, start: Start | Exception | None) -> None:
        if isinstance(start, Exception):
            raise start
        if start is not None:  # None: its row is closed
            await self.lifecycles.start(start)

    async def _write_down(
        self,
        connection: AsyncConnection,
        promises: Sequence[Promise],
        outcomes: Sequence[BaseException | None],
    ) -> None:
        kept = []
        for promise, outcome in zip(promises, outcomes, strict=True):
            if outcome is None:
                kept.append(promise.id)
                self.metrics.relay_start("kept")
            elif not isinstance(outcome, TemporalAway):
                error = type(outcome).__name__
                log.error("promise_not_kept", subject=promise.subject, error=error)
                self.metrics.relay_start("failed")
                await connection.execute(LATER, {"id": promise.id, "error": error})
        await connection.execute(KEPT, {"ids": kept})


async def listen(database_url: str, rung: asyncio.Event) -> None:
    """Ring whenever somebody writes to the outbox; a lost connection is made again."""
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
            async with connection:
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                rung.set()
                async for _ in connection.notifies():
                    rung.set()
        except psycopg.Error as error:
            log.warning("not_listening", error=type(error).__name__)
        await asyncio.sleep(1)


async def keep_measuring(engine: AsyncEngine, metrics: Metrics) -> None:
    """Count what waits, above all while Temporal is away and nothing else happens here."""
    while True:
        with suppress(SQLAlchemyError):  # the relay itself says that the database is away
            async with engine.connect() as connection:
                metrics.outbox(*await outbox_waiting(connection))
                metrics.work_items(await oldest_work_items(connection))
                metrics.reconciled(await since_reconciled(connection))
        await asyncio.sleep(MEASURE_EVERY)


async def keep_ending_lines(engine: AsyncEngine) -> None:
    """A slot begins without anybody doing something, and so does its line end."""
    while True:
        with suppress(SQLAlchemyError):  # the next time
            async with engine.begin() as connection:
                await end_begun_lines(connection)
        await asyncio.sleep(END_LINES_EVERY)


async def keep_tidy(engine: AsyncEngine, files: Files, orphan_after: timedelta) -> None:
    """Throw away, now and then, what nobody asks for any more."""
    while True:
        try:
            async with engine.begin() as connection:
                await tidy(connection)
            await files.sweep(orphan_after)
        except (SQLAlchemyError, StorageAway) as error:
            log.warning("not_tidied", error=type(error).__name__)
        await asyncio.sleep(TIDY_EVERY)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_metrics_arguments(parser)


def main(args: argparse.Namespace) -> int:
    return uvloop.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    """The relay, with a worker of its own beside it: what it starts it can begin at once, without
    the way through a task queue."""
    entry = enter("relay")
    stop, rung = stop_on_signals(), asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(served(entry.metrics.registry, args.metrics))
        engine = entry.engine(pool_size=7)  # two batches, measuring, lines, tidying, video twice
        stack.push_async_callback(engine.dispose)
        await stack.enter_async_context(
            running(kept(partial(keep_measuring, engine, entry.metrics)))
        )
        client = await _connected(entry, stop, args.temporal_metrics)
        if client is None:
            return 0
        activities = open_activities(entry, client, stack)
        await stack.enter_async_context(worker(client, LIFECYCLES, activities))
        listening = partial(listen, entry.settings.database_url, rung)
        files = Files(engine, open_storage(entry.settings, stack), entry.keyring)
        tidying = partial(keep_tidy, engine, files, entry.config.policies.files.orphan_after)
        lines = partial(keep_ending_lines, engine)
        await stack.enter_async_context(
            running(kept(listening), kept(tidying, again=60), kept(lines))
        )
        if video := open_video(entry.settings, stack):
            watcher = VideoWatcher(engine, entry.keyring, video)
            watching = partial(keep_watching, watcher, entry.settings.database_url)
            await stack.enter_async_context(running(kept(watching)))
        relay = Relay(engine, TemporalLifecycles(client, engine, entry.config), entry.metrics)
        settle_garbage()
        await relay_until(stop, rung, relay)
    return 0


async def relay_until(stop: asyncio.Event, rung: asyncio.Event, relay: Relay) -> None:
    """Until told to stop. A relay that breaks takes the process with it, to be started again:
    one that seems to live and keeps nothing would be missed by nobody."""
    relaying = asyncio.create_task(relay.run(rung, stop))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({relaying, stopping}, return_when=asyncio.FIRST_COMPLETED)
        rung.set()
        await relaying
    finally:
        stopping.cancel()


async def _connected(entry: Entry, stop: asyncio.Event, metrics: str | None) -> Client | None:
    """Once Temporal answers; None when told to stop before. Until then promises wait in their
    rows, where they are safe."""
    runtime = metrics_runtime(metrics) if metrics else None
    settings, keyring = entry.settings.temporal, entry.keyring
    while not stop.is_set():
        with suppress(RuntimeError):
            return await connect(settings, keyring, lazy=False, runtime=runtime, process="relay")
        log.warning("relay_waits", error="TemporalAway")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1)
    return None
