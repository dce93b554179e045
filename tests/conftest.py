"""What every test shares. Rooms add their own fixtures in their own conftest."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.base import engine_for
from db.keyring import Keyring
from tests.support.database import DatabaseServer, running_postgres


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Our own only where the command line asks for nothing else than `-n`."""
    from tests.support.scheduling import ByHouse  # where xdist is

    return ByHouse(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres: DatabaseServer) -> Iterator[str]:
    with postgres.fresh_database() as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = engine_for(database_url, pool_size=20)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    return Keyring(current="k1", keys={"k1": b"1" * 32}, index=b"i" * 32)
