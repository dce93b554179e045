"""What doctor and patient write to each other: messages, receipts, and live events."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.commands import allow
from api.context import Context, CurrentCaller, InContext, Transaction, get_caller
from api.documented import refusals
from api.event_stream import HEARTBEAT, EventStream, event
from api.files import view
from api.idempotency import IdempotencyKey, OnceOnly, once_of
from api.limits import too_often
from api.middleware import MAX_BODY
from api.problems import Problem
from api.schemas import conversation as wire
from api.schemas.base import Schema
from api.schemas.paging import Id
from api.streams import Heard
from api.uploads import is_multipart, keep_upload, once_for, read_form
from db.conversation import (
    Message,
    NewMessage,
    Talk,
    find_message,
    find_talk,
    mark_read,
    messages_after,
    readings_of,
    write_message,
)
from db.file import File, FilesRefused, attach_files, find_files
from db.journal import log_access
from db.keyring import Shredded
from db.rate_limit import Limit, TooOften, count
from domain.access import CONSULTATION, Action, Caller, Stake
from domain.consultation import ConsultationStatus
from domain.conversation import TEXT_AT_MOST, Cursor, MessageType, Side
from domain.file import FileKind

router = APIRouter(tags=["conversations"])

TICKET_VALID = timedelta(seconds=60)
PER_MINUTE = 120  # messages of one account
READ = ("not_authenticated", "forbidden", "not_found")
EVENTS = "events"
WORDS: dict[str, Any] = {
    "content": {"type": "string", "maxLength": TEXT_AT_MOST},
    "type": {"type": "string", "enum": list(MessageType)},
}
MESSAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        **WORDS,
                        "fileId": {
                            "type": ["integer", "null"],
                            "description": "of a picture that was sent by `POST /files`",
                        },
                    },
                },
                "example": {"type": "text", "content": "您好,请问哪里不舒服?"},
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {**WORDS, "file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events `message`, `read`, `typing` and `status`, each with JSON data",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "it has ended, and you have everything: do not come again"},
}


@router.post(
    "/consultations/{id}/messages",
    status_code=201,
    summary="Write to the other side",
    responses=refusals(
        *READ, "not_allowed", "file_too_large", "too_large", "unsupported_file", "broken_file",
        "image_too_large", "file_unknown", "invalid", "idempotency_mismatch", "too_many_requests",
    ),
    openapi_extra=MESSAGE_BODY,
)  # fmt: skip
async def send_message(
    id: Id,
    request: Request,
    caller: CurrentCaller,
    context: InContext,
    idempotency_key: IdempotencyKey = None,
) -> wire.Message:
    """While it is being consulted on. An image comes in a form as `file`, or was sent to `/files`
    before and comes by its `fileId`."""
    new, upload, once = await _read(request, caller, context, idempotency_key)
    if upload is not None:
        # Asked before the work of looking at a picture, and again under the lock.
        async with context.engine.begin() as connection:
            talk, _ = await _talk(context, connection, caller, id)
            again = await once.done_before(connection)
        if not again:
            _ensure_consulting(talk)
            file_id = await keep_upload(context, caller, upload, documents=False)
            new = new.model_copy(update={"file_id": file_id})
    async with context.engine.begin() as connection:
        talk, side = await _talk(context, connection, caller, id, lock=True)
        number = await once.answered(connection)
        if number is None:
            number = str(await _write(context, connection, caller, talk, side, new))
            await once.remember(connection, number)
        message = await find_message(connection, context.keyring, talk.order_no, int(number))
        files = await _files(context, connection, [message] if message else [])
    context.streams.ring(talk.order_no)
    context.doorbell.ring()
    if message is None:
        raise Problem("not_found")
    return shown(context, caller, message, files)


@router.get(
    "/consultations/{id}/messages",
    summary="What was written",
    responses=refusals(*READ, "invalid"),
)
async def get_messages(
    id: Id,
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    after: Annotated[int, Query(ge=0, le=10**9, description="the last `seq` that you have")] = 0,
    size: Annotated[int, Query(ge=1, le=100)] = 50,
) -> wire.Messages:
    """Oldest first, from the cursor on; also after it has ended."""
    talk, side = await _talk(context, connection, caller, id)
    await _leave_trace(context, connection, caller, talk, side, "read_messages")
    found = await messages_after(connection, context.keyring, talk.order_no, after, size + 1)
    files = await _files(context, connection, found[:size])
    reading = await readings_of(connection, talk.order_no)
    return wire.Messages(
        items=[shown(context, caller, message, files) for message in found[:size]],
        more=len(found) > size,
        read=wire.Read(patient=reading[Side.PATIENT], doctor=reading[Side.DOCTOR]),
    )


@router.post(
    "/consultations/{id}/messages/read",
    summary="I have read it",
    responses=refusals(*READ, "invalid"),
)
async def read_messages(
    id: Id, reading: wire.ReadUpTo, caller: CurrentCaller, context: InContext
) -> wire.Read:
    """Up to this message. What was read stays read; a repeat changes nothing, with or without a
    key."""
    async with context.engine.begin() as connection:
        talk, side = await _talk(context, connection, caller, id)
        news = await mark_read(connection, talk.order_no, side, caller.account_id, reading.up_to)
        read = await readings_of(connection, talk.order_no)
    if news:
        context.streams.ring(talk.order_no)
    return wire.Read(patient=read[Side.PATIENT], doctor=read[Side.DOCTOR])


@router.post(
    "/consultations/{id}/typing",
    status_code=204,
    summary="I am typing",
    responses=refusals(*READ, "not_allowed"),
)
async def type_on(id: Id, caller: CurrentCaller, context: InContext) -> None:
    """A hint for the other side, kept nowhere. Every few seconds is often enough."""
    async with context.engine.connect() as connection:
        talk, side = await _talk(context, connection, caller, id)
    _ensure_consulting(talk)
    context.streams.hint(talk.order_no, side)


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
    nothing twice and nothing left out. `typing` has no id. Ends when the consultation does."""
    caller = await _listener(context, authorization, ticket)
    cursor = _cursor(last_event_id or last_event_id_in_query)
    async with context.engine.begin() as connection:
        talk, side = await _talk(context, connection, caller, id)
        await _leave_trace(context, connection, caller, talk, side, "listen")
        if not ConsultationStatus(talk.status).open and cursor.version >= 0:
            later = await messages_after(connection, context.keyring, talk.order_no, cursor.seq, 1)
            if not later and cursor.version >= talk.version:
                return Response(status_code=204)  # or an EventSource would come for ever
    if not context.streams.takes(talk.order_no, caller):
        raise Problem("too_many_requests", retry_after=30)
    listening = context.streams.listening(talk.order_no, caller, cursor)
    return EventStream(listening, lambda heard: _encoded(context, caller, heard))


