"""Passwords: Argon2id, never on the event loop, and never on all cores at once."""

import asyncio
import os
import secrets
import unicodedata

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """`at_once`: how many hashes run in parallel; the rest of the cores go on answering."""

    def __init__(self, hasher: PasswordHasher | None = None, at_once: int | None = None) -> None:
        # OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane. About 20 ms.
        self._hasher = hasher or PasswordHasher(
            time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID
        )
        self._turn = asyncio.Semaphore(at_once or max(1, (os.cpu_count() or 1) // 2))
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        async with self._turn:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def matches(self, password: str, stored: str | None) -> bool:
        """`stored` None (there is no such account) takes as long as a wrong password."""
        async with self._turn:
            right = await asyncio.to_thread(self._verify, _normal(password), stored)
        return right and stored is not None

    def outdated(self, stored: str) -> bool:
        """Whether this hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, password: str, stored: str | None) -> bool:
        try:
            return self._hasher.verify(stored or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> str:
    # One password typed on two keyboards can differ in code points (NIST SP 800-63B 3.1.1.2).
    return unicodedata.normalize("NFKC", password)
