"""Janus, the video server, as a child of ours: signalling on loopback, rooms and nothing else.

It comes with the machine (Debian, Ubuntu: `apt-get install janus`), not with our packages.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.child_process import Command, end, spawn, stop
from runtime.embedded_temporal import LOOPBACK, free_port

PLUGINS = (
    *("audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "sip", "streaming"),
    *("textroom", "videocall", "voicemail"),
)
TRANSPORTS = ("mqtt", "nanomsg", "pfunix", "rabbitmq")

# Clients speak WebSockets; the admin API is ours; plain HTTP is nobody's.
CONFIG: Mapping[str, str] = {
    "janus.jcfg": """general: {{
  admin_secret = "{admin_secret}"
  debug_level = 2
  debug_colors = false
}}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
loggers: {{ disable = "libjanus_jsonlog.so" }}
""",
    "janus.plugin.videoroom.jcfg": """general: {{ admin_key = "{admin_key}" }}
""",
    "janus.transport.http.jcfg": """general: {{ http = false  https = false  json = "compact" }}
admin: {{
  admin_http = true
  admin_https = false
  admin_ip = "{host}"
  admin_port = {admin_port}
  admin_base_path = "/admin"
}}
""",
    "janus.transport.websockets.jcfg": """general: {{
  ws = true
  wss = false
  ws_ip = "{host}"
  ws_port = {ws_port}
  json = "compact"
}}
admin: {{ admin_ws = false  admin_wss = false }}
""",
}


class JanusError(Exception):
    """Janus did not start; text for the operator."""


@dataclass
class EmbeddedJanus:
    """One Janus with secrets of its own, new each time: rooms do not outlive it anyway.

    A supervisor runs `.command` itself; tests call `start()`. `environ` is what our own processes
    must be told.
    """

    command: Command
    environ: Mapping[str, str] = field(repr=False)
    ports: tuple[int, int]  # of the admin API and of WebSockets
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @staticmethod
    def program() -> str | None:
        """Where it is, or None: then there is no video."""
        return shutil.which("janus")

    @classmethod
    def prepare(cls, directory: Path, program: str) -> Self:
        """Write its configuration, for our eyes only, over that of the last time."""
        ports = _two_free_ports()
        admin_secret, admin_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        values = {
            "host": LOOPBACK,
            "admin_port": ports[0],
            "ws_port": ports[1],
            "admin_secret": admin_secret,
            "admin_key": admin_key,
            "plugins": ",".join(f"libjanus_{name}.so" for name in PLUGINS),
            "transports": ",".join(f"libjanus_{name}.so" for name in TRANSPORTS),
        }
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in CONFIG.items():
            _write(directory / name, text.format(**values))
        environ = {
            "HOSPITAL_JANUS_URL": f"http://{LOOPBACK}:{ports[0]}/admin",
            "HOSPITAL_JANUS_PUBLIC_URL": f"ws://{LOOPBACK}:{ports[1]}",
            "HOSPITAL_JANUS_ADMIN_SECRET": admin_secret,
            "HOSPITAL_JANUS_ADMIN_KEY": admin_key,
        }
        return cls(Command((program, "-F", str(directory)), cwd=directory), environ, ports)

    def start(self, patience: float = 30) -> None:
        """Run it and wait until it takes requests, again after `kill` too."""
        self._process = spawn(self.command)
        deadline = time.monotonic() + patience
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise JanusError("Janus did not start")
            time.sleep(0.05)

    def answers(self) -> bool:
        return all(_listens(port) for port in self.ports)

    def stop(self, patience: float = 5) -> None:
        if self._process is not None:
            stop(self._process, self.command, patience)
            self._process = None

    def kill(self) -> None:
        """It gets to say goodbye to nobody."""
        if self._process is not None:
            end(self._process, self.command)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _two_free_ports() -> tuple[int, int]:
    first = second = free_port()
    while second == first:
        second = free_port()
    return first, second


def _write(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True
