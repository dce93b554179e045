"""Where the contents of files lie: one port, a local directory or S3 behind it.

What is kept is sealed before it comes here, and names are random: a storage learns nothing but
sizes and days. `PREFIX/DAY/RANDOM` is a name, so that a sweep needs to look at a few days only.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

CHUNK = 256 * 1024  # bytes that are read at once


class StorageAway(Exception):
    """It cannot be reached or says no; trying again later may help."""


class Missing(Exception):
    """There is no object of this name."""


@dataclass(frozen=True)
class Kept:
    name: str
    changed_at: datetime


class Storage(Protocol):
    async def put(self, name: str, content: Iterable[bytes]) -> None:
        """Whole or not at all: nobody reads a half. Twice is once. Raises StorageAway."""

    def get(self, name: str) -> AsyncIterator[bytes]:
        """Its content, a chunk at a time. Raises Missing or StorageAway, at the first chunk."""

    async def delete(self, name: str) -> None:
        """Gone, also if it never was. Raises StorageAway."""

    def under(self, prefix: str) -> AsyncIterator[Kept]:
        """What lies below this prefix, which ends with a slash. Raises StorageAway."""

    async def aclose(self) -> None: ...
