"""`./hospital bench messages`: how long a message takes to whoever listens, while many do, and
whether each of them heard all of it, once and in order.

It talks in consultations of its own, which are rows without workflows and are closed at the end.
"""

import asyncio
import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import orjson
from sqlalchemy.exc import DBAPIError

from cli.bench import stage, talk_stage
from cli.bench.booking import busy, machine_now
from cli.bench.figures import percentile
from cli.bench.listeners import Listener, open_streams
from cli.bench.processes import resident, serving
from cli.bench.talk_stage import Talk
from cli.bench.target import BenchError, Target
from db.base import engine_for

LAST_EVENTS = 15.0  # seconds: above the slow look, so that only what is lost for good is lost
WARM_UP = 50  # messages that nobody counts
SENDERS = 32


@dataclass(frozen=True)
class TalkPlan:
    streams: int
    rate: int  # messages a second
    seconds: int


@dataclass(frozen=True)
class TalkFigures:
    """Milliseconds from before a message is sent until the other side's stream has it."""

    streams: int
    open: int
    opened_in: float  # seconds
    messages: int
    per_second: float
    p50: float
    p95: float
    p99: float
    answered_p50: float  # until the sender has its answer
    lost: int
    twice: int
    out_of_order: int
    errors: dict[str, int]
    processes: int
    memory_before: float  # MiB, of the process that takes most
    memory: float
    generator: float  # share of a core that the bench itself took

    @property
    def sound(self) -> bool:
        wrong = self.lost or self.twice or self.out_of_order or self.errors
        return not wrong and self.open == self.streams


