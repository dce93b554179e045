"""The worklist (待办): what waits for a member of staff, and what they do about it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from api.commands import Command, allow, carry_out
from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.documented import refusals
from api.idempotency import Once, OnceOnly
from api.orders import timeline_entry
from api.problems import Problem, prefers_english
from api.routing import Router
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from api.schemas.work_item import Decision, Reassignment, WorkItem, WorkItemStory
from api.steps import in_words
from db.account import SealingKey, read_account, sealing_key_of_account
from db.journal import audit, log_access, read_timeline
from db.work_item import Listed, Wanted, find_work_item, list_work_items
from domain.access import WORK_ITEM, Action, Caller, Capacity, Role, Stake
from domain.message import Language
from domain.work_item import WorkItemKind, WorkItemStatus, holder, next_step, roles_of
from workflows.commands import Decide, Reassign, StaffCommand
from workflows.queues import STAFF, staff_queue

router = Router(prefix="/work-items", tags=["work items"])

COMMANDED = (
    "not_authenticated", "forbidden", "not_found", "not_allowed", "wrong_role", "invalid",
    "idempotency_mismatch", "try_again", "unavailable",
)  # fmt: skip
Queue = Annotated[
    str | None, Query(description="a role's", json_schema_extra={"enum": list(STAFF)})
]


@router.get(
    "",
    summary="What waits for me and my colleagues",
    responses=refusals("not_authenticated", "forbidden", "invalid"),
)
async def get_work_items(
    request: Request,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    paging: InPages,
    queue: Queue = None,
    status: WorkItemStatus | None = None,
    kind: Annotated[str | None, Query(max_length=64)] = None,
    mine: Annotated[bool, Query(description="only what I have claimed")] = False,
) -> Page[WorkItem]:
    """Of the caller's roles; operators see every queue. Oldest first, then those that are over.
    Whose lease is over is `open`."""
    require(caller, Action.WORK)
    if queue is not None and queue not in STAFF:
        raise Problem.of_field("queue", f"must be one of {', '.join(STAFF)}")
    wanted = Wanted(
        hospital_id=context.hospital_id,
        account_id=caller.account_id,
        roles=None if Role.OPERATOR in caller.roles else caller.roles,
        role=Role(queue.removeprefix("staff-")) if queue else None,
        kind=kind,
        status=status,
        mine=mine,
        page=paging.page,
        size=paging.size,
    )
    found, total = await list_work_items(connection, wanted)
    items = [WorkItem(**_shown(context, request, item)) for item in found]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.get(
    "/{id}",
    summary="One of them, with all that happened to it",
    responses=refusals("not_authenticated", "not_found"),
)
async def get_work_item(
    id: Id, request: Request, caller: CurrentCaller, context: InContext, connection: Transaction
) -> WorkItemStory:
    item, capacity = await _allowed(context, connection, caller, id, Action.SEE)
    return WorkItemStory(
        **_shown(context, request, item),
        note=await _note(context, connection, caller, capacity, item),
        timeline=[timeline_entry(move) for move in await read_timeline(connection, item.number)],
    )


# Commands


@router.post(
    "/{id}/claim",
    summary="Take it, or keep it for longer",
    response_model=WorkItem,
    responses=refusals(*COMMANDED, "claimed_by_other", "excluded"),
)
async def claim(
    id: Id, request: Request, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """Nobody else may decide it until `leaseUntil`. One's own is renewed."""
    item, by = await _acting(context, caller, id, Action.CLAIM)
    return await work_item_command(context, request, caller, item, Action.CLAIM, by, once)


