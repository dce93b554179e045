"""What OpenAPI says about refusals: every code that a route may answer, with its example."""

from typing import Any

from api.problems import KINDS, MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`. Each code is a word of `api.problems.KINDS`."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        answer = by_status.setdefault(
            kind.status,
            {"description": "", "content": {MEDIA_TYPE: {"schema": _PROBLEM, "examples": {}}}},
        )
        answer["description"] = ", ".join(filter(None, [answer["description"], f"`{code}`"]))
        answer["content"][MEDIA_TYPE]["examples"][code] = {
            "summary": kind.en,
            "value": _value(code),
        }
    return by_status


def _value(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    document: dict[str, Any] = {
        "type": f"urn:hospital:problem:{code}",
        "title": code.replace("_", " "),
        "status": kind.status,
        "detail": kind.zh,
        "code": code,
    }
    if code == "invalid":
        document["errors"] = [{"field": "page", "message": "Input should be greater than 0"}]
    return document


# What any route may answer. One that names another code of the same status names these as well.
ANY = refusals("malformed", "invalid", "unavailable")