async def bench_messages(target: Target, plan: TalkPlan, json_file: Path | None) -> int:
    """Raises BenchError."""
    machine = machine_now()
    engine = engine_for(target.settings.database_url, pool_size=2)
    try:
        async with engine.connect() as guard:
            await stage.ensure_alone(guard)
            async with httpx.AsyncClient(base_url=target.url, trust_env=False) as http:
                if (await http.get("/dev/accounts")).status_code != 200:
                    raise BenchError(f"{target.url} is no development system; it is left alone")
            async with engine.begin() as connection:
                talks = await talk_stage.make_talks(connection, target, -(-plan.streams // 2))
            try:
                figures = await _measure(target, plan, talks)
            finally:
                async with engine.begin() as connection:
                    await talk_stage.close_talks(connection)
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        raise BenchError(f"the database: {reason}") from None
    except (OSError, httpx.HTTPError) as error:
        raise BenchError(f"the API at {target.url}: {error}") from None
    finally:
        await engine.dispose()
    print(*_told(figures), *busy(machine), sep="\n")
    if json_file:
        document = {"machine": machine, "figures": asdict(figures)}
        await asyncio.to_thread(json_file.write_text, json.dumps(document, indent=2) + "\n")
    return 0 if figures.sound else 1


async def _measure(target: Target, plan: TalkPlan, talks: list[Talk]) -> TalkFigures:
    pids = await asyncio.to_thread(serving, target.port)
    before = max((resident(pid) for pid in pids), default=math.nan)
    sides = [(talk.id, token) for talk in talks for token in (talk.patient, talk.doctor)]
    begun = time.perf_counter()
    listeners = await open_streams(target.host, target.port, sides[: plan.streams])
    opened_in = time.perf_counter() - begun
    try:
        run = _Run(target, plan, talks)
        cpu, began = time.process_time(), time.perf_counter()
        await run.send()
        sending = time.perf_counter() - began
        generator = (time.process_time() - cpu) / sending
        await _quiet(run, listeners)
        memory = max((resident(pid) for pid in pids), default=math.nan)
        still_open = sum(not one.ended for one in listeners)
    finally:
        for one in listeners:
            one.close()
    delays = sorted(_delays(run, talks, listeners))
    faults = [
        one.heard.faults(run.sent[talks[number // 2].id]) for number, one in enumerate(listeners)
    ]
    lost, twice, disorder = (sum(column) for column in zip(*faults, strict=True))
    p50, p95, p99 = (round(1000 * percentile(delays, share), 1) for share in (0.5, 0.95, 0.99))
    answered = round(1000 * percentile(sorted(run.answered), 0.5), 1)
    return TalkFigures(
        streams=plan.streams,
        open=still_open,
        opened_in=round(opened_in, 1),
        messages=run.sent.total(),
        per_second=round(run.sent.total() / sending, 1),
        p50=p50,
        p95=p95,
        p99=p99,
        answered_p50=answered,
        lost=lost,
        twice=twice,
        out_of_order=disorder,
        errors=dict(run.errors),
        processes=len(pids),
        memory_before=round(before, 1),
        memory=round(memory, 1),
        generator=round(generator, 2),
    )


class _Run:
    """Messages at an even pace, whatever the answers take."""

    def __init__(self, target: Target, plan: TalkPlan, talks: list[Talk]) -> None:
        self.target, self.plan, self.talks = target, plan, talks
        self.sent: Counter[int] = Counter()  # by consultation
        self.sent_at: dict[tuple[int, int], tuple[float, bool]] = {}  # by (consultation, seq)
        self.answered: list[float] = []
        self.errors: Counter[str] = Counter()

    async def send(self) -> None:
        limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
        async with httpx.AsyncClient(
            base_url=self.target.url, trust_env=False, limits=limits, timeout=30
        ) as http:
            for number in range(WARM_UP):
                await self._send_one(http, number, counted=False)
            async with asyncio.TaskGroup() as work:
                begun = time.perf_counter()
                for number in range(self.plan.rate * self.plan.seconds):
                    due = begun + number / self.plan.rate
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    work.create_task(self._send_one(http, number, counted=True))

    async def _send_one(self, http: httpx.AsyncClient, number: int, *, counted: bool) -> None:
        talk = self.talks[number % len(self.talks)]
        by_patient = (number // len(self.talks)) % 2 == 0
        token = talk.patient if by_patient else talk.doctor
        at = time.perf_counter()
        answer = await http.post(
            f"/consultations/{talk.id}/messages",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            content=orjson.dumps({"type": "text", "content": f"第 {number} 条消息"}),
        )
        if answer.status_code != 201:
            self.errors[f"{answer.status_code} {answer.json().get('code')}"] += 1
            return
        self.sent[talk.id] += 1
        if counted:
            self.answered.append(time.perf_counter() - at)
            self.sent_at[talk.id, answer.json()["seq"]] = at, by_patient


def _delays(run: _Run, talks: list[Talk], listeners: list[Listener]) -> list[float]:
    """Of each message to the other side, where that listens."""
    found = []
    for number, listener in enumerate(listeners):
        talk, of_patient = talks[number // 2].id, number % 2 == 0
        for seq, at in zip(listener.heard.seqs, listener.heard.at, strict=True):
            sent, by_patient = run.sent_at.get((talk, seq), (0.0, of_patient))
            if by_patient is not of_patient:
                found.append(at - sent)
    return found


async def _quiet(run: _Run, listeners: list[Listener]) -> None:
    """Wait until everybody has everything, or for as long as that may sensibly take."""
    deadline = time.perf_counter() + LAST_EVENTS
    while time.perf_counter() < deadline:
        behind = any(
            len(one.heard.seqs) < run.sent[run.talks[number // 2].id]
            for number, one in enumerate(listeners)
        )
        if not behind:
            return
        await asyncio.sleep(0.1)


def _told(f: TalkFigures) -> list[str]:
    return [
        f"{f.open} of {f.streams} streams stayed open (opened in {f.opened_in} s);"
        f" {f.messages} messages, {f.per_second} a second.",
        f"To the other side: p50 {f.p50} ms, p95 {f.p95} ms, p99 {f.p99} ms;"
        f" to the sender's answer: p50 {f.answered_p50} ms.",
        f"Lost {f.lost}, twice {f.twice}, out of order {f.out_of_order}, errors {f.errors or 0}.",
        f"{f.processes} API processes; the largest took {f.memory} MiB, {f.memory_before} before.",
        f"The load generator took {f.generator:.0%} of a core.",
    ]
