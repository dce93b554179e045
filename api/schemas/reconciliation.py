"""Reconciliation (对账) on the wire."""

import datetime as dt

from pydantic import ConfigDict, Field

from api.schemas.appointment import OperatorReason
from api.schemas.base import Money, Schema
from api.schemas.paging import Day
from domain.reconciliation import Code, RunStatus


class ReconciliationRun(Schema):
    day: dt.date
    channel: str = Field(description="or `workflows`: rows against workflows")
    status: RunStatus
    figures: dict[str, int] = Field(
        description="lines, bad_lines, booked, differences, and how many of these were filed now"
    )
    started_at: dt.datetime
    finished_at: dt.datetime | None


class ReconciliationDifference(Schema):
    channel: str
    code: Code
    kind: str = Field(description="payment, refund, or a workflow's; empty for a line or a bill")
    number: str
    payment_no: str
    order_no: str
    bill_amount: Money | None
    books_amount: Money | None
    details: dict[str, str] = Field(description="codes and amounts")
    found_at: dt.datetime
    work_item_id: int | None
    work_item_status: str
    decision: str


class ReconciliationDay(Schema):
    day: dt.date
    runs: list[ReconciliationRun]
    differences: list[ReconciliationDifference] = Field(
        description="those that this day's runs found first"
    )


class Reconcile(OperatorReason):
    """A day that is over."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"day": "2026-11-21", "reason": "账单更正"}]}
    )

    day: Day


class ReconciliationAsked(Schema):
    day: dt.date
    workflow_id: str = Field(description="as in Temporal's web UI")
