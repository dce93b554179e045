"""The whole house as real processes over HTTP, each of which can be killed and started again.

    house = House(directory)
    house.open()                       # PostgreSQL, Temporal, sandbox gateway, worker, relay, API
    house.kill("worker"); house.start("worker")
    house.close()

The rooms run as in production, with short terms set by environment. Two APIs serve the same
hospital: `api` gives a patient minutes to pay, `hasty` gives HASTE. What an order was promised is
pinned when it is born, so a test chooses by where it books.
"""

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from psycopg.rows import dict_row

from db.keyring import create_keyring
from runtime.child_process import Command, end, spawn, stop
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_temporal import NAMESPACE, EmbeddedTemporal, free_port
from runtime.metrics import SHARED, clear_shared

ROOT = Path(__file__).resolve().parents[2]
BASE = "/api/hospital"
PATIENCE = 120.0  # seconds that a room has to come up, on a machine that does other things too
HASTE = timedelta(seconds=3)  # to pay, for what is booked at `hasty`
FREE_LEVEL = "resident"  # whose appointments cost nothing here

POLICIES = {
    "APPOINTMENT__PAYMENT_WINDOW": "PT10M",
    "APPOINTMENT__REMINDERS": "PT3S",
    "APPOINTMENT__QUIET_HOURS__START": "00:00",
    "APPOINTMENT__QUIET_HOURS__END": "00:00",  # equal: none
    "APPOINTMENT__CHECK_IN_OPENS": "PT96H",
    "APPOINTMENT__NO_SHOW_AFTER": "PT1S",
    "APPOINTMENT__OPEN_PER_DAY": "20",
    "APPOINTMENT__CHOOSE_WITHIN": "PT40S",
    "PAYMENT__SETTLE_GRACE": "PT1S",
    "PAYMENT__REFUND_POLL": "PT1S",
}

# What is promised at `hasty` is over at once.
OF_HASTY = (
    "APPOINTMENT__PAYMENT_WINDOW",
    "CONSULTATION__PAYMENT_WINDOW",
    "CONSULTATION__ACCEPT_TEXT",
    "CONSULTATION__TEXT_WINDOW",
    "CONSULTATION__RING_FOR",
    "CONSULTATION__DISPATCH_FOR",
)

Result = TypeVar("Result")


class NotYet(AssertionError):
    """What a test waits for did not come in time."""


