"""Programs that we start and that must never outlive us."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Command:
    """A program to run, as whom and where.

    `env` is the whole environment, None for ours. `uid` and `gid` are set together, None for our
    own. `nice` is added to our own niceness (0–19), and on Linux such a child pushes nobody aside
    when it wakes (SCHED_BATCH). `stop_with` asks it to finish what it does and
    end; `end_with` makes it end at once, and is what the kernel sends it when we are killed.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    uid: int | None = None
    gid: int | None = None
    nice: int = 0
    pass_fds: tuple[int, ...] = ()
    stop_with: signal.Signals = signal.SIGTERM
    end_with: signal.Signals = signal.SIGKILL


def spawn(
    command: Command, output: int | IO[bytes] = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start it in its own process group, so that a Ctrl-C at the terminal reaches only us.

    Not in its own session: Linux would then weigh sessions, and `nice` would mean nothing.
    Call it from the main thread: the kernel takes the end of the *thread* that forked for the
    death of the parent.
    """
    return subprocess.Popen(
        command.argv,
        cwd=command.cwd,
        env=None if command.env is None else dict(command.env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        process_group=0,
        pass_fds=command.pass_fds,
        user=command.uid,
        group=command.gid,
        extra_groups=None if command.uid is None else (),
        # A uid that changes clears the death signal: Popen changes it before preexec_fn.
        preexec_fn=_in_child(command),  # noqa: PLW1509 it calls nothing that takes a lock
    )


def run(command: Command, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a short helper of a server to its end and give back what it said."""
    return subprocess.run(
        command.argv,
        cwd=command.cwd,
        env=None if command.env is None else dict(command.env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        process_group=0,
        user=command.uid,
        group=command.gid,
        extra_groups=None if command.uid is None else (),
        preexec_fn=_in_child(command),
    )


def stop(process: subprocess.Popen[bytes], command: Command, patience: float) -> None:
    """Ask it to end; make it end after `patience` seconds."""
    if process.poll() is None:
        process.send_signal(command.stop_with)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        end(process, command)
        process.wait()


def end(process: subprocess.Popen[bytes], command: Command) -> None:
    """Make it end at once, with what it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended between our look and our shot
            os.killpg(process.pid, command.end_with)


def _in_child(command: Command) -> Callable[[], None]:
    parent = os.getpid()
    # Loaded here: between fork and exec nothing may be imported.
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def prepare() -> None:
        if command.nice:
            os.nice(command.nice)
            if libc is not None:
                with suppress(OSError):  # where it is not allowed, it is not worth a start
                    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(command.end_with), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return prepare
