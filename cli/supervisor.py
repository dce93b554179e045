"""Keeps a set of child processes: all of them run, or none does."""

import asyncio
import signal
import subprocess
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from runtime.child_process import Command, end, spawn

PATIENCE = 15.0  # seconds that a child has to end by itself, PostgreSQL's checkpoint included

_ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LAST_WORDS = 1.0  # seconds for output that is still in the pipe when its writer is gone
_LONGEST_LOG = 10 * 2**20  # bytes; a longer file becomes NAME.log.1 at the next start

Result = TypeVar("Result")


class ChildFailed(Exception):
    """A child ended that should not have, or did not do its work. One line for the terminal."""


class Stopped(Exception):
    """Somebody asked us to stop."""


@dataclass
class Child:
    """A process, where its output goes and what it said last. An errand is meant to end; without
    one that is not vital the others go on."""

    name: str
    command: Command
    tier: int
    errand: bool
    log: Path
    process: subprocess.Popen[bytes]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    last_line: str = ""
    output: asyncio.Task[None] | None = None
    vital: bool = True


class Supervisor:
    """Use it as an async context manager in the main thread: leaving it ends every child.

    Within `during(...)` a child that ends raises ChildFailed, and Ctrl-C (or SIGTERM, SIGHUP)
    raises Stopped. A second Ctrl-C ends the children without waiting for them.
    """

    def __init__(self, logs: Path, say: Callable[[str], None], patience: float = PATIENCE) -> None:
        self._logs = logs
        self._say = say
        self._patience = patience
        self._children: list[Child] = []
        self._reports: list[asyncio.Task[None]] = []
        self._stopping = False
        self._trouble: asyncio.Future[None]
        self.echo = False  # whether the children's output is shown, besides going to their files

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._trouble = loop.create_future()
        for asked in _ASKED_TO_STOP:
            loop.add_signal_handler(asked, self._on_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._look_at_children)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        for tier in sorted({child.tier for child in self._children}, reverse=True):
            await asyncio.gather(*(self._stop(c) for c in self._children if c.tier == tier))
        for handled in (*_ASKED_TO_STOP, signal.SIGCHLD):
            asyncio.get_running_loop().remove_signal_handler(handled)
        if self._trouble.done():
            self._trouble.exception()  # asyncio complains of one that nobody looked at

    async def start(self, name: str, command: Command, tier: int, *, vital: bool = True) -> Child:
        """Start a child that is to run until we stop. Higher tiers are stopped first. When one
        ends that is not `vital`, that is told, and nothing else."""
        return await self._spawn(name, command, tier, errand=False, vital=vital)

    async def errand(self, name: str, command: Command) -> None:
        """Run a child to its end. ChildFailed when that was not a success."""
        child = await self._spawn(name, command, tier=1000, errand=True)
        await self.during(child.ended.wait())
        await self._hear_out(child)
        if child.process.returncode:
            raise ChildFailed(_obituary(child))

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something that can take long while everything must go on running."""
        task = asyncio.ensure_future(work)
        try:
            first: set[asyncio.Future[Any]] = {task, self._trouble}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if self._trouble.done():
                self._trouble.result()
            return task.result()
        finally:
            task.cancel()

    async def watch(self) -> None:
        """Wait until a child fails or somebody asks us to stop, and raise that."""
        await self.during(asyncio.Event().wait())

    def _on_stop(self) -> None:
        if self._stopping or self._trouble.done():
            for child in self._children:
                end(child.process, child.command)
        else:
            self._trouble.set_exception(Stopped())

    def _look_at_children(self) -> None:
        for child in self._children:
            if child.ended.is_set() or child.process.poll() is None:
                continue
            child.ended.set()
            if not child.errand and not self._stopping:
                self._reports.append(asyncio.ensure_future(self._report(child)))

    async def _report(self, child: Child) -> None:
        await self._hear_out(child)
        if not child.vital:
            self._say(f"{_what_became_of(child)}; going on without it. Log: {child.log}")
        elif not self._trouble.done():
            self._trouble.set_exception(ChildFailed(_obituary(child)))

    async def _spawn(
        self, name: str, command: Command, tier: int, *, errand: bool, vital: bool = True
    ) -> Child:
        log = _open_log(self._logs, name)
        process = spawn(command, subprocess.PIPE)
        child = Child(name, command, tier, errand, log, process, vital=vital)
        self._children.append(child)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), child.process.stdout
        )
        child.output = asyncio.ensure_future(self._write_down(child, reader))
        self._look_at_children()  # it may be gone already, and its signal with it
        return child

    async def _write_down(self, child: Child, reader: asyncio.StreamReader) -> None:
        rest = b""
        with child.log.open("ab", buffering=0) as file:
            while chunk := await reader.read(2**16):
                file.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                # A line without an end must not grow for ever.
                if len(rest) > 2**20:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._heard(child, line)
        self._heard(child, rest)

    def _heard(self, child: Child, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            child.last_line = text
            if self.echo:
                self._say(f"{child.name:<9}| {text}")

    async def _hear_out(self, child: Child) -> None:
        """Wait for the last of its output, but not for a grandchild that keeps the pipe open."""
        if child.output is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(child.output, _LAST_WORDS)

    async def _stop(self, child: Child) -> None:
        if child.process.poll() is None:
            child.process.send_signal(child.command.stop_with)
        self._look_at_children()
        try:
            await asyncio.wait_for(child.ended.wait(), self._patience)
        except TimeoutError:
            self._say(f"{child.name} does not end, ending it")
            end(child.process, child.command)
            await child.ended.wait()
        await self._hear_out(child)


def _obituary(child: Child) -> str:
    return f"{_what_became_of(child)}; stopping. Log: {child.log}"


def _what_became_of(child: Child) -> str:
    code = child.process.returncode
    if code < 0:
        what = f"was killed by {signal.Signals(-code).name}"
    else:
        said = f": {child.last_line}" if child.last_line else ""
        what = f"ended with exit code {code}{said}"
    return f"{child.name} {what}"


def _open_log(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    if log.exists() and log.stat().st_size > _LONGEST_LOG:
        log.replace(log.with_name(f"{name}.log.1"))
    return log
