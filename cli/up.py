"""`./hospital up`: the whole house on one machine, until Ctrl-C."""

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from cli.addresses import LOOPBACK, PortInUse, cores, ensure_free, listening_socket
from cli.data_dir import DataDir, DataDirError
from cli.supervisor import ChildFailed, Stopped, Supervisor
from runtime.background import running
from runtime.child_process import Command
from runtime.config import load_config
from runtime.consents import load_consents
from runtime.door import channel, hand_round
from runtime.embedded_janus import EmbeddedJanus
from runtime.embedded_postgres import EmbeddedPostgres, PostgresError
from runtime.embedded_temporal import NAMESPACE, EmbeddedTemporal, free_port
from runtime.message_texts import load_message_texts
from runtime.metrics import SHARED, clear_shared
from runtime.red_flags import load_red_flags
from runtime.settings import DEFAULT_CONFIG

ROOT = Path(__file__).resolve().parent.parent

# Stopped from the highest to the lowest: first nobody asks any more, last the data.
POSTGRES, TEMPORAL, GATEWAY, JANUS, WORKER, API = range(6)

# In a rush the patient who books is answered first; the workflows catch up.
NICE = {TEMPORAL: 15, GATEWAY: 15, WORKER: 15, API: 0}

_PATIENCE = 120.0  # seconds
_NO_VIDEO = "none, for want of Janus; with it (apt-get install janus) start again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".data", help="default: .data")
    parser.add_argument("--port", type=int, default=8000, help="of the API (default 8000)")
    parser.add_argument("--temporal-port", type=int, default=7233, help="default 7233")
    parser.add_argument("--ui-port", type=int, default=8233, help="of Temporal's web UI")


def main(args: argparse.Namespace) -> int:
    """0 when stopped by Ctrl-C, 1 when something failed. ConfigError before anything starts."""
    config = os.environ.get("HOSPITAL_CONFIG") or str(DEFAULT_CONFIG)
    load_config(Path(config), os.environ)
    load_red_flags(Path(config))
    load_consents(Path(config))
    load_message_texts(Path(config))
    os.umask(0o077)
    try:
        data_dir = DataDir.open(args.data_dir)
        house = _furnish(args, data_dir)
        asyncio.run(_live(house))
    except (DataDirError, PortInUse, PostgresError) as failed:
        print(f"hospital: {failed}", file=sys.stderr, flush=True)
        return 1
    except ChildFailed:
        return 1  # told at once, before the others were stopped
    except (Stopped, KeyboardInterrupt):
        print("Stopped. `./hospital up` goes on from here.", flush=True)
    return 0


@dataclass(frozen=True)
class House:
    """Everything that `up` decides before it starts anything."""

    data_dir: DataDir
    port: int
    door: socket.socket  # of the API
    apis: int
    temporal: EmbeddedTemporal
    ui_port: int
    gateway_port: int
    workers: int
    janus: EmbeddedJanus | None
    environ: Mapping[str, str]


