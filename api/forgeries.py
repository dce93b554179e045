"""Callbacks that are not signed as they must be.

Anybody can send them, as many as they like, and what is in the audit stays there. So each is in the
log, which turns over, and only so many an hour are in the audit; the rest are a number.
"""

import structlog
from fastapi import Request

from api.context import Context
from api.limits import client_address, forgery_limits
from db.journal import audit
from db.rate_limit import TooOften, count

log = structlog.get_logger(__name__)


async def note_forgery(context: Context, request: Request, source: str, reason: str) -> None:
    """`source`: of whom it claims to be, one of those that are set up."""
    log.warning("callback_refused", source=source, reason=reason)
    audited = await _audited(context, request, reason)
    context.metrics.forged_callback(source, "audited" if audited else "counted")


async def _audited(context: Context, request: Request, reason: str) -> bool:
    try:
        async with context.engine.begin() as connection:
            await count(connection, *forgery_limits(context, client_address(request)))
            await audit(
                connection,
                context.hospital_id,
                "bad_signature",
                request.url.path.removeprefix("/api/hospital/"),
                actor_role="stranger",
                details={
                    "reason": reason,
                    "address": request.client.host if request.client else None,
                },
            )
    except TooOften:
        return False
    return True