@router.post(
    "/{id}/release",
    summary="Give it back",
    response_model=WorkItem,
    responses=refusals(*COMMANDED, "claimed_by_other", "lease_expired"),
)
async def release(
    id: Id, request: Request, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """One's own; an operator, also somebody else's."""
    item, by = await _acting(context, caller, id, Action.RELEASE)
    return await work_item_command(context, request, caller, item, Action.RELEASE, by, once)


@router.post(
    "/{id}/reassign",
    summary="Give it to somebody of its role",
    response_model=WorkItem,
    responses=refusals(*COMMANDED, "excluded"),
)
async def reassign(
    id: Id,
    wanted: Reassignment,
    request: Request,
    caller: CurrentCaller,
    context: InContext,
    once: Once,
) -> Any:
    """They have it for a lease, whoever had it before. By an operator, audited."""
    item, by = await _acting(context, caller, id, Action.REASSIGN)
    async with context.engine.connect() as connection:
        account = await read_account(
            connection, context.keyring, context.hospital_id, wanted.account_id
        )
    if account is None or not account.roles & roles_of(item.item, item.progress):
        raise Problem.of_field("accountId", "is nobody of this work item's role")
    arg = Reassign(by, wanted.account_id)
    return await work_item_command(
        context, request, caller, item, Action.REASSIGN, arg, once, wanted.reason
    )


@router.post(
    "/{id}/decide",
    summary="Decide it",
    response_model=WorkItem,
    responses=refusals(*COMMANDED, "claimed_by_other", "excluded", "decided_elsewhere"),
)
async def decide(
    id: Id,
    wanted: Decision,
    request: Request,
    caller: CurrentCaller,
    context: InContext,
    once: Once,
) -> Any:
    """Once, for all. Work items of an order are decided at the order's own route."""
    item, by = await _acting(context, caller, id, Action.DECIDE)
    if item.kind not in tuple(WorkItemKind):
        raise Problem("decided_elsewhere")
    if wanted.decision not in item.decisions:
        raise Problem.of_field("decision", f"must be one of {', '.join(item.decisions)}")
    arg = Decide(by, wanted.decision)
    return await work_item_command(
        context, request, caller, item, Action.DECIDE, arg, once, wanted.remark
    )


async def work_item_command(
    context: Context,
    request: Request,
    caller: Caller,
    item: Listed,
    action: Action,
    arg: StaffCommand | Reassign | Decide,
    once: OnceOnly,
    words: str | None = None,
    *,
    answer: Callable[[], Awaitable[Any]] | None = None,
    location: str | None = None,
) -> Any:
    """Ask the work item's workflow, and answer with the item as it then is; for an order's own
    route, with what its `answer` makes. Words are audited, sealed."""
    by = arg if isinstance(arg, StaffCommand) else arg.by

    async def note_down(connection: AsyncConnection) -> None:
        await _keep_words(context, connection, by, item, action, words)

    async def now() -> Listed:
        async with context.engine.connect() as connection:
            return await _found(context, connection, item.id)

    async def status_now() -> str:
        return (await now()).status

    async def shown() -> WorkItem:
        return WorkItem(**_shown(context, request, await now()))

    return await carry_out(
        context,
        caller,
        Command("work_item", item.number, action, action, arg),
        once,
        note_down=note_down,
        status_now=status_now,
        answer=answer or shown,
        location=location or f"/api/hospital/work-items/{item.id}",
    )


def acting_role(caller: Caller, capacity: Capacity, item: Listed, action: Action) -> Role:
    """In which role an allowed caller acts: an operator gives back what others hold."""
    held = holder(item.progress, datetime.now(UTC)) == caller.account_id
    office = action is Action.RELEASE and Role.OPERATOR in caller.roles and not held
    if office or capacity is Capacity.OPERATOR:
        return Role.OPERATOR
    mine = caller.roles & roles_of(item.item, item.progress)
    return next(role for role in Role if role in mine)


async def _acting(
    context: Context, caller: Caller, id: int, action: Action
) -> tuple[Listed, StaffCommand]:
    async with context.engine.connect() as connection:
        item, capacity = await _allowed(context, connection, caller, id, action)
    return item, StaffCommand(acting_role(caller, capacity, item, action), caller.account_id)


async def _allowed(
    context: Context, connection: AsyncConnection, caller: Caller, id: int, action: Action
) -> tuple[Listed, Capacity]:
    item = await _found(context, connection, id)
    stake = Stake(None, roles=roles_of(item.item, item.progress))
    return item, allow(caller, WORK_ITEM, action, stake)


async def _found(context: Context, connection: AsyncConnection, id: int) -> Listed:
    item = await find_work_item(connection, context.hospital_id, id)
    if item is None:
        raise Problem("not_found")
    return item


# How it looks


def _shown(context: Context, request: Request, item: Listed) -> dict[str, Any]:
    now = datetime.now(UTC)
    language = Language.EN if prefers_english(request) else Language.ZH
    zone = ZoneInfo(context.config.hospital.time_zone)
    held = holder(item.progress, now) is not None
    waits = item.status.open and not held
    return {
        **{name: value for name, value in vars(item).items() if name != "note"},
        "queue": staff_queue(item.role),
        "age": (item.closed_at or now) - item.opened_at,
        "claimed_by": None if waits else item.claimed_by,
        "lease_until": item.lease_until if held else None,
        "escalates_to": staff_queue(item.escalates_to) if item.escalates_to else None,
        "next_step": in_words(
            next_step(item.item, item.progress, now), item.item, item.status, language, zone
        ),
    }


async def _note(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    capacity: Capacity,
    item: Listed,
) -> str | None:
    """What a patient wrote: whoever reads it leaves a trace. Operators see that something waits for
    others, and not what was written, until it waits for them too."""
    if item.note is None or item.data_key is None or capacity is not Capacity.ITS_STAFF:
        return None
    if item.patient_id is not None:
        await log_access(
            connection,
            item.hospital_id,
            actor_role=acting_role(caller, capacity, item, Action.SEE),
            actor_id=caller.account_id,
            patient_id=item.patient_id,
            object=f"work_item/{item.number}",
            action="read",
        )
    opened: str = context.keyring.unwrap(item.data_key).open(item.note)["note"]
    return opened


async def _keep_words(
    context: Context,
    connection: AsyncConnection,
    by: StaffCommand,
    item: Listed,
    action: Action,
    words: str | None,
) -> None:
    """What was written, sealed in the audit: under the patient's key where it is about one."""
    if words is None:
        return
    if item.data_key_id is not None and item.data_key is not None:
        key = SealingKey(item.data_key_id, context.keyring.unwrap(item.data_key))
    else:
        key = await sealing_key_of_account(connection, context.keyring, by.account_id)
    await audit(
        connection,
        item.hospital_id,
        action,
        item.number,
        actor_role=by.role,
        actor_id=by.account_id,
        note=(key.id, key.key.seal({"note": words})),
    )
