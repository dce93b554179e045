"""Connections without SQLAlchemy, when PostgreSQL goes away and comes back."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from db.base import DriverPool, driver_pool_for, look_after
from runtime.background import running
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


async def test_what_was_cut_while_nobody_asked_is_not_given_out(database_url: str) -> None:
    async with driver_pool_for(database_url, size=3, least=3) as pool:
        await pool.wait()
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                """select pg_terminate_backend(pid, 5000) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()"""
            )
        async with running(look_after(pool, every=0.01)):
            async with asyncio.timeout(10):
                while pool.get_stats().get("connections_lost", 0) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert all([await answers(pool) for _ in range(6)])


async def test_whoever_looks_after_it_ends_in_the_middle_of_a_look(database_url: str) -> None:
    async with driver_pool_for(database_url, size=3, least=3) as pool:
        await pool.wait()
        for turns in range(12):
            looking = asyncio.create_task(look_after(pool, every=0.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(looking, 5)
        assert await answers(pool)


async def test_each_statement_is_its_own_transaction_in_the_hospitals_time(
    database_url: str,
) -> None:
    pool = driver_pool_for(database_url, size=1, time_zone="Asia/Urumqi")
    async with pool, pool.connection() as driver:
        row = await (await driver.execute("select current_setting('timezone')")).fetchone()
        assert row == ("Asia/Urumqi",)
        status = driver.info.transaction_status
        assert status is psycopg.pq.TransactionStatus.IDLE
