"""Logins that were ended before their access tokens ran out.

Access tokens are not looked up in PostgreSQL at each request. Each process keeps the few that were
revoked within a token's lifetime: read at start and again every few seconds.
"""

import asyncio
import time
from datetime import timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

log = structlog.get_logger(__name__)

POLL = 1.0  # seconds: the longest that another process may still take an ended login's token

RECENT = text("select id from login_session where revoked_at > now() - :lifetime")


class Revocations:
    def __init__(self, engine: AsyncEngine, token_lifetime: timedelta) -> None:
        self._engine = engine
        self._lifetime = token_lifetime
        self._read_at = time.time()
        self._unread = timedelta()  # the longest that nothing could be read
        self._ended: frozenset[int] = frozenset()
        self._ended_here: set[int] = set()  # a read that began before our commit misses these

    def ended(self, session_id: int) -> bool:
        return session_id in self._ended or session_id in self._ended_here

    def end(self, session_id: int) -> None:
        """Known here at once; other processes read it within a second."""
        self._ended_here.add(session_id)

    async def run(self) -> None:
        while True:
            try:
                await self.read()
            except SQLAlchemyError as error:
                log.warning("revocations_not_read", error=type(error).__name__)
            await asyncio.sleep(POLL)

    async def read(self) -> None:
        """Streams outlive the tokens that opened them, so that logins which ended while nothing
        could be read count, however long ago that is."""
        now = time.time()
        self._unread = max(self._unread, timedelta(seconds=now - self._read_at))
        async with self._engine.connect() as connection:
            rows = await connection.execute(RECENT, {"lifetime": self._lifetime + self._unread})
            self._ended = frozenset(rows.scalars())
        self._read_at = now
