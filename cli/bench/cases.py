"""What `./hospital bench booking` measures, a case each."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from cli.bench import stage
from cli.bench.arrival import LOOKED_AT, Arrival, await_workflows
from cli.bench.figures import Figures
from cli.bench.load import Judge, Outcome, burst, request
from cli.bench.stage import Login, Person
from cli.bench.target import BenchError, Target

BASE = "/api/hospital"
LISTED = 60  # slots on a page
LISTED_DAYS = LISTED // stage.SLOTS_A_DAY
SOURCES = 10  # of each distinct slot
HOT_SLOTS = 4
FULL_SLOTS, FULL_SOURCES = 8, 5
STOPPED = 300  # orders of a day that is called off
WARM_UP = 400  # bookings that nobody counts


@dataclass(frozen=True)
class Plan:
    clients: tuple[int, ...]
    bookings: int  # requests in a burst
    seconds: int
    patience: float  # seconds for the workflows of a burst
    cases: tuple[str, ...]


@dataclass
class Bench:
    """What every case needs."""

    target: Target
    plan: Plan
    engine: AsyncEngine
    client: Client
    days: list[date]  # a person books once a doctor and day: each burst takes the next day
    logins: list[Login] = field(default_factory=list)
    persons: list[Person] = field(default_factory=list)
    tokens: dict[int, str] = field(default_factory=dict)  # by account
    full: list[int] = field(default_factory=list)  # slots without a free source
    warm: bool = False

    @property
    def host(self) -> str:
        return f"{self.target.host}:{self.target.port}"


def http_of(bench: Bench) -> httpx.AsyncClient:
    # No proxy of the environment may come between.
    return httpx.AsyncClient(base_url=bench.target.url, trust_env=False, timeout=30)


# The cases


async def warm_up(bench: Bench, clients: int) -> None:
    """The first bookings of a process open its connections and plan its statements: a matter of
    its start, not of its speed."""
    if bench.warm:
        return
    slots = await _slots(bench, [bench.days.pop(0)], HOT_SLOTS, WARM_UP // HOT_SLOTS)
    first = _bookings(bench, slots, min(WARM_UP, len(bench.persons)))
    warmed = await _burst(bench, first, clients, partial(_expect, 201, b""))
    if warmed.errors:
        raise BenchError(f"warming up: {dict(warmed.errors)}")
    await _workflows_of(bench, slots)
    bench.warm = True


async def _distinct(bench: Bench, clients: int) -> Figures:
    """Bookings spread over many slots of many doctors."""
    day = bench.days.pop(0)
    doctors = math.ceil(bench.plan.bookings / (stage.SLOTS_A_DAY * SOURCES))
    slots: list[int] = []
    for _ in range(doctors):
        slots += await _slots(bench, [day], stage.SLOTS_A_DAY, SOURCES)
    return await _book(bench, "distinct", clients, slots)


async def _hot(bench: Bench, clients: int) -> Figures:
    """Everybody wants the same doctor: few slots with many sources."""
    sources = math.ceil(bench.plan.bookings / HOT_SLOTS)
    slots = await _slots(bench, [bench.days.pop(0)], HOT_SLOTS, sources)
    return await _book(bench, "hot", clients, slots)


async def _full(bench: Bench, clients: int) -> Figures:
    """Nothing is left: refusals."""
    if not bench.full:
        bench.full = await _slots(bench, [bench.days[-1]], FULL_SLOTS, FULL_SOURCES)
        taken = _bookings(bench, bench.full, FULL_SLOTS * FULL_SOURCES)
        filled = await _burst(bench, taken, 1, partial(_expect, 201, b""))
        if filled.errors:
            raise BenchError(f"filling slots: {dict(filled.errors)}")
    requests = _bookings(bench, bench.full, bench.plan.bookings)
    outcome = await _burst(bench, requests, clients, partial(_expect, 409, b'"slot_full"'))
    oversold = await _count(bench, bench.full, stage.OVERSOLD)
    return Figures.of("full", clients, outcome, oversold=oversold)


async def _line(bench: Bench, clients: int) -> Figures:
    """Places in the lines of full slots."""
    size = bench.target.config.policies.appointment.waitlist_size
    count = math.ceil(bench.plan.bookings / max(1, size))
    day, slots = bench.days.pop(0), list[int]()
    for _ in range(math.ceil(count / stage.SLOTS_A_DAY)):
        slots += await _slots(bench, [day], min(count, stage.SLOTS_A_DAY), 1)
    slots = slots[:count]
    holders = await _burst(
        bench, _bookings(bench, slots, count), clients, partial(_expect, 201, b"")
    )
    if holders.errors:
        raise BenchError(f"filling slots: {dict(holders.errors)}")
    await _workflows_of(bench, slots)
    waiting = bench.persons[count:] or bench.persons
    requests = []
    for n, person in enumerate(waiting[: bench.plan.bookings]):
        path = f"{BASE}/schedules/{slots[n % count]}/waitlist"
        body = json.dumps({"patientId": person.id}).encode()
        token = bench.tokens[person.account_id]
        requests.append(request("POST", bench.host, path, token, body))
    outcome = await _burst(bench, requests, clients, partial(_expect, 201, b""))
    oversold = await _count(bench, slots, stage.OVERSOLD)
    return Figures.of("line", clients, outcome, oversold=oversold)


async def _stop(bench: Bench, clients: int) -> Figures:
    """A doctor's day with STOPPED orders is called off: `per s` is orders that know and have
    ended, the latency is that of the whole."""
    slots = await _slots(bench, [bench.days.pop(0)], HOT_SLOTS, STOPPED // HOT_SLOTS)
    count = min(STOPPED, len(bench.persons))
    booked = await _burst(
        bench, _bookings(bench, slots, count), clients, partial(_expect, 201, b"")
    )
    if booked.errors:
        raise BenchError(f"booking what is stopped: {dict(booked.errors)}")
    await _workflows_of(bench, slots)
    outcome = Outcome(began=time.perf_counter())
    async with http_of(bench) as http:
        headers = {"Authorization": f"Bearer {await _operator(http)}"}
        answer = await http.post(
            f"/schedules/{slots[0]}/stop", json={"reason": "bench", "scope": "day"}, headers=headers
        )
        if answer.status_code != 202:
            raise BenchError(f"calling it off: {answer.status_code} {answer.text}")
    while await _count(bench, slots, stage.STILL_OPEN):
        if time.perf_counter() - outcome.began > bench.plan.patience:
            return Figures.of("stop", clients, outcome, in_time=False)
        await asyncio.sleep(0.05)
    outcome.seconds = time.perf_counter() - outcome.began
    outcome.latencies = [outcome.seconds] * count
    return Figures.of("stop", clients, outcome, oversold=await _count(bench, slots, stage.OVERSOLD))


async def _operator(http: httpx.AsyncClient) -> str:
    accounts = (await http.get("/dev/accounts")).json()
    one = next(account for account in accounts if account["role"] == "operator")
    credentials = {"phone": one["phone"], "password": one["password"]}
    token: str = (await http.post("/auth/login", json=credentials)).json()["accessToken"]
    return token


async def _listing(bench: Bench, clients: int) -> Figures:
    """A page of sixty slots of one doctor."""
    first, last = bench.days[-LISTED_DAYS], bench.days[-1]
    days = [first + timedelta(days=n) for n in range(LISTED_DAYS)]
    async with bench.engine.begin() as connection:
        doctor_id, _ = await stage.make_slots(
            connection, bench.target.config, days, slots=stage.SLOTS_A_DAY, sources=SOURCES
        )
    query = f"doctorId={doctor_id}&startDate={first}&endDate={last}&size={LISTED}"
    wanted = request("GET", bench.host, f"{BASE}/schedules?{query}")

    def judge(status: int, body: bytes) -> str | None:
        return _expect(200, b"", status, body) or (
            None if body.count(b'"timeSlot"') == LISTED else "not_sixty"
        )

    outcome = await _burst(bench, [wanted] * bench.plan.bookings, clients, judge)
    return Figures.of("listing", clients, outcome)


Case = Callable[[Bench, int], Awaitable[Figures]]
CASES: dict[str, Case] = {
    "distinct": _distinct,
    "hot": _hot,
    "full": _full,
    "listing": _listing,
    "line": _line,
    "stop": _stop,
}
BY_DEFAULT = ("distinct", "hot", "full", "listing")
ONE_DAY_EACH = frozenset({"distinct", "hot", "line", "stop"})


# How they are done


async def _slots(bench: Bench, days: Sequence[date], slots: int, sources: int) -> list[int]:
    async with bench.engine.begin() as connection:
        _, made = await stage.make_slots(
            connection, bench.target.config, days, slots=slots, sources=sources
        )
    return made


async def _book(bench: Bench, name: str, clients: int, slots: list[int]) -> Figures:
    """Every slot in turn, another person each time; then wait for the workflows."""
    requests = _bookings(bench, slots, bench.plan.bookings)
    outcome = await _burst(bench, requests, clients, partial(_expect, 201, b""))
    booked = await _count(bench, slots, stage.BOOKED)
    arrival = await _workflows_of(bench, slots)
    oversold = await _count(bench, slots, stage.OVERSOLD)
    after = per_second = None
    if arrival and booked:
        after = max(0.0, arrival.running - outcome.began - outcome.seconds)
        per_second = booked / (arrival.running - outcome.began)
    return Figures.of(
        name,
        clients,
        outcome,
        lost=abs(booked - len(outcome.latencies)),
        oversold=oversold,
        in_time=arrival is not None,
        workflows_after=after,
        workflows_per_second=per_second,
    )


async def _workflows_of(bench: Bench, slots: list[int]) -> Arrival | None:
    async with bench.engine.connect() as connection:
        rows = await connection.execute(stage.NEWEST, {"slots": slots, "count": LOOKED_AT})
        newest = list(rows.scalars())
    return await await_workflows(bench.engine, bench.client, newest, bench.plan.patience)


def _bookings(bench: Bench, slots: Sequence[int], count: int) -> list[bytes]:
    requests = []
    for n in range(count):
        person = bench.persons[n % len(bench.persons)]
        body = json.dumps({"scheduleId": slots[n % len(slots)], "patientId": person.id}).encode()
        token = bench.tokens[person.account_id]
        requests.append(request("POST", bench.host, f"{BASE}/appointments", token, body))
    return requests


async def _burst(bench: Bench, requests: Sequence[bytes], clients: int, judge: Judge) -> Outcome:
    return await burst(
        bench.target.host,
        bench.target.port,
        requests,
        clients=clients,
        seconds=bench.plan.seconds,
        judge=judge,
    )


def _expect(wanted: int, holding: bytes, status: int, body: bytes) -> str | None:
    if status == wanted and holding in body:
        return None
    try:
        return f"{status} {json.loads(body)['code']}"
    except (ValueError, KeyError, TypeError):
        return str(status)


async def _count(bench: Bench, slots: list[int], query: stage.Query) -> int:
    async with bench.engine.connect() as connection:
        return int((await connection.execute(query, {"slots": slots})).scalar_one())
