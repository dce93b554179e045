"""The worklist, as staff look at it."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import Fields
from domain.access import Role
from domain.work_item import Progress, WorkItem, WorkItemStatus


@dataclass(frozen=True)
class Listed:
    """A work item with all that its reader wants to see. What is sealed stays so."""

    id: int
    hospital_id: int
    number: str
    kind: str
    subject: str
    order_no: str | None
    role: Role
    decisions: list[str]
    lease: timedelta
    excluded: list[int]
    escalates_at: datetime | None
    escalates_to: Role | None
    due_at: datetime | None
    at_deadline: str
    details: Fields
    status: WorkItemStatus  # open again once a lease is over
    version: int
    claimed_by: int | None
    lease_until: datetime | None
    escalated: bool
    decision: str
    opened_at: datetime
    closed_at: datetime | None
    data_key_id: int | None
    data_key: bytes | None  # wrapped
    note: bytes | None
    patient_id: int | None  # whom the note is about

    @property
    def item(self) -> WorkItem:
        return WorkItem(
            number=self.number,
            kind=self.kind,
            subject=self.subject,
            role=self.role,
            decisions=tuple(self.decisions),
            lease=self.lease,
            excluded=tuple(self.excluded),
            escalates_at=self.escalates_at,
            escalates_to=self.escalates_to,
            due_at=self.due_at,
            at_deadline=self.at_deadline,
        )

    @property
    def progress(self) -> Progress:
        return Progress(
            status=self.status,
            version=self.version,
            claimed_by=self.claimed_by,
            lease_until=self.lease_until,
            escalated=self.escalated,
            decision=self.decision,
        )


# A lease that is over is no timer of the workflow: whoever looks sees it as open.
STATUS = "case when w.status = 'claimed' and w.lease_until <= now() then 'open' else w.status end"
OWN = [f.name for f in fields(Listed) if f.name not in ("status", "data_key", "patient_id")]
ITEMS = f"""select {", ".join(f"w.{name}" for name in OWN)}, {STATUS} as status,
                   k.wrapped as data_key,
                   (select min(p.id) from patient p where p.data_key_id = k.id) as patient_id
              from work_item w left join data_key k on k.id = w.data_key_id"""
WANTED = f"""
     where w.hospital_id = :hospital_id
       and (cast(:roles as text[]) is null or ((w.role = any(:roles)
            or w.escalated and w.escalates_to = any(:roles)) and not :account_id = any(w.excluded)))
       and (cast(:role as text) is null or w.role = :role or w.escalated and w.escalates_to = :role)
       and (cast(:kind as text) is null or w.kind = :kind)
       and (cast(:status as text) is null or {STATUS} = :status)
       and (not :mine or (w.claimed_by = :account_id and {STATUS} = 'claimed'))
"""
ORDERED = "order by w.closed_at desc nulls first, w.id limit :size offset (:page - 1) * :size"
PAGE = text(ITEMS + WANTED + ORDERED)
TOTAL = text("select count(*) from work_item w" + WANTED)
BY_ID = text(ITEMS + " where w.id = :id and w.hospital_id = :hospital_id")
BY_NUMBER = text(ITEMS + " where w.number = :number and w.hospital_id = :hospital_id")


@dataclass(frozen=True)
class Wanted:
    """None does not narrow. `roles` are the reader's, None for one who sees everything."""

    hospital_id: int
    account_id: int
    roles: Collection[Role] | None
    role: Role | None = None
    kind: str | None = None
    status: WorkItemStatus | None = None
    mine: bool = False  # claimed by this account
    page: int = 1
    size: int = 20


async def list_work_items(connection: AsyncConnection, wanted: Wanted) -> tuple[list[Listed], int]:
    """A page and how many there are in all: those that wait, oldest first, then those that are
    over, newest first."""
    values = {**vars(wanted), "roles": None if wanted.roles is None else list(wanted.roles)}
    rows = await connection.execute(PAGE, values)
    total = await connection.scalar(TOTAL, values)
    return [_listed(row) for row in rows], total or 0


async def find_work_item(connection: AsyncConnection, hospital_id: int, id: int) -> Listed | None:
    found = await connection.execute(BY_ID, {"id": id, "hospital_id": hospital_id})
    row = found.one_or_none()
    return _listed(row) if row else None


async def work_item_by_number(
    connection: AsyncConnection, hospital_id: int, number: str
) -> Listed | None:
    found = await connection.execute(BY_NUMBER, {"number": number, "hospital_id": hospital_id})
    row = found.one_or_none()
    return _listed(row) if row else None


def _listed(row: Row[Any]) -> Listed:
    to = row.escalates_to
    return Listed(
        **{
            **row._mapping,
            "role": Role(row.role),
            "escalates_to": Role(to) if to else None,
            "status": WorkItemStatus(row.status),
        }
    )