def _furnish(args: argparse.Namespace, data_dir: DataDir) -> House:
    count = cores()
    door = listening_socket(args.port, "--port")
    port: int = door.getsockname()[1]
    ensure_free(args.temporal_port, "--temporal-port")
    ensure_free(args.ui_port, "--ui-port")
    gateway_port = _gateway_port(data_dir)
    url = f"http://{LOOPBACK}:{port}"
    temporal = EmbeddedTemporal.prepare(
        port=args.temporal_port,
        db_file=data_dir.path / "temporal.sqlite",
        ui_port=args.ui_port,
        codec_endpoint=f"{url}/codec",
        nice=NICE[TEMPORAL],
    )
    metrics = data_dir.path / "metrics"
    clear_shared(metrics)
    # TEMPORAL_API_KEY and its like are about another server.
    # Without bytecode on disk each workflow's sandbox compiles its files anew.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TEMPORAL_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    files = data_dir.path / "files"
    # A video server that was named is used; else one of ours, if it can be had.
    janus = None if inherited.get("HOSPITAL_JANUS_URL") else _janus(data_dir)
    environ = {
        "HOSPITAL_CONFIG": str(DEFAULT_CONFIG),
        "HOSPITAL_PUBLIC_URL": url,
        **inherited,
        "HOSPITAL_ENV": "dev",
        "PYTHONPATH": str(ROOT),
        SHARED: str(metrics),  # one scrape of the API shows every process
        "HOSPITAL_DATA_DIR": str(data_dir.path),
        "HOSPITAL_TEMPORAL_UI_URLS": ",".join(
            f"http://{host}:{args.ui_port}" for host in (LOOPBACK, "localhost")
        ),
        "HOSPITAL_KEYRING": str(data_dir.keyring()),
        **({} if "HOSPITAL_S3_BUCKET" in inherited else {"HOSPITAL_FILES_DIR": str(files)}),
        "HOSPITAL_SANDBOX_GATEWAY_URL": f"http://{LOOPBACK}:{gateway_port}",
        "HOSPITAL_SANDBOX_GATEWAY_SECRET": data_dir.gateway_secret(),
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "PYTHONUNBUFFERED": "1",
        **(janus.environ if janus else {}),
    }
    return House(
        data_dir=data_dir,
        port=port,
        door=door,
        apis=api_processes(count),
        temporal=temporal,
        ui_port=args.ui_port,
        gateway_port=gateway_port,
        workers=worker_processes(count),
        janus=janus,
        environ=environ,
    )