# Reading what was sent


async def _read(
    request: Request, caller: Caller, context: Context, key: str | None
) -> tuple[wire.NewMessage, bytes | None, OnceOnly]:
    """The message, its picture if it came along, and whether it came before."""
    if is_multipart(request):
        form = await read_form(request, context.config.policies.files.max_bytes)
        new = _valid(form.fields)
        if (form.file is None) is (new.type is MessageType.IMAGE and new.file_id is None):
            raise Problem.of_field("file", "an image has one, a text has none")
        return new, form.file, once_for(request, caller, key, form)
    body = await request.body()
    if len(body) > MAX_BODY:
        raise Problem("too_large")
    try:
        sent = json.loads(body)
    except ValueError:
        raise Problem("malformed") from None
    new = _valid(sent)
    if new.type is MessageType.IMAGE and new.file_id is None:
        raise Problem.of_field("fileId", "an image has a file")
    return new, None, once_of(request, caller, key, body)


def _valid(sent: Any) -> wire.NewMessage:
    try:
        return wire.NewMessage.model_validate(sent)
    except ValidationError as error:
        wrong = error.errors(include_context=False, include_url=False, include_input=False)
        located = [{**one, "loc": ("body", *one["loc"])} for one in wrong]
        raise RequestValidationError(located) from None


