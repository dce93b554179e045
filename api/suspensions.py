"""Suspensions from booking (暂停预约) as the account sees them whose order it was, and appeals."""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from api.schemas.work_item import Appeal, Suspension
from db.appointment import Suspension as Row
from db.appointment import find_suspension_of, suspensions_of
from db.work_item import open_work_item
from domain.access import Action, Caller, Capacity
from domain.order import Actor
from domain.work_item import WorkItemKind, WorkItemStatus, for_desk

router = Router(prefix="/users/me/suspensions", tags=["accounts"])


@router.get("", summary="My suspensions", responses=refusals("not_authenticated", "forbidden"))
async def get_suspensions(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[Suspension]:
    """Of persons this account booked for, newest first, also those that are over."""
    require(caller, Action.APPEAL)
    rows = await suspensions_of(connection, context.hospital_id, caller.account_id)
    first = (paging.page - 1) * paging.size
    items = [_suspension(row) for row in rows[first : first + paging.size]]
    return Page(items=items, total=len(rows), page=paging.page, size=paging.size)


@router.post(
    "/{id}/appeal",
    status_code=201,
    summary="Ask for it to be lifted",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "not_allowed", "already_appealed",
        "invalid", "idempotency_mismatch",
    ),
)  # fmt: skip
async def appeal(
    id: Id, wanted: Appeal, caller: CurrentCaller, context: InContext, once: Once
) -> Suspension:
    """Once. An operator decides; the answer comes as a message."""
    require(caller, Action.APPEAL)
    async with context.engine.begin() as connection:
        if await once.answered(connection) is None:
            await _file(context, connection, caller, id, wanted.note)
            await once.remember(connection, str(id))
        shown = _suspension(await _found(context, connection, caller, id))
    context.doorbell.ring()
    return shown


async def _file(
    context: Context, connection: AsyncConnection, caller: Caller, id: int, note: str
) -> None:
    suspension = await _found(context, connection, caller, id)
    if not suspension.stands or suspension.patient_key is None:  # nobody is left to book for
        raise Problem("not_allowed")
    lease = context.config.policies.work_items.lease
    new = replace(
        for_desk(WorkItemKind.SUSPENSION_LIFT, suspension.order_no, lease),
        order_no=suspension.order_no,
        round=0,  # one appeal a suspension
        excluded=(caller.account_id,),  # staff are patients too, and nobody judges themselves
        due_at=suspension.ends_at,
    )
    sealed = context.keyring.unwrap(suspension.patient_key).seal({"note": note})
    opened = await open_work_item(
        connection,
        context.hospital_id,
        new,
        by=Actor.person(Capacity.OWNER, caller.account_id),
        note=(suspension.patient_key_id, sealed),
    )
    if opened is None:
        raise Problem("already_appealed")


async def _found(context: Context, connection: AsyncConnection, caller: Caller, id: int) -> Row:
    found = await find_suspension_of(connection, context.hospital_id, caller.account_id, id)
    if found is None:
        raise Problem("not_found")
    return found


def _suspension(row: Row) -> Suspension:
    return Suspension(
        id=row.id,
        order_no=row.order_no,
        patient_id=row.patient_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        lifted_at=row.lifted_at,
        appeal=WorkItemStatus(row.appeal_status) if row.appeal_status else None,
        decision=row.appeal_decision or "",
    )