def api_processes(core_count: int) -> int:
    """Both of two cores, half of many: the databases and the workers need the rest."""
    return min(core_count, max(2, core_count // 2), 16)


def worker_processes(core_count: int) -> int:
    return min(max(1, core_count // 4), 8)


def _janus(data_dir: DataDir) -> EmbeddedJanus | None:
    program = EmbeddedJanus.program()
    return EmbeddedJanus.prepare(data_dir.path / "janus", program) if program else None


def _gateway_port(data_dir: DataDir) -> int:
    """The one of last time, because unpaid orders carry its address; another if it is taken."""
    port = data_dir.gateway_port(free_port())
    with suppress(PortInUse):
        ensure_free(port, "")
        return port
    data_dir.forget_gateway_port()
    return data_dir.gateway_port(free_port())


async def _live(house: House) -> None:
    progress = _Progress()
    postgres = EmbeddedPostgres.prepare(house.data_dir.path / "postgres")
    try:
        async with Supervisor(house.data_dir.logs, _print) as supervisor:
            try:
                await _start_servers(house, postgres, supervisor, progress)
                takers = await _start_rooms(house, postgres, supervisor, progress)
                async with running(hand_round(house.door, takers)):
                    await supervisor.during(_until(lambda: _is_ready(house.port), "the API"))
                    gateway = partial(_listens, house.gateway_port)
                    await supervisor.during(_until(gateway, "the sandbox gateway"))
                    progress("ready")
                    _print(_welcome(house, await supervisor.during(_accounts(house.port))))
                    supervisor.echo = True
                    await supervisor.watch()
            except ChildFailed as failed:
                supervisor.echo = False
                print(f"hospital: {failed}", file=sys.stderr, flush=True)
                raise
            except Stopped:
                supervisor.echo = False
                _print("Stopping; once more ends everything at once.")
                raise
    finally:
        postgres.tidy()


async def _start_servers(
    house: House, postgres: EmbeddedPostgres, supervisor: Supervisor, progress: "_Progress"
) -> None:
    database = await supervisor.start("postgres", postgres.command, POSTGRES)
    await supervisor.start("temporal", house.temporal.command, TEMPORAL)

    pid = database.process.pid
    await supervisor.during(_until(lambda: postgres.answers(pid), "PostgreSQL"))
    progress("PostgreSQL is up")
    await supervisor.during(_until(house.temporal.answers, "Temporal"))
    progress("Temporal is up")


async def _until(answers: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not await asyncio.to_thread(answers):
        if time.monotonic() > deadline:
            raise ChildFailed(f"{name} does not answer after {_PATIENCE:.0f} s")
        await asyncio.sleep(0.03)


async def _start_rooms(
    house: House, postgres: EmbeddedPostgres, supervisor: Supervisor, progress: "_Progress"
) -> list[socket.socket]:
    """The channels by which the API processes are handed connections."""
    url = await supervisor.during(asyncio.to_thread(postgres.create_database, "hospital"))
    environ = {**house.environ, "HOSPITAL_DATABASE_URL": url}

    def command(*words: str, nice: int = 0, pass_fds: tuple[int, ...] = ()) -> Command:
        argv = (sys.executable, "-P", "-m", "cli", *words)
        return Command(argv, cwd=ROOT, env=environ, nice=nice, pass_fds=pass_fds)

    await supervisor.errand("migrate", command("migrate"))
    progress("the database is migrated")
    await supervisor.errand("seed", command("seed"))
    progress("configuration and demonstration data are loaded")

    db = str(house.data_dir.path / "sandbox-gateway.sqlite")
    where = ("--db", db, "--port", str(house.gateway_port))
    gateway = command("sandbox-gateway", *where, nice=NICE[GATEWAY])
    await supervisor.start("gateway", gateway, GATEWAY)
    if house.janus:  # all but video goes on without it
        await supervisor.start("janus", house.janus.command, JANUS, vital=False)
    for name in _numbered("worker", house.workers):
        await supervisor.start(name, command("worker", nice=NICE[WORKER]), WORKER)
    await supervisor.start("relay", command("relay", nice=NICE[WORKER]), WORKER)
    takers = []
    for name in _numbered("api", house.apis):
        ours, theirs = channel()
        with theirs:
            fd = theirs.fileno()
            serve = command("api", "--door", str(fd), pass_fds=(fd,), nice=NICE[API])
            await supervisor.start(name, serve, API)
        takers.append(ours)
    progress("workers, relay and API are starting")
    return takers


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def _is_ready(port: int) -> bool:
    status, answer = _get(port, "/readyz")
    return status == 200 and isinstance(answer, dict) and answer.get("status") == "ready"


async def _accounts(port: int) -> list[dict[str, Any]]:
    status, answer = await asyncio.to_thread(_get, port, "/api/hospital/dev/accounts")
    return answer if status == 200 and isinstance(answer, list) else []


def _get(port: int, path: str) -> tuple[int, Any]:
    """Status and JSON; 0 when nobody answers. Not by urllib, which would ask a proxy."""
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, HTTPException, ValueError) as error:
        return 0, str(error)
    finally:
        connection.close()


def _welcome(house: House, accounts: list[dict[str, Any]]) -> str:
    url = f"http://{LOOPBACK}:{house.port}"
    lines = [
        "",
        f"  API              {url}/api/hospital",
        f"  Documentation    {url}/api/hospital/docs",
        f"  Temporal         http://{LOOPBACK}:{house.ui_port}",
        f"  Sandbox gateway  http://{LOOPBACK}:{house.gateway_port}",
        f"  Video            {house.environ.get('HOSPITAL_JANUS_PUBLIC_URL') or _NO_VIDEO}",
        f"  Data and logs    {house.data_dir.path}",
        "",
        "  Demonstration logins (all of them: GET /api/hospital/dev/accounts)",
    ]
    shown: set[str] = set()
    for account in accounts:  # one of each role
        if account["role"] not in shown:
            shown.add(account["role"])
            lines.append(f"    {account['role']:<18} {account['phone']}  {account['password']}")
    return "\n".join([*lines, "", "  Ctrl-C stops everything.", ""])


class _Progress:
    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, what: str) -> None:
        _print(f"[{time.monotonic() - self._start:5.1f} s] {what}")


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # `up | head`: the house does not fall for that
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
