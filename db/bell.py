"""Tells every API process that something happened in a conversation: ids only, by LISTEN/NOTIFY."""

import json
from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL = "conversation"
AT_MOST = 100  # orders in one call: PostgreSQL takes 8000 bytes


async def call(
    connection: AsyncConnection,
    order_nos: Collection[str] = (),
    *,
    typing: Collection[tuple[str, str]] = (),
    sender: str = "",
) -> None:
    """Heard when this transaction commits. `typing`: order and side; `sender` is the process that
    knows already."""
    payload = json.dumps({"from": sender, "orders": list(order_nos), "typing": list(typing)})
    await connection.execute(
        text("select pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
    )
