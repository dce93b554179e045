from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activities.gateways.sandbox_payment import SandboxPaymentGateway
from tests.support.gateway import Inbox, RunningGateway, callback_inbox, sandbox_gateway


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
async def running_gateway(db: Path) -> AsyncIterator[RunningGateway]:
    async with sandbox_gateway(db) as gateway:
        yield gateway


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with callback_inbox() as inbox:
        yield inbox


@pytest.fixture
def payments(running_gateway: RunningGateway, inbox: Inbox) -> SandboxPaymentGateway:
    return running_gateway.payments(inbox.url)