def eventually(
    look: Callable[[], Result], within: float = 15.0, pause: float = 0.05, what: str = ""
) -> Result:
    """The first true answer; NotYet with the last one otherwise."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise NotYet(f"{what or 'nothing'} within {within:.0f} s; at last: {seen!r}")
        time.sleep(pause)
    return seen


def pass_time(until: datetime) -> None:
    """Wait for a deadline on real time: nothing else makes it pass on a real server."""
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))


@dataclass
class Room:
    """One process: how it is started, and its log."""

    name: str
    command: Command
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class House:
    directory: Path
    rooms: dict[str, Room] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)  # settings of this house alone

    # Opening and closing

    def open(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ports = {name: free_port() for name in ("api", "hasty", "gateway")}
        self.start_postgres()
        self.database_url = self.postgres.create_database("hospital")
        self.temporal_port = free_port()
        self.start_temporal()
        self._environ = self._settings()
        self._furnish_all()
        self.start("gateway")
        self.errand("migrate")
        for name in self.rooms.keys() - {"gateway"}:
            self.start(name)
        self.errand("seed")  # while they are still importing
        for name in ("api", "hasty"):
            self.await_ready(name)

    def close(self) -> None:
        for name in reversed(list(self.rooms)):
            self.stop(name)
        for part in ("temporal", "postgres"):  # an opening that failed has not come to both
            if part in vars(self):
                vars(self)[part].stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def hasty_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['hasty']}"

    @property
    def gateway_file(self) -> Path:
        return self.directory / "gateway.sqlite"

    @property
    def gateway_secret(self) -> str:
        return self._environ["HOSPITAL_SANDBOX_GATEWAY_SECRET"]

    @property
    def keyring_file(self) -> Path:
        return self.directory / "keyring.json"

    @property
    def temporal_address(self) -> str:
        return self.temporal.address

    # Single rooms

    def start(self, name: str) -> None:
        room = self.rooms[name]
        with room.log.open("ab") as log:
            room.process = spawn(room.command, log)

    def stop(self, name: str) -> None:
        room = self.rooms[name]
        if room.process is not None:
            stop(room.process, room.command, patience=15)

    def kill(self, name: str) -> None:
        """SIGKILL: it gets to finish nothing."""
        room = self.rooms[name]
        assert room.process is not None
        end(room.process, room.command)
        room.process.wait()

    def errand(self, *words: str) -> None:
        command = self._command(words, {})
        done = subprocess.run(
            command.argv, cwd=ROOT, env=command.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def start_postgres(self) -> None:
        self.postgres = EmbeddedPostgres.start(self.directory / "pg", fsync=False)
        self.postgres_away = False

    def stop_postgres(self) -> None:
        self.postgres_away = True
        self.postgres.stop()

    def start_temporal(self) -> None:
        file = self.directory / "temporal.sqlite"
        self.temporal = EmbeddedTemporal.start(file, port=self.temporal_port)
        self.temporal_away = False

    def stop_temporal(self) -> None:
        self.temporal_away = True
        self.temporal.stop()

    def mend(self) -> None:
        """Start whatever a test has stopped or killed."""
        if self.postgres_away:
            self.start_postgres()
        if self.temporal_away:
            self.start_temporal()
        for room in self.rooms.values():
            if not room.lives:
                self.start(room.name)
        for name in ("api", "hasty"):
            self.await_ready(name)

    # Looking

    def readiness(self, name: str = "api") -> str:
        """`ready`, `degraded`, `unavailable`, or `silent` when nobody answers."""
        url = f"http://127.0.0.1:{self.ports[name]}/readyz"
        try:
            status: str = httpx.get(url, timeout=5, trust_env=False).json()["status"]
        except httpx.TransportError:
            return "silent"
        return status

    def await_ready(self, name: str = "api", wanted: str = "ready") -> None:
        def look() -> bool:
            assert self.rooms[name].lives, f"{name} ended:\n{self.said(name)}"
            return self.readiness(name) == wanted

        eventually(look, PATIENCE, what=f"{name} {wanted}")

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of one statement, in a transaction of its own."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            # Our own constants; values are always bound.
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def at_gateway(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of the sandbox gateway's own file: the money as the world sees it."""
        with sqlite3.connect(f"file:{self.gateway_file}?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    def said(self, name: str, lines: int = 60) -> str:
        """The end of a room's log."""
        log = self.directory / f"{name}.log"
        if not log.exists():
            return ""
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    def all_said(self, lines: int = 40) -> str:
        return "\n".join(f"--- {name}\n{self.said(name, lines)}" for name in self.rooms)

    def logs(self) -> list[Path]:
        return [room.log for room in self.rooms.values()] + [self.directory / "pg" / "server.log"]

    # How it is done

    def _settings(self) -> Mapping[str, str]:
        if not self.keyring_file.exists():
            create_keyring(self.keyring_file)
        metrics = self.directory / "metrics"
        clear_shared(metrics)
        foreign = ("TEMPORAL_", "HOSPITAL_", "TWILIO_", "SMTP_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return {
            **inherited,
            "HOSPITAL_ENV": "dev",
            "HOSPITAL_CONFIG": str(_config_with_a_free_level(self.directory)),
            "HOSPITAL_DATABASE_URL": self.database_url,
            "HOSPITAL_KEYRING": str(self.keyring_file),
            "HOSPITAL_FILES_DIR": str(self.directory / "files"),
            "HOSPITAL_PUBLIC_URL": self.url,
            "HOSPITAL_SANDBOX_GATEWAY_URL": f"http://127.0.0.1:{self.ports['gateway']}",
            "HOSPITAL_SANDBOX_GATEWAY_SECRET": secrets.token_urlsafe(32),
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            SHARED: str(metrics),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **{f"HOSPITAL_POLICIES__{name}": value for name, value in POLICIES.items()},
            **self.more,
        }

    def _furnish_all(self) -> None:
        gateway = ("--db", str(self.gateway_file), "--port", str(self.ports["gateway"]))
        self._furnish("gateway", "sandbox-gateway", *gateway)
        self._furnish("worker", "worker")
        self._furnish("relay", "relay")
        self._furnish("api", "api", "--port", str(self.ports["api"]))
        hasty = {f"HOSPITAL_POLICIES__{name}": f"PT{HASTE.seconds}S" for name in OF_HASTY}
        self._furnish("hasty", "api", "--port", str(self.ports["hasty"]), environ=hasty)

    def _furnish(self, name: str, *words: str, environ: Mapping[str, str] | None = None) -> None:
        log = self.directory / f"{name}.log"
        self.rooms[name] = Room(name, self._command(words, environ or {}), log)

    def _command(self, words: tuple[str, ...], environ: Mapping[str, str]) -> Command:
        argv = (sys.executable, "-P", "-m", "cli", *words)
        return Command(argv, cwd=ROOT, env={**self._environ, **environ}, end_with=signal.SIGKILL)


def _config_with_a_free_level(directory: Path) -> Path:
    ours = (ROOT / "config" / "hospital.yaml").read_text(encoding="utf-8")
    fee = "{level: resident, name: 住院医师, price: 10}"
    assert ours.count(fee) == 1
    config = directory / "hospital.yaml"
    config.write_text(ours.replace(fee, fee.replace("10}", "0}")), encoding="utf-8")
    return config