def _cursor(text: str | None) -> Cursor:
    if not text:
        return Cursor()
    cursor = Cursor.parse(text)
    if cursor is None:
        raise Problem.of_field("Last-Event-ID", "is none of ours")
    return cursor


async def _listener(context: Context, authorization: str | None, ticket: str | None) -> Caller:
    if ticket is None:
        return await get_caller(context, authorization)
    caller = context.passes.read(ticket, EVENTS).caller
    if context.revocations.ended(caller.session_id):
        raise Problem("session_revoked")
    return caller


# Whose it is, and what may be done


async def _talk(
    context: Context, connection: AsyncConnection, caller: Caller, id: int, *, lock: bool = False
) -> tuple[Talk, Side]:
    """The two sides read and write, and nobody else."""
    talk = await find_talk(connection, context.hospital_id, id, lock=lock)
    if talk is None:
        raise Problem("not_found")
    capacity = allow(caller, CONSULTATION, Action.WRITE, Stake(talk.account_id, talk.doctor_id))
    return talk, Side.of(capacity)


def _ensure_consulting(talk: Talk) -> None:
    if talk.status != ConsultationStatus.CONSULTING:
        raise Problem("not_allowed", orderStatus=talk.status)


async def _leave_trace(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    talk: Talk,
    side: Side,
    action: str,
) -> None:
    if side is Side.DOCTOR:
        await log_access(
            connection,
            context.hospital_id,
            actor_role=side,
            actor_id=caller.account_id,
            patient_id=talk.patient_id,
            object=f"consultation/{talk.order_no}",
            action=action,
        )


async def _write(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    talk: Talk,
    side: Side,
    new: wire.NewMessage,
) -> int:
    _ensure_consulting(talk)
    try:
        limit = Limit(f"messages:account:{caller.account_id}", PER_MINUTE, timedelta(minutes=1))
        await count(connection, limit)
        if new.file_id is not None:
            await _attach(context, connection, caller, talk, new.file_id)
        return await write_message(
            connection,
            context.keyring,
            talk,
            NewMessage(side, caller.account_id, new.type, new.content, new.file_id),
        )
    except TooOften as refused:
        raise too_often(refused) from None
    except Shredded:
        raise Problem("not_found") from None


async def _attach(
    context: Context, connection: AsyncConnection, caller: Caller, talk: Talk, file_id: int
) -> None:
    try:
        await attach_files(
            connection,
            context.keyring,
            hospital_id=context.hospital_id,
            account_id=caller.account_id,
            file_ids=[file_id],
            order_no=talk.order_no,
            patient_id=talk.patient_id,
        )
    except FilesRefused:
        raise Problem("file_unknown", fileId=file_id) from None
    [file] = await find_files(connection, context.hospital_id, [file_id])
    if file.content_type == FileKind.PDF:
        raise Problem("unsupported_file")


# How it looks


async def _files(
    context: Context, connection: AsyncConnection, messages: list[Message]
) -> Mapping[int, File]:
    ids = [message.file_id for message in messages if message.file_id is not None]
    if not ids:
        return {}
    return {file.id: file for file in await find_files(connection, context.hospital_id, ids)}


def shown(
    context: Context, caller: Caller, message: Message, files: Mapping[int, File]
) -> wire.Message:
    """With an address of its picture that this caller alone was given."""
    file = files.get(message.file_id) if message.file_id is not None else None
    return wire.Message(
        id=message.id,
        seq=message.seq,
        sender=message.side,
        mine=message.account_id == caller.account_id,
        type=message.type,
        content=message.content,
        file=view(context, caller, file) if file else None,
        at=message.created_at,
    )


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
