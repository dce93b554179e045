"""Reconciliation (对账): what was compared, what did not agree, and the report to download."""

import csv
import io
from dataclasses import asdict
from datetime import date
from typing import Any

from fastapi import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.fields import today_at
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.paging import Day, InPages
from api.schemas.reconciliation import (
    Reconcile,
    ReconciliationAsked,
    ReconciliationDay,
    ReconciliationDifference,
    ReconciliationRun,
)
from api.words import audit_with_words
from db.outbox import promise
from db.reconciliation import Found, Run, differences_of, list_runs, runs_of
from domain.access import Action

router = Router(prefix="/ops/reconciliation", tags=["reconciliation"])

COLUMNS = (
    "channel", "code", "kind", "number", "payment_no", "order_no", "bill_amount", "books_amount",
    "details", "found_at", "work_item_id", "work_item_status", "decision",
)  # fmt: skip
BOM = "\ufeff"  # without it Excel takes UTF-8 for something else
CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "the report"}
}


@router.get("", summary="What was compared", responses=refusals("not_authenticated", "forbidden"))
async def get_runs(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[ReconciliationRun]:
    """A day and channel each, newest day first."""
    require(caller, Action.RECONCILE)
    runs, total = await list_runs(
        connection, context.hospital_id, page=paging.page, size=paging.size
    )
    items = [ReconciliationRun(**asdict(run)) for run in runs]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.post(
    "",
    status_code=202,
    summary="Compare a day again, now",
    responses=refusals(
        "not_authenticated", "forbidden", "invalid", "idempotency_mismatch", "unavailable"
    ),
)
async def reconcile(
    wanted: Reconcile, caller: CurrentCaller, context: InContext, once: Once
) -> ReconciliationAsked:
    """What was filed before is not filed again. While one of this day runs, it is that one."""
    require(caller, Action.RECONCILE)
    if wanted.day >= today_at(context.config.hospital):
        raise Problem.of_field("day", "must be over")
    subject = wanted.day.isoformat()
    workflow_id = f"reconciliation/{subject}"
    async with context.engine.begin() as connection:
        if await once.answered(connection) is None:
            await promise(
                connection, stream=workflow_id, workflow="reconciliation", subject=subject
            )
            await audit_with_words(
                context, connection, caller, "reconciliation_asked", subject, wanted.reason
            )
            await once.remember(connection, subject)
    context.doorbell.ring()
    return ReconciliationAsked(day=wanted.day, workflow_id=workflow_id)


# Before `/{day}`, which would take the ending for a part of the day.
@router.get(
    "/{day}.csv",
    summary="A day's differences as a file",
    response_class=Response,
    responses=CSV | refusals("not_authenticated", "forbidden", "not_found", "invalid"),
)
async def get_report(
    day: Day, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Response:
    """UTF-8 with a byte order mark, a head line, comma-separated (RFC 4180)."""
    require(caller, Action.RECONCILE)
    _, differences = await _day(context, connection, day)
    return Response(
        report(day, differences),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="reconciliation-{day}.csv"'},
    )


@router.get(
    "/{day}",
    summary="A day's figures and differences",
    responses=refusals("not_authenticated", "forbidden", "not_found", "invalid"),
)
async def get_day(
    day: Day, caller: CurrentCaller, context: InContext, connection: Transaction
) -> ReconciliationDay:
    require(caller, Action.RECONCILE)
    runs, differences = await _day(context, connection, day)
    return ReconciliationDay(
        day=day,
        runs=[ReconciliationRun(**asdict(run)) for run in runs],
        differences=[ReconciliationDifference(**asdict(one)) for one in differences],
    )


async def _day(
    context: Context, connection: AsyncConnection, day: date
) -> tuple[list[Run], list[Found]]:
    runs = await runs_of(connection, context.hospital_id, day)
    if not runs:
        raise Problem("not_found")
    return runs, await differences_of(connection, context.hospital_id, day)


def report(day: date, differences: list[Found]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(("day", *COLUMNS))
    for difference in differences:
        values = vars(difference) | {
            "details": "; ".join(f"{name}={value}" for name, value in difference.details.items()),
            "found_at": difference.found_at.isoformat(timespec="seconds"),
        }
        writer.writerow([day, *(_cell(values[name]) for name in COLUMNS)])
    return BOM + file.getvalue()


def _cell(value: object) -> str:
    """What begins like a formula is none: a number from a bill was written by somebody else."""
    shown = "" if value is None else str(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else shown
