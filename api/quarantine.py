"""A process of its own for what people send: decoders and parsers are what an attack aims at.

It gets nothing of our environment, and each file is opened in a fork of it, within limits that the
kernel keeps: a thread could not be ended, and whoever broke out of a decoder would sit among the
keys with the next patient's file. (It is our user's process still: it may read what we may.) What
runs inside is `api/quarantined.py`.
"""

import json
import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Timer
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SPARE = 15.0  # seconds for what is not work: starting, imports, pipes
MOST_HEAD = 4096  # bytes
MOST_PART = 512 * 1024 * 1024  # bytes
LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Limits:
    """Of the work on one file. `pixels`: a larger picture is not begun."""

    seconds: float  # by the clock
    cpu_seconds: float
    memory: int  # bytes of address space
    pixels: int


@dataclass(frozen=True)
class Job:
    data: bytes
    kind: str
    most_pixels: int
    limits: Limits


@dataclass(frozen=True)
class Answer:
    """`outcome`: `made`, `refused` (`word` is the code), `too_large_here`, `out_of_time`,
    `out_of_cpu` or `died` (`word` is the signal)."""

    outcome: str
    word: str = ""
    kind: str = ""
    width: int = 0
    height: int = 0
    parts: tuple[bytes, ...] = ()


class Lost(Exception):
    """The whole process is gone, or was ended because it did not answer."""


class Quarantine:
    """One such process, and one file at a time in it. It starts when it is needed."""

    def __init__(self, nice: int = 0) -> None:
        self._nice = nice
        self._process: subprocess.Popen[bytes] | None = None

    def open(self, job: Job) -> Answer:
        """Blocks. Raises Lost."""
        process = self._started()
        # The limits inside hold as long as nobody broke out of a decoder; this one in any case.
        last_resort = Timer(job.limits.seconds + SPARE, _end, (process,))
        last_resort.start()
        try:
            answer = _asked(process, job)
        except Exception as error:  # what comes back may be anything
            self._forget(process)
            raise Lost from error
        finally:
            last_resort.cancel()
        if answer.outcome == "died":
            self._forget(process)
        return answer

    def end(self) -> None:
        """From any thread: whoever waits for it gets Lost, and clears up."""
        if (process := self._process) is not None:
            _end(process)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._forget(self._process)
        if self._process is None:
            self._process = _start(self._nice)
        return self._process

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        _end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()
        self._process = None


def _start(nice: int) -> subprocess.Popen[bytes]:
    """It ends when its standard input does: with us, whatever becomes of us."""
    return subprocess.Popen(
        (sys.executable, "-P", "-m", "api.quarantined", str(nice)),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        process_group=0,  # a Ctrl-C is for us, and forks are ended with it
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended between our look and our shot
            os.killpg(process.pid, signal.SIGKILL)


def _asked(process: subprocess.Popen[bytes], job: Job) -> Answer:
    if process.stdin is None or process.stdout is None:
        raise ValueError("it has no pipes")
    head = {"kind": job.kind, "most_pixels": job.most_pixels, "limits": asdict(job.limits)}
    write_message(process.stdin.fileno(), head, (job.data,))
    told, parts = read_message(process.stdout.fileno())
    return Answer(
        outcome=str(told["outcome"]),
        word=str(told["word"]),
        kind=str(told["kind"]),
        width=int(told["width"]),
        height=int(told["height"]),
        parts=parts,
    )


# Messages, both ways: lengths, a small head as JSON, and bytes as they are. No pickles: what comes
# back may be written by whoever broke into the other side.


def write_message(fd: int, head: dict[str, Any], parts: tuple[bytes, ...]) -> None:
    told = json.dumps(head | {"parts": [len(part) for part in parts]}).encode()
    for piece in (LENGTH.pack(len(told)), told, *parts):
        left = memoryview(piece)
        while left:
            left = left[os.write(fd, left) :]


def read_message(fd: int) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """Raises EOFError at the end, ValueError for what is no message."""
    (length,) = LENGTH.unpack(_exactly(fd, LENGTH.size, MOST_HEAD))
    head = json.loads(_exactly(fd, length, MOST_HEAD))
    return head, tuple(_exactly(fd, int(length), MOST_PART) for length in head["parts"][:2])


def _exactly(fd: int, length: int, most: int) -> bytes:
    if not 0 <= length <= most:
        raise ValueError("longer than agreed")
    parts = bytearray()
    while len(parts) < length:
        part = os.read(fd, min(length - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
