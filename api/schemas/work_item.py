"""Work items (待办) and appeals on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import Field

from api.schemas.appointment import OperatorReason, TimelineEntry
from api.schemas.base import NO_NUL, Duration, Schema
from api.schemas.paging import Id
from domain.work_item import WorkItemStatus


class WorkItem(Schema):
    id: int
    number: str
    kind: str
    queue: str = Field(description="the role's task queue, as in Temporal")
    status: WorkItemStatus
    subject: str = Field(description="what is decided about: an order's, a refund's number")
    order_no: str | None
    details: dict[str, str] = Field(description="codes and amounts")
    opened_at: dt.datetime
    age: Duration = Field(description="since it was opened, or how long it took; ISO 8601")
    claimed_by: int | None = Field(description="who has it now, or who decided it")
    lease_until: dt.datetime | None
    escalates_at: dt.datetime | None
    escalates_to: str | None = Field(description="the queue whose people may then decide too")
    escalated: bool
    due_at: dt.datetime | None
    next_step: str = Field(description="what happens next by itself, and when")
    decisions: list[str] = Field(description="what can be decided")
    decision: str = Field(description="what was decided, or empty")
    version: int


class WorkItemStory(WorkItem):
    note: str | None = Field(description="what was written when it was opened")
    timeline: list[TimelineEntry]


class Reassignment(OperatorReason):
    """To an account of the work item's role."""

    account_id: Id


class Decision(Schema):
    """One of the work item's `decisions`. The remark is kept sealed and goes into no history."""

    decision: Annotated[str, Field(min_length=1, max_length=64), NO_NUL]
    remark: Annotated[str, Field(min_length=1, max_length=500), NO_NUL] | None = None


class Appeal(Schema):
    """Why the suspension should end. Kept sealed."""

    note: Annotated[str, Field(min_length=1, max_length=500), NO_NUL]


class Suspension(Schema):
    """Booking is refused for this person between these instants, unless it was lifted."""

    id: int
    order_no: str = Field(description="the missed appointment that brought it")
    patient_id: int
    starts_at: dt.datetime
    ends_at: dt.datetime
    lifted_at: dt.datetime | None
    appeal: WorkItemStatus | None = Field(description="how far the appeal is, if there is one")
    decision: str = Field(description="`lifted`, `kept`, or empty")
