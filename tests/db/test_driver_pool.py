"""Connections without SQLAlchemy, when PostgreSQL goes away and comes back."""

from pathlib import Path

import psycopg
import pytest

from db.base import DriverPool, driver_pool_for
from runtime.embedded_postgres import EmbeddedPostgres

pytestmark = pytest.mark.anyio


async def answers(pool: DriverPool) -> bool:
    try:
        async with pool.connection() as driver:
            await driver.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


async def test_it_goes_on_as_soon_as_postgresql_is_back(tmp_path: Path) -> None:
    """Also after it has given up: it begins again with whoever asks next."""
    postgres = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
    async with driver_pool_for(postgres.url, size=2, least=2, wait=0.3) as pool:
        assert await answers(pool)
        postgres.stop()
        assert not any([await answers(pool) for _ in range(5)])
        again = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
        assert again.url == postgres.url
        assert await answers(pool)
        again.stop()


async def test_each_statement_is_its_own_transaction_in_the_hospitals_time(
    database_url: str,
) -> None:
    pool = driver_pool_for(database_url, size=1, time_zone="Asia/Urumqi")
    async with pool, pool.connection() as driver:
        row = await (await driver.execute("select current_setting('timezone')")).fetchone()
        assert row == ("Asia/Urumqi",)
        status = driver.info.transaction_status
        assert status is psycopg.pq.TransactionStatus.IDLE
