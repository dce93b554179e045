"""Files in a directory: for one machine, or a mount that all machines share."""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from activities.gateways.storage import CHUNK, Kept, Missing, StorageAway

NAME = re.compile(r"[A-Za-z0-9_-]+(/\.?[A-Za-z0-9_-]+)*")
MAKING = ".making-"


@dataclass(frozen=True)
class LocalStorage:
    directory: Path

    async def put(self, name: str, content: Iterable[bytes]) -> None:
        try:
            await asyncio.to_thread(self._put, name, content)
        except OSError as error:
            raise StorageAway(type(error).__name__) from None

    async def get(self, name: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._open, name)
        except FileNotFoundError:
            raise Missing from None
        except OSError as error:
            raise StorageAway(type(error).__name__) from None
        try:
            while part := await asyncio.to_thread(file.read, CHUNK):
                yield part
        except OSError as error:
            raise StorageAway(type(error).__name__) from None
        finally:
            file.close()

    async def delete(self, name: str) -> None:
        try:
            await asyncio.to_thread(self._path(name).unlink, missing_ok=True)
        except OSError as error:
            raise StorageAway(type(error).__name__) from None

    async def under(self, prefix: str) -> AsyncIterator[Kept]:
        try:
            found = await asyncio.to_thread(self._under, prefix.rstrip("/"))
        except OSError as error:
            raise StorageAway(type(error).__name__) from None
        for kept in found:
            yield kept

    async def aclose(self) -> None:
        return

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError("not a name of ours")
        return self.directory / name

    def _open(self, name: str) -> IO[bytes]:
        return self._path(name).open("rb")

    def _put(self, name: str, content: Iterable[bytes]) -> None:
        """Under another name first, written out before it gets its own."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        making = path.with_name(f"{MAKING}{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.writelines(content)
                f.flush()
                os.fsync(f.fileno())
            making.replace(path)
        except BaseException:
            making.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name itself survives a power cut
        finally:
            os.close(folder)

    def _under(self, prefix: str) -> list[Kept]:
        """What a killed process left half-written is among it, for the sweep to find."""
        folder = self._path(prefix)
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(folder):
                if entry.is_file(follow_symlinks=False):
                    changed = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
                    found.append(Kept(f"{prefix}/{entry.name}", changed))
        return found
