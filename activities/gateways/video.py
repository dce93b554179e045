"""Video: the port to the server in whose rooms people see each other."""

from collections.abc import Sequence
from typing import Protocol


class VideoError(Exception):
    """`code` is like `janus:away`. It names no room and nobody."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class VideoUnavailable(VideoError):
    """The server is away, too slow, or will not do it. What was asked may have been done."""


class NoSuchRoom(VideoError):
    """The server has no such room: it was never made, was destroyed, or was forgotten."""


class VideoGateway(Protocol):
    """Rooms are ours: we choose number, secret and tokens and write them down first, so that
    everything here can be asked again. All of it raises VideoUnavailable."""

    async def ensure(self, number: int, secret: str, tokens: Sequence[str]) -> None:
        """The room is there, and whoever holds one of `tokens` gets in; nobody does without one.
        For a room that is there only the tokens that are missing are added."""
        ...

    async def allow(self, number: int, secret: str, token: str) -> None:
        """One more token for a room. Raises NoSuchRoom."""
        ...

    async def participants(self, number: int) -> frozenset[str]:
        """The displays of those who are in it. Raises NoSuchRoom."""
        ...

    async def kick(self, number: int, secret: str, display: str) -> None:
        """Whoever is in it under this display is no more. They may come back: tokens stay."""
        ...

    async def destroy(self, number: int, secret: str) -> None:
        """Everybody is out, and the room is gone."""
        ...
