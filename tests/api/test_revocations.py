"""A login that ended in another process is known here, whatever happened meanwhile."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from api.context import Context
from api.revocations import Revocations
from db.account import create_account, end_session, open_session
from db.keyring import Keyring
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio
LIFETIME = timedelta(minutes=15)


async def ended(clinic: Clinic, ago: timedelta) -> int:
    """A login that ended elsewhere."""
    async with clinic.engine.begin() as connection:
        made = await connection.execute(
            text(
                """insert into login_session (account_id, expires_at, revoked_at)
                   values (:account, now() + interval '1 day', now() - cast(:ago as interval))
                   returning id"""
            ),
            {"account": await clinic.account(), "ago": ago},
        )
        number: int = made.scalar_one()
    return number


async def test_logins_are_known_for_as_long_as_their_tokens_live(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    clinic = await Clinic.opened(engine, keyring)
    lately = await ended(clinic, LIFETIME - timedelta(minutes=1))
    before = await ended(clinic, LIFETIME + timedelta(minutes=1))
    revocations = Revocations(engine, LIFETIME)
    await revocations.read()
    assert (revocations.ended(lately), revocations.ended(before)) == (True, False)


async def test_logins_that_ended_while_nothing_could_be_read_are_known_from_then_on(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    clinic = await Clinic.opened(engine, keyring)
    revocations = Revocations(engine, LIFETIME)
    await revocations.read()
    an_hour_ago = await ended(clinic, timedelta(hours=1))
    revocations._read_at -= timedelta(hours=2).total_seconds()
    for _ in range(3):  # streams are asked about between any two readings
        await revocations.read()
        assert revocations.ended(an_hour_ago)


class Stumbling:
    """An engine whose first connections break in a way that nobody thought of."""

    def __init__(self, engine: AsyncEngine, times: int) -> None:
        self._engine = engine
        self.left = times

    def connect(self) -> Any:
        if self.left:
            self.left -= 1
            raise RuntimeError("not thought of")
        return self._engine.connect()


async def test_a_reading_that_breaks_is_not_the_last(
    context: Context,
) -> None:
    stumbling = Stumbling(context.engine, 1)
    revocations = Revocations(stumbling, timedelta(minutes=15))  # type: ignore[arg-type]
    async with context.engine.begin() as connection:
        account = await create_account(
            connection, context.keyring, 1, phone="+8613800138000", name=None, password_hash="x"
        )
        session = await open_session(connection, account, "x", timedelta(days=1))
        assert session is not None
        await end_session(connection, session.id, "logout")
    app = create_app(replace(context, revocations=revocations))
    async with app.router.lifespan_context(app), asyncio.timeout(10):
        while not revocations.ended(session.id):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert stumbling.left == 0
