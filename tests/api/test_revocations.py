"""A login that ended in another process is known here, whatever happened meanwhile."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from api.context import Context
from api.revocations import Revocations
from db.account import create_account, end_session, open_session

pytestmark = pytest.mark.anyio


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
