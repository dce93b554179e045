"""Alive, ready, and in figures: for load balancers, supervisors and Prometheus."""

import asyncio
from datetime import timedelta

from fastapi import Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

from api.context import Context, InContext
from api.routing import Router
from db.migrate import is_current
from runtime.metrics import render

router = Router(tags=["health"])

TEMPORAL_ANSWERS_WITHIN = timedelta(seconds=1)


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Whether it can serve, and what is away",
    responses={503: {"description": "It cannot: PostgreSQL or its migrations are away"}},
)
async def readyz(context: InContext) -> Response:
    """200 `ready`, or `degraded` while Temporal is away: booking and paying go on. 503 without
    PostgreSQL or its migrations."""
    database, temporal = await asyncio.gather(_database(context), _temporal(context))
    parts = {"database": database, "temporal": temporal}
    if database != "up":
        return JSONResponse({"status": "unavailable", "parts": parts}, 503)
    status = "ready" if temporal == "up" else "degraded"
    return JSONResponse({"status": status, "parts": parts})


@router.get("/metrics", summary="Prometheus", include_in_schema=False)
async def metrics(context: InContext) -> Response:
    content, content_type = render(context.metrics.registry)
    return Response(content, media_type=content_type)


async def _database(context: Context) -> str:
    try:
        async with context.engine.connect() as connection:
            await connection.execute(text("select 1"))
            current = await connection.run_sync(is_current)
    except (SQLAlchemyError, TimeoutError):
        return "away"
    return "up" if current else "not migrated"


async def _temporal(context: Context) -> str:
    try:
        service = context.lifecycles.client.service_client
        up = await asyncio.wait_for(
            service.check_health(timeout=TEMPORAL_ANSWERS_WITHIN),
            TEMPORAL_ANSWERS_WITHIN.total_seconds(),
        )
    except (RPCError, RuntimeError, TimeoutError):
        return "away"
    return "up" if up else "away"
