"""Logins. Each refresh token works once and brings the next; an old one seen again ends the login,
because either its holder or the one who came before is a thief."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.rows import RefreshTokenRow, SessionRow


@dataclass(frozen=True)
class OpenSession:
    id: int
    account_id: int
    refresh_token: str


class RefreshRefusal(StrEnum):
    UNKNOWN = "unknown"
    REUSED = "reused"  # the session has been ended for it
    ENDED = "ended"
    EXPIRED = "expired"


@dataclass(frozen=True)
class RefusedRefresh:
    """A value and no exception: what a reuse has ended must be committed."""

    why: RefreshRefusal
    session_id: int | None = None


# `for share` meets the lock of a password that is being changed: the login with the old one is
# either seen and ended by that change, or comes after it and finds another hash.
OPEN = text("""
    with held as (
        select id from account
         where id = :account_id and active and password_hash = :password_hash for share
    )
    insert into login_session (account_id, expires_at) select id, now() + :valid from held
    returning id
""")


async def open_session(
    connection: AsyncConnection, account_id: int, password_hash: str, valid: timedelta
) -> OpenSession | None:
    """A new login, or None when the account was closed or its password changed (`password_hash`
    is no longer its) since the caller proved who they are."""
    await _forget_old_tokens(connection, account_id)
    opened = await connection.execute(
        OPEN, {"account_id": account_id, "password_hash": password_hash, "valid": valid}
    )
    session_id = opened.scalar()
    if session_id is None:
        return None
    return OpenSession(session_id, account_id, await _next_token(connection, session_id))


async def refresh_session(
    connection: AsyncConnection, refresh_token: str, valid: timedelta
) -> OpenSession | RefusedRefresh:
    """Use the token up and hand out its successor. The caller commits whatever comes back."""
    token_hash = _hash(refresh_token)
    used = await connection.execute(
        # Of parallel requests with one token the second waits here, then finds it used.
        update(RefreshTokenRow)
        .where(RefreshTokenRow.token_hash == token_hash, RefreshTokenRow.used_at.is_(None))
        .values(used_at=func.now())
        .returning(RefreshTokenRow.session_id)
    )
    session_id = used.scalar()
    if session_id is None:
        return await _refuse_used(connection, token_hash)
    kept = await connection.execute(
        update(SessionRow)
        .where(
            SessionRow.id == session_id,
            SessionRow.revoked_at.is_(None),
            SessionRow.expires_at > func.now(),
        )
        .values(expires_at=func.now() + valid)
        .returning(SessionRow.account_id)
    )
    account_id = kept.scalar()
    if account_id is None:
        return await _refuse_over(connection, session_id)
    return OpenSession(session_id, account_id, await _next_token(connection, session_id))


async def end_session(connection: AsyncConnection, session_id: int, why: str) -> None:
    """Again on an ended one changes nothing."""
    await connection.execute(
        update(SessionRow)
        .where(SessionRow.id == session_id, SessionRow.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_why=why)
    )


async def end_sessions(connection: AsyncConnection, account_id: int, why: str) -> list[int]:
    """End every login of the account; their ids."""
    ended = await connection.execute(
        update(SessionRow)
        .where(SessionRow.account_id == account_id, SessionRow.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_why=why)
        .returning(SessionRow.id)
    )
    return list(ended.scalars())


async def _refuse_used(connection: AsyncConnection, token_hash: bytes) -> RefusedRefresh:
    found = await connection.execute(
        select(RefreshTokenRow.session_id).where(RefreshTokenRow.token_hash == token_hash)
    )
    session_id = found.scalar()
    if session_id is None:
        return RefusedRefresh(RefreshRefusal.UNKNOWN)
    await end_session(connection, session_id, "token_reused")
    return RefusedRefresh(RefreshRefusal.REUSED, session_id)


async def _refuse_over(connection: AsyncConnection, session_id: int) -> RefusedRefresh:
    found = await connection.execute(
        select(SessionRow.revoked_at).where(SessionRow.id == session_id)
    )
    ended = found.scalar() is not None
    return RefusedRefresh(RefreshRefusal.ENDED if ended else RefreshRefusal.EXPIRED, session_id)


async def _next_token(connection: AsyncConnection, session_id: int) -> str:
    token = secrets.token_urlsafe(32)
    await connection.execute(
        insert(RefreshTokenRow).values(session_id=session_id, token_hash=_hash(token))
    )
    return token


async def _forget_old_tokens(connection: AsyncConnection, account_id: int) -> None:
    """Tokens of logins that are over prove nothing; a month of one leaves up to 3,000."""
    await connection.execute(
        text("""
            delete from refresh_token t using login_session s
             where t.session_id = s.id and s.account_id = :account_id
               and (s.expires_at < now() or s.revoked_at < now() - interval '1 day')
        """),
        {"account_id": account_id},
    )


def _hash(token: str) -> bytes:
    # 256 random bits need no slow hash.
    return hashlib.sha256(token.encode()).digest()
