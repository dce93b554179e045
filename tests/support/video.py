"""Video servers for tests: one of memory, and the real one."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from activities.gateways.video import NoSuchRoom, VideoUnavailable
from runtime.embedded_janus import EmbeddedJanus


@dataclass
class RoomInMemory:
    tokens: set[str]
    sitting: set[str] = field(default_factory=set)


@dataclass
class VideoInMemory:
    """A VideoGateway. Take `away` for one that nobody can reach."""

    rooms: dict[int, RoomInMemory] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def ensure(self, number: int, secret: str, tokens: Sequence[str]) -> None:
        self._answer("ensure")
        assert tokens
        self.rooms.setdefault(number, RoomInMemory(set())).tokens |= set(tokens)

    async def allow(self, number: int, secret: str, token: str) -> None:
        self._answer("allow")
        self._room(number).tokens.add(token)

    async def participants(self, number: int) -> frozenset[str]:
        self._answer("participants")
        return frozenset(self._room(number).sitting)

    async def kick(self, number: int, secret: str, display: str) -> None:
        self._answer("kick")
        if number in self.rooms:
            self.rooms[number].sitting.discard(display)

    async def destroy(self, number: int, secret: str) -> None:
        self._answer("destroy")
        self.rooms.pop(number, None)

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise VideoUnavailable("memory:away")

    def _room(self, number: int) -> RoomInMemory:
        if number not in self.rooms:
            raise NoSuchRoom("memory:none")
        return self.rooms[number]


def janus_program() -> str:
    """The real one. Without it CI fails; a developer's machine may lack it."""
    program = EmbeddedJanus.program()
    if program is None:
        why = "needs Janus (apt-get install janus)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return program


@contextmanager
def running_janus() -> Iterator[EmbeddedJanus]:
    program = janus_program()
    with (
        tempfile.TemporaryDirectory(prefix="hospital-janus-") as directory,
        EmbeddedJanus.prepare(Path(directory) / "janus", program) as janus,
    ):
        yield janus
