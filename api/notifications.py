"""The in-app feed."""

import datetime as dt

from api.context import Context, CurrentCaller, InContext, Transaction
from api.documented import refusals
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page, Schema
from api.schemas.paging import Id, InPages
from db.message import FeedItem, mark_read, read_feed

router = Router(prefix="/notifications", tags=["notifications"])


class Notification(Schema):
    id: int
    template: str
    order_no: str | None
    text: str
    at: dt.datetime
    read_at: dt.datetime | None


@router.get("", summary="My messages, newest first", responses=refusals("not_authenticated"))
async def get_notifications(
    caller: CurrentCaller, context: InContext, connection: Transaction, paging: InPages
) -> Page[Notification]:
    found, total = await read_feed(connection, caller.account_id, paging.page, paging.size)
    items = [_notification(context, item) for item in found]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.post(
    "/{id}/read", summary="I have read it", responses=refusals("not_authenticated", "not_found")
)
async def read_notification(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Notification:
    """Once read it stays read; a repeat changes nothing, with or without a key."""
    item = await mark_read(connection, caller.account_id, id)
    if item is None:
        raise Problem("not_found")
    return _notification(context, item)


def _notification(context: Context, item: FeedItem) -> Notification:
    return Notification(
        id=item.id,
        template=item.template,
        order_no=item.params.get("order_no"),
        text=context.keyring.unwrap(item.wrapped).open(item.sealed)["text"],
        at=item.created_at,
        read_at=item.read_at,
    )
