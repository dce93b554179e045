"""`./hospital bench booking`: how fast slots are listed, booked and refused, and whether it all
adds up afterwards.

Its orders are not paid and close by themselves when their time to pay is over, 15 minutes unless
configured otherwise. A run that begins before then shares the machine with that, and is told so.
"""

import asyncio
import json
import os
import platform
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client
from temporalio.service import RPCError

from cli.addresses import cores
from cli.bench import stage
from cli.bench.cases import (
    CASES,
    FULL_SLOTS,
    FULL_SOURCES,
    ONE_DAY_EACH,
    Bench,
    Plan,
    http_of,
    warm_up,
)
from cli.bench.figures import HEAD, Figures, remarks, row
from cli.bench.target import BenchError, Target
from db.base import engine_for
from runtime.temporal import connect

BUSY = 0.5  # runnable processes a core in the minute before


async def bench_booking(target: Target, plan: Plan, json_file: Path | None) -> int:
    """Raises BenchError."""
    machine = machine_now()
    engine = engine_for(target.settings.database_url, pool_size=3)
    try:
        bench = Bench(target, plan, engine, await _temporal(target), bookable_days(target, plan))
        async with engine.connect() as guard:
            await stage.ensure_alone(guard)
            await prepare(bench)
            figures = await measure(bench)
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        raise BenchError(f"the database: {reason}") from None
    except RPCError as error:
        raise BenchError(f"Temporal: {error}") from None
    except (OSError, httpx.HTTPError) as error:
        raise BenchError(f"the API at {target.url}: {error}") from None
    finally:
        await engine.dispose()
    print("", *remarks(figures), *busy(machine), sep="\n")
    if json_file:
        document = {"machine": machine, "figures": [one.as_json() for one in figures]}
        await asyncio.to_thread(json_file.write_text, json.dumps(document, indent=2) + "\n")
    return 0 if all(one.sound for one in figures) else 1


async def _temporal(target: Target) -> Client:
    try:
        return await connect(target.settings.temporal, target.keyring, lazy=False, process="bench")
    except RuntimeError:
        where = target.settings.temporal.address
        raise BenchError(f"Temporal at {where} does not answer; see --temporal") from None


def bookable_days(target: Target, plan: Plan) -> list[date]:
    """From tomorrow to the last day that is open for booking at any hour. Raises BenchError."""
    config = target.config
    today = datetime.now(ZoneInfo(config.hospital.time_zone)).date()
    days = [today + timedelta(days=n) for n in range(1, config.policies.appointment.horizon_days)]
    # The first is for warming up, the last for what is not booked.
    most = (len(days) - 2) // max(1, len(ONE_DAY_EACH.intersection(plan.cases)))
    if len(plan.clients) > most:
        raise BenchError(f"the booking horizon has room for {most} numbers of clients")
    return days


# Before the clock runs


async def prepare(bench: Bench) -> None:
    """Make sure that this is a development system, and make people to book for."""
    keyring, hospital_id = bench.target.keyring, bench.target.config.hospital.id
    async with http_of(bench) as http:
        if (await http.get("/dev/accounts")).status_code != 200:
            raise BenchError(f"{bench.target.url} is no development system; it is left alone")
    async with bench.engine.begin() as connection:
        expiring = (await connection.execute(stage.EXPIRING, {"place": stage.PLACE})).scalar()
        bench.logins = await stage.make_logins(connection, keyring, hospital_id)
        bench.persons = await stage.find_persons(
            connection,
            keyring,
            hospital_id,
            bench.logins,
            max(bench.plan.bookings, FULL_SLOTS * FULL_SOURCES),
        )
    if expiring:
        print(f"{expiring} unpaid orders of an earlier bench may expire meanwhile and slow this.")


async def _log_in(bench: Bench) -> None:
    """Anew for each number of clients: access tokens are short-lived."""
    async with http_of(bench) as http:
        for login in bench.logins:
            credentials = {"phone": login.phone, "password": login.password}
            answer = await http.post("/auth/login", json=credentials)
            if answer.status_code != 200:
                raise BenchError(f"logging in: {answer.status_code} {answer.text}")
            bench.tokens[login.account_id] = answer.json()["accessToken"]


async def measure(bench: Bench) -> list[Figures]:
    """Run every case with every number of clients, and print each as it comes."""
    print(HEAD)
    figures = []
    try:
        for clients in bench.plan.clients:
            await _log_in(bench)
            await warm_up(bench, clients)
            for name in bench.plan.cases:
                one = await CASES[name](bench, clients)
                print(row(one), flush=True)
                figures.append(one)
    finally:
        async with bench.engine.begin() as connection:
            await connection.execute(stage.WITHDRAW, {"place": stage.PLACE})
    return figures


def busy(machine: dict[str, object]) -> list[str]:
    load = machine["loadBefore"]
    if isinstance(load, float) and load > BUSY * cores():
        return [f"Other programs were running ({load:.1f} before the start): figures are too low."]
    return []


def machine_now() -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "loadBefore": round(os.getloadavg()[0], 2),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
