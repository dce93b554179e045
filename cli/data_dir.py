"""What `up` keeps: one directory with the databases, the keys, the logs, and a lock on it all."""

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from db.keyring import create_keyring


class DataDirError(Exception):
    """The data directory cannot be used; one line for the terminal."""


@dataclass(frozen=True)
class DataDir:
    """An opened, locked data directory. Everything in it is for its owner's eyes only."""

    path: Path
    lock: IO[str]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make it if need be and lock it for as long as this process lives."""
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _private(path / "lock", os.O_RDWR | os.O_CREAT, "r+")
        except OSError as refused:
            raise DataDirError(f"cannot use the data directory {path}: {refused.strerror}") from (
                refused
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DataDirError(
                f"another `./hospital up` (process {lock.read().strip()}) uses {path}"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return cls(path, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lock.close()

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def keyring(self) -> Path:
        """The keyring's file, made at the first start."""
        file = self.path / "keyring.json"
        if not file.exists():
            # Under another name first: a keyring that is cut off in the middle would be kept.
            making = self.path / "keyring.making"
            making.unlink(missing_ok=True)
            create_keyring(making)
            making.rename(file)
        return file

    def gateway_secret(self) -> str:
        """What the sandbox gateway and we sign with."""
        return self._remembered("gatewaySecret", secrets.token_urlsafe(32))

    def gateway_port(self, free: int) -> int:
        """The sandbox gateway's port of the last time, or this free one from now on."""
        return int(self._remembered("gatewayPort", str(free)))

    def forget_gateway_port(self) -> None:
        self._write({name: v for name, v in self._read().items() if name != "gatewayPort"})

    def _remembered(self, name: str, otherwise: str) -> str:
        state = self._read()
        if name not in state:
            state[name] = otherwise
            self._write(state)
        return state[name]

    def _read(self) -> dict[str, str]:
        try:
            state: dict[str, str] = json.loads((self.path / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    def _write(self, state: dict[str, str]) -> None:
        making = self.path / "state.making"
        making.unlink(missing_ok=True)
        with _private(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "w") as file:
            json.dump(state, file, indent=2)
        making.rename(self.path / "state.json")


def _private(path: Path, flags: int, mode: str) -> IO[str]:
    return os.fdopen(os.open(path, flags, 0o600), mode, encoding="utf-8")
