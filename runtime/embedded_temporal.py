"""Temporal's development server from a wheel, as a child of ours."""

import json
import os
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.child_process import Command, spawn, stop

LOOPBACK = "127.0.0.1"
NAMESPACE = "default"
RETENTION_DAYS = 30  # of closed histories; the server's own default is one day

# Workflows that set an attribute that is not registered get stuck.
SEARCH_ATTRIBUTES: Mapping[str, str] = {
    "OrderStatus": "Keyword",
    "WaitingFor": "Keyword",
    "DueAt": "Datetime",
    "DepartmentId": "Int",
    "DoctorId": "Int",
}


DYNAMIC_CONFIG: Mapping[str, int | str] = {
    # One machine: tasks need not be spread over partitions that then forward them to one another.
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    # The development server reads the list of search attributes anew at every write: a third of
    # its work. Ours are there before the first workflow; a new one is seen within a minute.
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
}

# The log is copied back into the database every 40 MiB instead of every 4: pages that were written
# ten times meanwhile are copied once.
PRAGMAS = ("journal_mode=wal", "synchronous=normal", "wal_autocheckpoint=10000")


class TemporalError(Exception):
    """The development server did not start or refused its settings; text for the operator."""


@dataclass
class EmbeddedTemporal:
    """One development server.

    `EmbeddedTemporal.start()` runs one in memory on a free port, without web UI. A supervisor that
    wants to own the process calls `prepare(...)`, runs `.command` itself and asks `.answers()`.
    """

    port: int
    command: Command
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def prepare(
        cls,
        *,
        port: int,
        db_file: Path | None = None,
        ui_port: int | None = None,
        codec_endpoint: str | None = None,
        nice: int = 0,
    ) -> Self:
        """The command of a server. `db_file=None` forgets everything, `ui_port=None` shows nothing.

        `codec_endpoint` is the address to which the web UI appends `/decode`.
        """
        argv = [_binary(), "server", "start-dev", "--ip", LOOPBACK, "--port", str(port)]
        argv += ["--log-level", "error", "--log-format", "json"]
        if db_file is not None:
            argv += ["--db-filename", str(db_file)]
            for pragma in PRAGMAS:
                argv += ["--sqlite-pragma", pragma]
        for name, value in DYNAMIC_CONFIG.items():
            argv += ["--dynamic-config-value", f"{name}={value}"]
        if ui_port is None:
            argv += ["--headless"]
        else:
            argv += ["--ui-port", str(ui_port), "--ui-disable-news-fetch"]
        if codec_endpoint is not None:
            argv += ["--ui-codec-endpoint", codec_endpoint]
        for name, kind in SEARCH_ATTRIBUTES.items():
            argv += ["--search-attribute", f"{name}={kind}"]
        return cls(port, Command(tuple(argv), env=_environment(), nice=nice))

    @classmethod
    def start(
        cls, db_file: Path | None = None, *, port: int | None = None, patience: float = 60
    ) -> Self:
        """Start a server and wait until it takes workflows. `TemporalError` when it does not."""
        server = cls.prepare(port=port or free_port(), db_file=db_file)
        server._process = spawn(server.command)
        deadline = time.monotonic() + patience
        while not server.answers():
            if server._process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise TemporalError(f"the Temporal server did not start on {server.address}")
            time.sleep(0.05)
        return server

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def answers(self) -> bool:
        """Whether it takes workflows. On the way sets what may be missing or only its default.

        A database from an older run keeps its retention and lacks newer search attributes, whatever
        the command line said.
        """
        return _listens(self.port) and self._set_retention() and self._add_search_attributes()

    def stop(self, patience: float = 10) -> None:
        """End the server that `start` started. Twice is once."""
        if self._process is not None:
            stop(self._process, self.command, patience)
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _set_retention(self) -> bool:
        hours = f"{RETENTION_DAYS * 24}h"
        return self._operator("namespace", "update", "--retention", hours).returncode == 0

    def _add_search_attributes(self) -> bool:
        listed = self._operator("search-attribute", "list", "--output", "json")
        if listed.returncode:
            return False
        there = json.loads(listed.stdout).get("customAttributes", {})
        missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in there}
        words = [w for name, kind in missing.items() for w in ("--name", name, "--type", kind)]
        return not words or not self._operator("search-attribute", "create", *words).returncode

    def _operator(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_binary(), "operator", *words, "--namespace", NAMESPACE, "--address", self.address],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )


def free_port() -> int:
    """A port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def _binary() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "temporal")


def _environment() -> Mapping[str, str]:
    # TEMPORAL_ADDRESS, TEMPORAL_API_KEY and friends of the caller are about another server, and
    # so is a configuration file in the home directory.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    # Memory for time: its heap is small, and collecting it often takes a tenth of a core in a rush.
    return {"GOGC": "400"} | ours | {"TEMPORAL_CONFIG_FILE": os.devnull}


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True
