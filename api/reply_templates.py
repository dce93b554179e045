"""A doctor's own reply templates (常用回复)."""

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction, doctor_of
from api.documented import refusals
from api.idempotency import Once
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.paging import Id, InPages
from api.schemas.reply_template import ReplyTemplate, ReplyTemplateWanted
from db.reply_template import (
    add_template,
    change_template,
    drop_template,
    find_template,
    templates_of,
)
from domain.access import Action

router = Router(prefix="/doctors/me/reply-templates", tags=["reply templates"])

REFUSED = ("not_authenticated", "forbidden")


@router.get("", summary="My reply templates", responses=refusals(*REFUSED))
async def get_templates(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[ReplyTemplate]:
    """In the sequence in which they were made."""
    doctor_id = doctor_of(caller, Action.KEEP_TEMPLATES)
    found = await templates_of(connection, context.keyring, doctor_id)
    first = (paging.page - 1) * paging.size
    items = [ReplyTemplate.model_validate(one) for one in found[first : first + paging.size]]
    return Page(items=items, total=len(found), page=paging.page, size=paging.size)


@router.post(
    "",
    status_code=201,
    summary="Add a reply template",
    responses=refusals(*REFUSED, "invalid", "idempotency_mismatch", "too_many", "not_found"),
)
async def post_template(
    new: ReplyTemplateWanted,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    once: Once,
) -> ReplyTemplate:
    """At most a hundred."""
    doctor_id = doctor_of(caller, Action.KEEP_TEMPLATES)
    reference = await once.answered(connection)
    if reference is None:
        added = await add_template(
            connection, context.keyring, caller.account_id, doctor_id, new.title, new.text
        )
        if added is None:
            raise Problem("too_many")
        reference = str(added)
        await once.remember(connection, reference)
    return await _found(context, connection, doctor_id, int(reference))


@router.put(
    "/{id}",
    summary="Change a reply template",
    responses=refusals(*REFUSED, "invalid", "not_found"),
)
async def put_template(
    id: Id,
    new: ReplyTemplateWanted,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
) -> ReplyTemplate:
    doctor_id = doctor_of(caller, Action.KEEP_TEMPLATES)
    changed = await change_template(
        connection, context.keyring, caller.account_id, doctor_id, id, new.title, new.text
    )
    if not changed:
        raise Problem("not_found")
    return await _found(context, connection, doctor_id, id)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Drop a reply template",
    responses=refusals(*REFUSED, "invalid", "not_found"),
)
async def delete_template(id: Id, caller: CurrentCaller, connection: Transaction) -> None:
    if not await drop_template(connection, doctor_of(caller, Action.KEEP_TEMPLATES), id):
        raise Problem("not_found")


async def _found(
    context: Context, connection: AsyncConnection, doctor_id: int, id: int
) -> ReplyTemplate:
    found = await find_template(connection, context.keyring, doctor_id, id)
    if found is None:
        raise Problem("not_found")  # what the key first made was dropped since
    return ReplyTemplate.model_validate(found)
