"""Answers already given, by caller and Idempotency-Key: a body hash and a reference, no content.

For creators that are one transaction: the key is taken in it, so that a second request with the
same key waits until the first is decided, and a refusal, which rolls back, is judged anew.

For commands, which others carry out, it is kept how often each was refused: `refusals`.
"""

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.journal import IdempotencyRow


class IdempotencyMismatch(Exception):
    """This key came before with another method, path or body."""


async def first_answer(
    connection: AsyncConnection, account_id: int, key: str, body_hash: bytes
) -> str | None:
    """The reference remembered for this key, or None: then the key is the caller's to fill with
    `remember` before it commits. Raises IdempotencyMismatch."""
    taken = await connection.execute(
        insert(IdempotencyRow)
        .values(account_id=account_id, key=key, body_hash=body_hash)
        .on_conflict_do_nothing()
        .returning(IdempotencyRow.key)
    )
    if taken.scalar() is not None:
        return None
    given = await connection.execute(
        select(IdempotencyRow.body_hash, IdempotencyRow.reference).where(
            IdempotencyRow.account_id == account_id, IdempotencyRow.key == key
        )
    )
    row = given.one()
    if row.body_hash != body_hash:
        raise IdempotencyMismatch
    reference: str | None = row.reference
    return reference


async def was_answered(
    connection: AsyncConnection, account_id: int, key: str, body_hash: bytes
) -> bool:
    """Whether this key has its answer. Raises IdempotencyMismatch."""
    given = await connection.scalar(
        select(IdempotencyRow.body_hash).where(
            IdempotencyRow.account_id == account_id, IdempotencyRow.key == key
        )
    )
    if given is not None and given != body_hash:
        raise IdempotencyMismatch
    return given is not None


async def refusals(connection: AsyncConnection, account_id: int, key: str) -> int:
    """How many attempts under this key were refused, as far as anybody heard of them."""
    kept = await connection.scalar(
        select(IdempotencyRow.reference).where(
            IdempotencyRow.account_id == account_id, IdempotencyRow.key == key
        )
    )
    return int(kept or 0)


async def remember_refusal(
    connection: AsyncConnection, account_id: int, key: str, body_hash: bytes, attempt: int
) -> None:
    """Attempt number `attempt`, from 0, was refused. Who tells it later changes nothing."""
    made = insert(IdempotencyRow).values(
        account_id=account_id, key=key, body_hash=body_hash, reference=str(attempt + 1)
    )
    await connection.execute(
        made.on_conflict_do_update(
            index_elements=[IdempotencyRow.account_id, IdempotencyRow.key],
            set_={"reference": made.excluded.reference},
            where=IdempotencyRow.reference == str(attempt),
        )
    )


async def remember(connection: AsyncConnection, account_id: int, key: str, reference: str) -> None:
    await connection.execute(
        update(IdempotencyRow)
        .where(IdempotencyRow.account_id == account_id, IdempotencyRow.key == key)
        .values(reference=reference)
    )
