"""Keys, and what is sealed with them.

A person's fields lie in one sealed JSON blob under a data key of that person, and the data key lies
wrapped under the keyring: throwing the wrapped key away shreds the person in every row and backup
that came after. Equality search goes through a blind index, a keyed hash that tells nothing alone.
The blind index key is never rotated: it would orphan every index.
"""

import hashlib
import hmac
import json
import os
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE = 12


class UnknownKey(Exception):
    """The keyring has no key of this id: an old key was removed too early."""


class Shredded(Exception):
    """The person's data key is gone, and with it what was sealed under it."""


@dataclass(frozen=True)
class Keyring:
    """`current` seals and signs; every key in `keys` still opens. `index` makes blind indexes."""

    current: str
    keys: dict[str, bytes] = field(repr=False)
    index: bytes = field(repr=False)
    _derived: dict[tuple[str, str], bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read a keyring file. Raises OSError or ValueError with the path in its text."""
        try:
            raw = json.loads(path.read_text())
            ring = cls(
                current=raw["current"],
                keys={name: _key(text) for name, text in raw["keys"].items()},
                index=_key(raw["index"]),
            )
            if ring.current not in ring.keys:
                raise ValueError("current names no key")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a keyring file ({type(error).__name__})") from None
        return ring

    def derived(self, purpose: str, key_id: str | None = None) -> bytes:
        """32 bytes for one purpose, so that no key serves two."""
        name = (purpose, key_id or self.current)
        if name not in self._derived:
            master = self.keys.get(name[1])
            if master is None:
                raise UnknownKey(key_id)
            hkdf = HKDF(SHA256(), length=32, salt=None, info=purpose.encode())
            self._derived[name] = hkdf.derive(master)
        return self._derived[name]

    def blind(self, kind: str, value: str) -> bytes:
        """An index for equality search: 32 bytes, the same for the same kind and value."""
        return hmac.new(self.index, f"{kind}\0{value}".encode(), hashlib.sha256).digest()

    def new_data_key(self) -> "DataKey":
        return DataKey(secrets.token_bytes(32))

    def wrap(self, key: "DataKey") -> bytes:
        """The data key sealed under the current key: `key id NUL nonce ciphertext`."""
        wrapped = _encrypt(self.derived("wrap"), key.key)
        return self.current.encode() + b"\0" + wrapped

    def unwrap(self, wrapped: bytes | None) -> "DataKey":
        if wrapped is None:
            raise Shredded
        key_id, _, sealed = bytes(wrapped).partition(b"\0")
        return DataKey(_decrypt(self.derived("wrap", key_id.decode()), sealed))


@dataclass(frozen=True)
class DataKey:
    """One person's key."""

    key: bytes = field(repr=False)

    def seal(self, fields: dict[str, Any]) -> bytes:
        return _encrypt(self.key, json.dumps(fields, ensure_ascii=False).encode())

    def open(self, sealed: bytes) -> dict[str, Any]:
        opened: dict[str, Any] = json.loads(_decrypt(self.key, bytes(sealed)))
        return opened


def create_keyring(path: Path) -> None:
    """Write a new keyring for its owner's eyes only. An existing one is never touched."""
    ring = {
        "current": "k1",
        "keys": {"k1": b64encode(secrets.token_bytes(32)).decode()},
        "index": b64encode(secrets.token_bytes(32)).decode(),
    }
    _write(path, ring)


def add_key(path: Path) -> str:
    """Add a key to a keyring file and give its id. It opens; it does not seal before `use_key`:
    every process must know it first. Raises OSError or ValueError."""
    ring = _read(path)
    used = [int(name[1:]) for name in ring["keys"] if name[:1] == "k" and name[1:].isdecimal()]
    name = f"k{max([ring.get('last', 0), *used]) + 1}"
    ring["last"] = int(name[1:])  # an id of a key that was removed never means another key
    ring["keys"][name] = b64encode(secrets.token_bytes(32)).decode()
    _replace(path, ring)
    return name


def use_key(path: Path, name: str) -> None:
    """Seal with this key from now on. Raises UnknownKey, OSError or ValueError."""
    ring = _read(path)
    if name not in ring["keys"]:
        raise UnknownKey(name)
    _replace(path, {**ring, "current": name})


def remove_key(path: Path, name: str) -> None:
    """Raises UnknownKey, OSError, and ValueError for the current one too."""
    ring = _read(path)
    if name not in ring["keys"]:
        raise UnknownKey(name)
    if name == ring["current"]:
        raise ValueError(f"{name} is the current key")
    _replace(path, {**ring, "keys": {k: v for k, v in ring["keys"].items() if k != name}})


def _read(path: Path) -> dict[str, Any]:
    Keyring.load(path)
    ring: dict[str, Any] = json.loads(path.read_text())
    return ring


def _replace(path: Path, ring: dict[str, Any]) -> None:
    """All of it or nothing, for the same reader: the owner is kept."""
    making = path.with_name(f"{path.name}.making")
    making.unlink(missing_ok=True)
    _write(making, ring)
    was, now = path.stat(), making.stat()
    if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        os.chown(making, was.st_uid, was.st_gid)
    making.replace(path)


def _write(path: Path, ring: dict[str, Any]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as out:
        json.dump(ring, out, indent=2)
        out.flush()
        os.fsync(out.fileno())


def _key(text: str) -> bytes:
    key = b64decode(text, validate=True)
    if len(key) != 32:  # an emptied or cut key would still derive, and orphan what it sealed
        raise ValueError("a key has 32 bytes")
    return key


def _encrypt(key: bytes, plain: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, None)


def _decrypt(key: bytes, sealed: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], None)
