"""An application a test, on a database of its own."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api.context import Context
from db.keyring import Keyring
from tests.support.api import RememberedSms, client_of, close_context, make_context


@pytest.fixture
def sms() -> RememberedSms:
    return RememberedSms()


@pytest.fixture
async def context(
    database_url: str, keyring: Keyring, sms: RememberedSms
) -> AsyncIterator[Context]:
    context = await make_context(database_url, keyring, sms=sms)
    yield context
    await close_context(context)


@pytest.fixture
async def client(context: Context) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(context) as client:
        yield client
