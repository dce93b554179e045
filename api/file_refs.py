"""Files as orders name them: by the `url` that `POST /files` answered, or by the id alone."""

import re
from collections.abc import Sequence

from api.problems import Problem

URL = re.compile(r"^(?:.*/files/)?(\d{1,18})(?:[/?#].*)?$")


def file_ids(references: Sequence[str], field: str) -> tuple[int, ...]:
    """Problem of that field when one is no file of ours."""
    found = [URL.match(reference) for reference in references]
    ids = [int(match[1]) for match in found if match]
    if len(ids) != len(references):
        raise Problem.of_field(field, "must be `url` or id of files from POST /files")
    return tuple(dict.fromkeys(ids))


def file_url(id: int) -> str:
    return f"/api/hospital/files/{id}"
