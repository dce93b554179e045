"""What staff write when they act: kept sealed in the audit, never in the clear."""

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from db.account import sealing_key_of_account
from db.journal import audit
from domain.access import Caller, Role


async def audit_with_words(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    event: str,
    subject: str,
    words: str | None,
) -> None:
    """About no patient in particular, so it is sealed under the writer's own key."""
    note = None
    if words is not None:
        key = await sealing_key_of_account(connection, context.keyring, caller.account_id)
        note = (key.id, key.key.seal({"note": words}))
    await audit(
        connection,
        caller.hospital_id,
        event,
        subject,
        actor_role=Role.OPERATOR,
        actor_id=caller.account_id,
        note=note,
    )
