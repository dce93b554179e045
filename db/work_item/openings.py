"""How work items come about, begin, and are not needed any more."""

from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import local_today
from db.journal import append_timeline
from db.outbox import promise
from db.work_item.rows import WorkItemRow
from db.work_item.telling import tell_role
from domain.access import Role
from domain.message import Template
from domain.order import SYSTEM, Actor, Move, NumberPrefix, new_number
from domain.work_item import (
    URGENT,
    NewWorkItem,
    Progress,
    WorkItem,
    WorkItemStart,
    WorkItemStatus,
)

W = WorkItemRow
# What is written about an order goes with its patient.
KEY_OF_ORDER = text(
    """select p.data_key_id
         from (select patient_id from appointment where order_no = :order_no
               union all select patient_id from consultation where order_no = :order_no) o
         join patient p on p.id = o.patient_id"""
)


async def open_work_item(
    connection: AsyncConnection,
    hospital_id: int,
    new: NewWorkItem,
    *,
    by: Actor = SYSTEM,
    note: tuple[int, bytes] | None = None,
) -> str | None:
    """Have a person decide something that no workflow waits for. The work item's number, or None
    when it is there already (see NewWorkItem).

    Its workflow is promised in this transaction. `note` is what somebody wrote about it:
    (data key id, sealed).
    """
    number = await insert_work_item(connection, hospital_id, new, by=by, note=note)
    if number is not None:
        await promise(connection, stream=number, workflow="work_item", subject=number)
    return number


async def insert_work_item(
    connection: AsyncConnection,
    hospital_id: int,
    new: NewWorkItem,
    *,
    by: Actor = SYSTEM,
    note: tuple[int, bytes] | None = None,
) -> str | None:
    """The row alone, for a workflow that starts the work item as its child. The number, or None
    when it is there already."""
    today = await local_today(connection)
    key_id = note[0] if note else None
    if key_id is None and new.order_no is not None:
        key_id = await connection.scalar(KEY_OF_ORDER, {"order_no": new.order_no})
    made = await connection.execute(
        insert(W)
        .values(
            **{name: value for name, value in vars(new).items() if name != "round"},
            hospital_id=hospital_id,
            number=new_number(NumberPrefix.WORK_ITEM, today),
            round=_next_round(hospital_id, new) if new.round is None else new.round,
            status=WorkItemStatus.OPEN,
            data_key_id=key_id,
            note=note[1] if note else None,
        )
        .on_conflict_do_nothing(index_elements=["hospital_id", "kind", "subject", "round"])
        .returning(W.number, W.opened_at)
    )
    row = made.one_or_none()
    if row is None:
        return None
    opened = WorkItemStatus.OPEN
    await append_timeline(
        connection, Move(row.number, 0, "opened", opened, row.opened_at, by.role, by.id)
    )
    if new.kind in URGENT:
        await tell_role(connection, row.number, new.role, Template.WORK_ITEM_OPENED, 0)
    return str(row.number)


def _next_round(hospital_id: int, new: NewWorkItem) -> Any:
    """The one after those that are over. While one is open it is that one's, and conflicts."""
    return (
        select(func.count())
        .where(
            W.hospital_id == hospital_id,
            W.kind == new.kind,
            W.subject == new.subject,
            W.closed_at.is_not(None),
        )
        .scalar_subquery()
    )


async def withdraw_work_item(connection: AsyncConnection, kind: str, subject: str) -> None:
    """What was to be decided has come right by itself."""
    standing = await connection.execute(
        select(W.number).where(W.kind == kind, W.subject == subject, W.closed_at.is_(None))
    )
    for number in standing.scalars():
        await promise(
            connection, stream=number, workflow="work_item", subject=number, signal="withdraw"
        )


# Beginning


def _starts() -> Any:
    return select(
        W.number, W.kind, W.subject, W.role, W.decisions, W.lease, W.excluded, W.escalates_at,
        W.escalates_to, W.due_at, W.at_deadline, W.status, W.version, W.claimed_by, W.lease_until,
        W.escalated, W.decision,
    )  # fmt: skip


async def load_work_items(
    connection: AsyncConnection, numbers: list[str]
) -> dict[str, WorkItemStart]:
    """What each workflow is told when it begins, from the rows as they stand."""
    rows = await connection.execute(_starts().where(W.number.in_(numbers)))
    return {row.number: _start(row) for row in rows}


async def find_round(
    connection: AsyncConnection, hospital_id: int, kind: str, subject: str, round: int
) -> WorkItemStart | None:
    row = (
        await connection.execute(
            _starts().where(
                W.hospital_id == hospital_id,
                W.kind == kind,
                W.subject == subject,
                W.round == round,
            )
        )
    ).one_or_none()
    return _start(row) if row else None


def _start(row: Row[Any]) -> WorkItemStart:
    return WorkItemStart(
        WorkItem(
            number=row.number,
            kind=row.kind,
            subject=row.subject,
            role=Role(row.role),
            decisions=tuple(row.decisions),
            lease=row.lease,
            excluded=tuple(row.excluded),
            escalates_at=row.escalates_at,
            escalates_to=Role(row.escalates_to) if row.escalates_to else None,
            due_at=row.due_at,
            at_deadline=row.at_deadline,
        ),
        Progress(
            status=WorkItemStatus(row.status),
            version=row.version,
            claimed_by=row.claimed_by,
            lease_until=row.lease_until,
            escalated=row.escalated,
            decision=row.decision,
        ),
    )
