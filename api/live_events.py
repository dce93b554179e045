"""What happens in a conversation, as it happens: server-sent events and the ticket for them."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse

from api.context import Context, CurrentCaller, InContext, caller_by
from api.documented import refusals
from api.event_stream import HEARTBEAT, EventStream, event
from api.listeners import Heard
from api.problems import Problem
from api.routing import Router
from api.schemas import conversation as wire
from api.schemas.base import Schema
from api.schemas.paging import Id
from api.talks import READ, leave_trace, shown, talk_of
from db.conversation import messages_after
from domain.access import Caller
from domain.consultation import ConsultationStatus
from domain.conversation import Cursor

router = Router(tags=["conversations"])

TICKET_VALID = timedelta(seconds=60)
EVENTS = "events"
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events `message`, `read`, `typing` and `status`, each with JSON data",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "it has ended, and you have everything: do not come again"},
}


@router.post(
    "/events/ticket",
    summary="A ticket for live events",
    responses=refusals("not_authenticated"),
)
async def get_ticket(caller: CurrentCaller, context: InContext) -> wire.Ticket:
    """For `?ticket=`, where a browser can send no header: for a minute, for events alone. An open
    stream outlives its ticket."""
    ticket = context.passes.issue(caller, EVENTS, TICKET_VALID)
    return wire.Ticket(ticket=ticket.token, expires_at=ticket.expires_at)


@router.get(
    "/consultations/{id}/events",
    summary="What happens, as it happens",
    response_class=StreamingResponse,
    responses={
        **refusals(*READ, "link_expired", "bad_signature", "too_many_requests", "invalid"),
        **STREAM,
    },
)
async def get_events(
    id: Id,
    context: InContext,
    authorization: Annotated[str | None, Header()] = None,
    ticket: Annotated[str | None, Query(max_length=2048)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
    last_event_id_in_query: Annotated[
        str | None,
        Query(alias="lastEventId", description="as the header; or the last `seq` that you have"),
    ] = None,
) -> Response:
    """Server-sent events. Without `Last-Event-ID` from the first message on; with it, from there,
    nothing twice and nothing left out; one from beyond what there is counts as the last message.
    `typing` has no id. Ends when the consultation does."""
    caller = await _listener(context, authorization, ticket)
    cursor = _cursor(last_event_id or last_event_id_in_query)
    async with context.engine.begin() as connection:
        talk, side = await talk_of(context, connection, caller, id)
        await leave_trace(context, connection, caller, talk, side, "listen")
        if not ConsultationStatus(talk.status).open and cursor.version == talk.version:
            later = await messages_after(connection, context.keyring, talk.order_no, cursor.seq, 1)
            if not later:
                return Response(status_code=204)  # or an EventSource would come for ever
    if not context.streams.takes(talk.order_no, caller):
        raise Problem("too_many_requests", retry_after=30)
    listening = context.streams.listening(talk.order_no, caller, cursor)
    return EventStream(listening, lambda heard: _encoded(context, caller, heard))


def _cursor(text: str | None) -> Cursor:
    if not text:
        return Cursor()
    cursor = Cursor.parse(text)
    if cursor is None:
        raise Problem.of_field("Last-Event-ID", "is none of ours")
    return cursor


async def _listener(context: Context, authorization: str | None, ticket: str | None) -> Caller:
    if ticket is None:
        return caller_by(context, authorization)
    caller = context.passes.read(ticket, EVENTS).caller
    if context.revocations.ended(caller.session_id):
        raise Problem("session_revoked")
    return caller


def _encoded(context: Context, caller: Caller, heard: Heard) -> bytes:
    cursor = str(heard.cursor) if heard.cursor else None
    if heard.message is not None:
        return event("message", _json(shown(context, caller, heard.message, heard.files)), cursor)
    if heard.read is not None:
        read = wire.Read(patient=heard.read.patient_read, doctor=heard.read.doctor_read)
        return event("read", _json(read), cursor)
    if heard.status is not None:
        return event("status", _json(wire.StatusNow.model_validate(heard.status)), cursor)
    if heard.typing is not None:
        return event("typing", {"side": heard.typing})
    return HEARTBEAT


def _json(schema: Schema) -> Any:
    return schema.model_dump(mode="json", by_alias=True)
