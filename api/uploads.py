"""Multipart bodies, read by our own routes: in memory alone, and known again by what they hold.

FastAPI would spool a large part to a temporary file, where a patient's picture would lie open; and
an `Idempotency-Key` must not depend on a boundary that clients draw anew at each attempt.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from activities.file import Content, TooSlow
from activities.gateways.storage import StorageAway
from api.context import Context
from api.idempotency import OnceOnly, hashed
from api.limits import too_often
from api.problems import Problem
from db.rate_limit import Limit, TooOften, count
from domain.access import Caller
from domain.file import FileRefused

MAX_FIELD = 64 * 1024  # bytes of a field that is no file
FILES_PER_HOUR = 300  # of one account


class InMemory(MultiPartParser):
    spool_max_size = 2**31


@dataclass(frozen=True)
class Form:
    fields: dict[str, str]
    file: bytes | None


def is_multipart(request: Request) -> bool:
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    return kind.strip().lower() == "multipart/form-data"


async def read_form(request: Request, max_bytes: int) -> Form:
    """At most one `file`. Raises Problem `malformed` or `file_too_large`."""
    if not is_multipart(request):
        raise Problem.of_field("body", "multipart/form-data is expected")
    parser = InMemory(
        request.headers, request.stream(), max_files=1, max_fields=8, max_part_size=MAX_FIELD
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeError):  # KeyError: there is no boundary
        raise Problem("malformed") from None
    fields, file = {}, None
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            fields[name] = value
        else:
            file = await value.read() if name == "file" else file
            await value.close()
    if file is not None and len(file) > max_bytes:
        raise Problem("file_too_large")
    return Form(fields, file)


def once_for(request: Request, caller: Caller, key: str | None, form: Form) -> OnceOnly:
    """The caller's Idempotency-Key with what this form holds."""
    held = hashlib.sha256(f"{request.method} {request.url.path}\0".encode())
    for name, value in sorted(form.fields.items()):
        held.update(f"{name}\0{value}\0".encode())
    held.update(hashlib.sha256(form.file or b"").digest())
    named = None if key is None else hashed(caller.account_id, key)
    return OnceOnly(caller.account_id, named, held.digest())


async def keep_upload(
    context: Context,
    caller: Caller,
    data: bytes,
    *,
    purpose: str | None = None,
    documents: bool = True,
) -> int:
    """The id of a file that is stored and belongs to nothing yet. Raises Problem."""
    policy = context.config.policies.files
    limit = Limit(f"files:account:{caller.account_id}", FILES_PER_HOUR, timedelta(hours=1))
    try:
        async with context.engine.begin() as connection:
            await count(connection, limit)
        content: Content = await context.pictures.harmless(
            data, policy.max_pixels, sender=caller.account_id, documents=documents
        )
        return await context.files.keep(context.hospital_id, caller.account_id, content, purpose)
    except TooOften as refused:
        raise too_often(refused) from None
    except FileRefused as refused:
        raise Problem(refused.code) from None
    except (StorageAway, TooSlow, TimeoutError):
        raise Problem("unavailable", retry_after=5) from None


def documented_form(**fields: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says about a body that FastAPI does not read: for `openapi_extra=`."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {"type": "string", "format": "binary"},
                            **fields,
                        },
                    }
                }
            },
        }
    }
