"""The application: routes, middleware, error answers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from api import (
    allergies,
    appointments,
    asking,
    auth,
    callbacks,
    catalogue,
    consents,
    consultations,
    consulting,
    conversation,
    credentials,
    dev,
    duty,
    errors,
    files,
    health,
    live_events,
    notifications,
    operations,
    payments,
    phone_calls,
    queue,
    reconciliation,
    reply_templates,
    rescheduling,
    schedules,
    stops,
    suspensions,
    users,
    waitlist,
    work_items,
)
from api.codec import codec_app
from api.context import Context
from api.documented import ANY
from api.middleware import AROUND_A_FILE, BodyLimit, Larger, Observed
from db.base import look_after
from runtime.background import kept, running

BASE = "/api/hospital"
TAKES_FILES = re.compile(f"{BASE}/files/?|{BASE}/consultations/[^/]+/messages/?")
ROUTERS = (
    auth.router,
    users.router,
    catalogue.router,
    schedules.router,
    queue.router,
    appointments.router,
    rescheduling.router,
    waitlist.router,
    asking.router,
    consultations.router,
    consulting.router,
    stops.router,
    payments.router,
    operations.router,
    work_items.router,
    suspensions.router,
    reconciliation.router,
    duty.router,
    credentials.router,
    consents.router,
    reply_templates.router,
    allergies.router,
    notifications.router,
    files.router,
    conversation.router,
    live_events.router,
    callbacks.router,
    phone_calls.router,
)


def create_app(context: Context, *, loopback: bool = True) -> FastAPI:
    """`loopback`: whether only this machine can reach it. The development routes ask for that."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(
            kept(context.doorbell.run),
            kept(context.revocations.run),
            kept(context.streams.run),
            kept(partial(look_after, context.direct)),
        ):
            yield

    app = FastAPI(
        title=context.config.hospital.name,
        description="互联网医院 · Internet hospital. Every order is a durable workflow.",
        version="0.1.0",
        lifespan=lifespan,
        openapi_url=f"{BASE}/openapi.json",
        docs_url=f"{BASE}/docs",
        redoc_url=None,
        # Prometheus counts, and our logs hold no text of an exception: it may hold values.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.context = context
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix=BASE, responses=ANY)
    if context.settings.dev and loopback:
        app.include_router(dev.router, prefix=BASE, responses=ANY)
    app.include_router(health.router)
    app.mount("/codec", codec_app(context, loopback=loopback))
    for_files = context.config.policies.files.max_bytes + AROUND_A_FILE
    app.add_middleware(BodyLimit, larger=(Larger(TAKES_FILES, for_files),))
    app.add_middleware(Observed, metrics=context.metrics)
    return app
