"""Wakes the relay after a commit, at most every few milliseconds.

NOTIFY inside each booking's transaction would take PostgreSQL's one queue lock at every commit and
serialise a rush; a bell rung by the process afterwards costs nothing, and a bell that is lost costs
at most the relay's slow poll.
"""

import asyncio
from contextlib import suppress

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.outbox import CHANNEL

PAUSE = 0.02  # seconds between two rings


class Doorbell:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something was written to the outbox and committed (or soon will be)."""
        self._rung.set()

    async def run(self) -> None:
        """Pass the rings on until cancelled."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            with suppress(SQLAlchemyError):  # the relay polls as well
                async with self._engine.connect() as connection:
                    await connection.execution_options(isolation_level="AUTOCOMMIT")
                    await connection.execute(text(f"notify {CHANNEL}"))
            await asyncio.sleep(PAUSE)
