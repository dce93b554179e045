"""Long contents sealed so that they can be read from the front without being held whole.

Frames of AES-256-GCM after the STREAM construction: each frame's nonce holds its number and whether
it is the last, so that frames can be neither moved, dropped nor cut off. The name of the object is
bound in, so that one object cannot be served as another.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"HF1\0"
PREFIX = 7  # random bytes at the front of every nonce of one object
FRAME = 64 * 1024
TAG = 16
HEADER = len(MAGIC) + PREFIX


class Tampered(Exception):
    """What lies in storage is not what was put there, or lies under another name."""


@dataclass(frozen=True)
class ContentKey:
    """The key of one file."""

    key: bytes = field(repr=False)

    @classmethod
    def new(cls) -> "ContentKey":
        return cls(secrets.token_bytes(32))

    def seal(self, name: str, content: bytes) -> Iterator[bytes]:
        prefix, cipher = secrets.token_bytes(PREFIX), AESGCM(self.key)
        yield MAGIC + prefix
        frames = max(1, -(-len(content) // FRAME))
        for number in range(frames):
            part = content[number * FRAME : (number + 1) * FRAME]
            nonce = _nonce(prefix, number, last=number == frames - 1)
            yield cipher.encrypt(nonce, part, name.encode())

    async def open(self, name: str, sealed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The content, a frame at a time. Raises Tampered, before the frame that does not fit."""
        buffer, cipher = bytearray(), AESGCM(self.key)
        prefix, number = b"", 0
        async for part in sealed:
            buffer += part
            if not prefix:
                if len(buffer) < HEADER:
                    continue
                if buffer[: len(MAGIC)] != MAGIC:
                    raise Tampered
                prefix = bytes(buffer[len(MAGIC) : HEADER])
                del buffer[:HEADER]
            while len(buffer) > FRAME + TAG:  # another frame follows, so this one is not the last
                frame = bytes(buffer[: FRAME + TAG])
                del buffer[: FRAME + TAG]
                yield _opened(cipher, _nonce(prefix, number, last=False), frame, name)
                number += 1
        if not prefix:
            raise Tampered
        yield _opened(cipher, _nonce(prefix, number, last=True), bytes(buffer), name)


def sealed_size(size: int) -> int:
    return HEADER + size + TAG * max(1, -(-size // FRAME))


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])


def _opened(cipher: AESGCM, nonce: bytes, frame: bytes, name: str) -> bytes:
    try:
        return cipher.decrypt(nonce, frame, name.encode())
    except InvalidTag:
        raise Tampered from None
