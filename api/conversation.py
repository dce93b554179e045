"""What doctor and patient write to each other: messages, receipts, hints of typing."""

import json
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context, CurrentCaller, InContext, Transaction
from api.documented import refusals
from api.idempotency import IdempotencyKey, OnceOnly, once_of
from api.limits import too_often
from api.middleware import MAX_BODY
from api.problems import Problem
from api.routing import Router
from api.schemas import conversation as wire
from api.schemas.paging import Id
from api.talks import READ, ensure_consulting, files_of, leave_trace, shown, talk_of
from api.uploads import is_multipart, keep_upload, once_for, read_form
from db.conversation import (
    NewMessage,
    Talk,
    find_message,
    mark_read,
    messages_after,
    readings_of,
    write_message,
)
from db.file import FilesRefused, attach_files, find_files
from db.keyring import Shredded
from db.rate_limit import Limit, TooOften, count
from domain.access import Caller
from domain.conversation import TEXT_AT_MOST, MessageType, Side
from domain.file import FileKind

router = Router(tags=["conversations"])

PER_MINUTE = 120  # messages of one account
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
            talk, _ = await talk_of(context, connection, caller, id)
            again = await once.done_before(connection)
        if not again:
            ensure_consulting(talk)
            file_id = await keep_upload(context, caller, upload, documents=False)
            new = new.model_copy(update={"file_id": file_id})
    async with context.engine.begin() as connection:
        talk, side = await talk_of(context, connection, caller, id, lock=True)
        number = await once.answered(connection)
        if number is None:
            number = str(await _write(context, connection, caller, talk, side, new))
            await once.remember(connection, number)
        message = await find_message(connection, context.keyring, talk.order_no, int(number))
        files = await files_of(context, connection, [message] if message else [])
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
    talk, side = await talk_of(context, connection, caller, id)
    await leave_trace(context, connection, caller, talk, side, "read_messages")
    found = await messages_after(connection, context.keyring, talk.order_no, after, size + 1)
    files = await files_of(context, connection, found[:size])
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
        talk, side = await talk_of(context, connection, caller, id)
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
        talk, side = await talk_of(context, connection, caller, id)
    ensure_consulting(talk)
    context.streams.hint(talk.order_no, side)


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
    except (ValueError, RecursionError):  # a hundred thousand opening brackets
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


# Writing


async def _write(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    talk: Talk,
    side: Side,
    new: wire.NewMessage,
) -> int:
    ensure_consulting(talk)
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
