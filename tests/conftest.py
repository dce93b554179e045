"""What every test shares. Rooms add their own fixtures in their own conftest."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
