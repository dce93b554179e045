"""Logins that ended: known in every process, also in one that could not read for a while."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.revocations import Revocations
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
