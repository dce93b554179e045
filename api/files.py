"""Files: sent, and given out to whom they concern."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.gateways.storage import Missing, StorageAway
from api.context import Context, CurrentCaller, InContext, caller_by
from api.documented import refusals
from api.file_refs import signed_link
from api.idempotency import IdempotencyKey
from api.problems import Problem
from api.routing import Router
from api.schemas.file import StoredFile
from api.schemas.paging import Id
from api.uploads import documented_form, keep_upload, once_for, read_form
from db.file import File, find_file, stake_of_case
from db.journal import log_access
from db.keyring import Shredded
from db.sealed_stream import Tampered
from domain.access import (
    FILE,
    Action,
    Caller,
    Capacity,
    Stake,
    Verdict,
    acting_as,
    capacities,
    judge,
)
from domain.file import FileKind
from domain.order import Actor

log = structlog.get_logger(__name__)
router = Router(prefix="/files", tags=["files"])

PURPOSE = re.compile(r"[a-z][a-z_]{0,31}")
ENDINGS = {FileKind.JPEG: "jpg", FileKind.PNG: "png", FileKind.WEBP: "webp", FileKind.PDF: "pdf"}
READ = ("not_authenticated", "link_expired", "bad_signature", "not_found", "unavailable")
BINARY = {"schema": {"type": "string", "format": "binary"}}
SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"description": "the file", "content": dict.fromkeys(ENDINGS, BINARY)}
}
THUMBNAIL_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"description": "a JPEG", "content": {FileKind.JPEG: BINARY}}
}


Expires = Annotated[int | None, Query(ge=0, description="as in the `url` that was given")]
Signature = Annotated[str | None, Query(max_length=2048, description="as in that `url`")]


@router.post(
    "",
    status_code=201,
    summary="Send a picture or a document",
    responses=refusals(
        "not_authenticated", "file_too_large", "unsupported_file", "broken_file", "image_too_large",
        "invalid", "idempotency_mismatch", "too_many_requests",
    ),
    openapi_extra=documented_form(
        purpose={"type": "string", "pattern": f"^{PURPOSE.pattern}$", "examples": ["evidence"]}
    ),
)  # fmt: skip
async def send_file(
    request: Request,
    caller: CurrentCaller,
    context: InContext,
    idempotency_key: IdempotencyKey = None,
) -> StoredFile:
    """JPEG, PNG, WebP or HEIC, told by content; written anew without place and time of the taking.
    Of moving pictures the first. PDFs are written anew too, without their signatures; encrypted
    ones are refused. Attached to nothing, it is thrown away after a day."""
    form = await read_form(request, context.config.policies.files.max_bytes)
    if form.file is None:
        raise Problem.of_field("file", "is missing")
    purpose = form.fields.get("purpose") or None
    if purpose is not None and not PURPOSE.fullmatch(purpose):
        raise Problem.of_field("purpose", "must be a word of small letters")
    once = once_for(request, caller, idempotency_key, form)
    async with context.engine.begin() as connection:
        if await once.done_before(connection):
            number = await once.answered(connection)
            if number is not None:
                return view(context, caller, await _seen(context, connection, caller, int(number)))
    kept = await keep_upload(context, caller, form.file, purpose=purpose)
    async with context.engine.begin() as connection:
        # Of two at once with one key the second's file is left to the sweep.
        number = await once.answered(connection)
        if number is None:
            await once.remember(connection, str(kept))
        return view(context, caller, await _seen(context, connection, caller, int(number or kept)))


@router.get(
    "/{id}",
    summary="A file",
    response_class=StreamingResponse,
    responses={**refusals(*READ), **SHOWN},
)
async def get_file(
    id: Id,
    request: Request,
    context: InContext,
    authorization: Annotated[str | None, Header()] = None,
    expires: Expires = None,
    signature: Signature = None,
) -> StreamingResponse:
    """For who sent it and those on the case; by a login, or by the `url` that was given."""
    caller = await _reader(context, id, authorization, expires, signature)
    file = await _read_by(context, caller, id)
    return await _streamed(context, file, thumbnail=False)


@router.get(
    "/{id}/thumbnail",
    summary="A picture, small",
    response_class=StreamingResponse,
    responses={**refusals(*READ), **THUMBNAIL_SHOWN},
)
async def get_thumbnail(
    id: Id,
    context: InContext,
    authorization: Annotated[str | None, Header()] = None,
    expires: Expires = None,
    signature: Signature = None,
) -> StreamingResponse:
    """At most 320 pixels wide and high."""
    caller = await _reader(context, id, authorization, expires, signature)
    file = await _read_by(context, caller, id)
    if file.thumbnail is None:
        raise Problem("not_found")
    return await _streamed(context, file, thumbnail=True)


def view(context: Context, caller: Caller, file: File) -> StoredFile:
    """With addresses that this caller alone was given."""
    base, query = signed_link(context, caller, file.id)
    return StoredFile(
        id=file.id,
        url=f"{base}?{query}",
        thumbnail_url=f"{base}/thumbnail?{query}" if file.thumbnail else None,
        content_type=file.content_type,
        size=file.size,
        width=file.width,
        height=file.height,
    )


async def _reader(
    context: Context,
    id: int,
    authorization: str | None,
    expires: int | None,
    signature: str | None,
) -> Caller:
    if signature is None:
        return caller_by(context, authorization)
    link = context.passes.read(signature, f"file/{id}")
    if int(link.expires_at.timestamp()) != expires:
        raise Problem("bad_signature")
    if context.revocations.ended(link.caller.session_id):
        raise Problem("session_revoked")
    return link.caller


async def _read_by(context: Context, caller: Caller, id: int) -> File:
    async with context.engine.begin() as connection:
        return await _seen(context, connection, caller, id, logged=True)


async def _seen(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    id: int,
    *,
    logged: bool = False,
) -> File:
    """Problem `not_found` unless it concerns the caller. Who is not its patient's account and reads
    it leaves a trace."""
    file = await find_file(connection, context.hospital_id, id)
    if file is None:
        raise Problem("not_found")
    case = await _case(context, connection, caller, file)
    of_case = capacities(caller, case) if case else frozenset()
    held = of_case | capacities(caller, Stake(file.account_id))
    if judge(FILE, Action.SEE, held) is not Verdict.ALLOWED:
        raise Problem("not_found")
    if logged and file.patient_id is not None and Capacity.OWNER not in of_case:
        acting = of_case if of_case & FILE[Action.SEE] else held  # a doctor's own is read as doctor
        await log_access(
            connection,
            context.hospital_id,
            actor_role=Actor.person(acting_as(FILE, Action.SEE, acting), 0).role,
            actor_id=caller.account_id,
            patient_id=file.patient_id,
            object=f"file/{file.id}",
            action="see",
        )
    return file


async def _case(
    context: Context, connection: AsyncConnection, caller: Caller, file: File
) -> Stake | None:
    if file.order_no is None:
        return None
    return await stake_of_case(connection, context.hospital_id, file.order_no, caller.doctor_id)


async def _streamed(context: Context, file: File, *, thumbnail: bool) -> StreamingResponse:
    """The first part is read before the answer begins: later there is no other answer."""
    try:
        parts = context.files.read(file, thumbnail=thumbnail)
        first = await anext(parts)
    except Shredded:
        raise Problem("not_found") from None
    except (Missing, StorageAway, Tampered) as error:
        log.error("file_not_read", file=file.id, error=type(error).__name__)
        raise Problem("unavailable", retry_after=5) from None
    kind = FileKind.JPEG if thumbnail else FileKind(file.content_type)
    how = "attachment" if kind is FileKind.PDF else "inline"
    size = file.thumbnail_size if thumbnail else file.size
    return StreamingResponse(
        _rest(first, parts),
        media_type=kind,
        headers={
            "Content-Length": str(size),
            "Content-Disposition": f'{how}; filename="{file.id}.{ENDINGS[kind]}"',
            "Cache-Control": "private, max-age=300",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )


async def _rest(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in parts:
        yield part
