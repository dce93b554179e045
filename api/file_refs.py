"""Files as orders name them: by the `url` that `POST /files` answered, or by the id alone."""

import re
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from api.problems import Problem
from db.file import FilesRefused, attach_files
from domain.access import Caller

URL = re.compile(r"^(?:.*/files/)?(\d{1,18})(?:[/?#].*)?$")


def file_ids(references: Sequence[str], field: str) -> tuple[int, ...]:
    """Problem of that field when one is no file of ours."""
    found = [URL.match(reference) for reference in references]
    ids = [int(match[1]) for match in found if match]
    if len(ids) != len(references):
        raise Problem.of_field(field, "must be `url` or id of files from POST /files")
    return tuple(dict.fromkeys(ids))


def signed_link(context: Context, caller: Caller, id: int) -> tuple[str, str]:
    """Address and query of a file, for this caller alone and for a short time."""
    link = context.passes.issue(caller, f"file/{id}", context.config.policies.files.link_valid)
    query = f"expires={int(link.expires_at.timestamp())}&signature={link.token}"
    return f"{context.settings.public_url}/api/hospital/files/{id}", query


def file_urls(context: Context, caller: Caller, ids: Sequence[int]) -> list[str]:
    return ["?".join(signed_link(context, caller, file_id)) for file_id in ids]


async def attach(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    files: Sequence[int],
    *,
    order_no: str,
    patient_id: int,
) -> None:
    """Make files that the caller sent the order's: those on the case may see them from now on.
    Problem `file_unknown`."""
    try:
        await attach_files(
            connection,
            context.keyring,
            hospital_id=context.hospital_id,
            account_id=caller.account_id,
            file_ids=files,
            order_no=order_no,
            patient_id=patient_id,
        )
    except FilesRefused as refused:
        raise Problem("file_unknown", fileId=refused.file_id) from None
