"""`Idempotency-Key` for routes that make something: the same key and body, the same answer.

if (number := await once.answered(connection)) is None:
    number = await make(...)
    await once.remember(connection, number)
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import caller_by, context_of
from api.problems import Problem
from db.idempotency import (
    IdempotencyMismatch,
    first_answer,
    refusals,
    remember,
    remember_refusal,
    was_answered,
)
from domain.access import Caller

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Names this attempt: a repeat gets the first success again.",
    ),
]


@dataclass(frozen=True)
class OnceOnly:
    """A caller's key with what it stands for. Without a key every request is a new one."""

    account_id: int
    key: str | None  # hashed: what clients put into it is not ours to keep
    body_hash: bytes

    async def answered(self, connection: AsyncConnection) -> str | None:
        """The reference of the first success, or None: go on, in this same transaction.
        Raises Problem `idempotency_mismatch`."""
        if self.key is None:
            return None
        try:
            return await first_answer(connection, self.account_id, self.key, self.body_hash)
        except IdempotencyMismatch:
            raise Problem("idempotency_mismatch") from None

    async def remember(self, connection: AsyncConnection, reference: str) -> None:
        if self.key is not None:
            await remember(connection, self.account_id, self.key, reference)

    async def done_before(self, connection: AsyncConnection) -> bool:
        """For commands: whether this very request succeeded before. Takes nothing."""
        if self.key is None:
            return False
        try:
            return await was_answered(connection, self.account_id, self.key, self.body_hash)
        except IdempotencyMismatch:
            raise Problem("idempotency_mismatch") from None

    async def done(self, connection: AsyncConnection, reference: str) -> None:
        """For commands: it succeeded."""
        if await self.answered(connection) is None:
            await self.remember(connection, reference)

    async def attempt(self, connection: AsyncConnection) -> int:
        """For commands: the number of this attempt, which grows with refusals."""
        key = self._refusals
        return 0 if key is None else await refusals(connection, self.account_id, key)

    async def refused(self, connection: AsyncConnection, attempt: int) -> None:
        """For commands: it was refused for good, and changed nothing. The next is judged anew."""
        if (key := self._refusals) is not None:
            await remember_refusal(connection, self.account_id, key, self.body_hash, attempt)

    @property
    def _refusals(self) -> str | None:
        """Where they are counted: of this very request, for a refused key is free for another."""
        if self.key is None:
            return None
        return hashlib.sha256(f"refused\0{self.key}\0{self.body_hash.hex()}".encode()).hexdigest()


async def get_once(request: Request, idempotency_key: IdempotencyKey = None) -> OnceOnly:
    caller = caller_by(context_of(request), request.headers.get("authorization"))
    return once_of(request, caller, idempotency_key, await request.body())


def once_of(request: Request, caller: Caller, key: str | None, body: bytes) -> OnceOnly:
    """For routes that read the body for themselves."""
    path = f"{request.method} {request.url.path}?{request.url.query}\0".encode()
    body_hash = hashlib.sha256(path + body).digest()
    named = None if key is None else hashed(caller.account_id, key)
    return OnceOnly(caller.account_id, named, body_hash)


def hashed(account_id: int, key: str) -> str:
    """The same key of two accounts is two keys."""
    return hashlib.sha256(f"{account_id}\0{key}".encode()).hexdigest()


Once = Annotated[OnceOnly, Depends(get_once)]
