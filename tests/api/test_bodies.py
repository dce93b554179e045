"""What no field of any body takes, looked for by the OpenAPI description: true is no number, and a
NUL is no text. The field is named."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.context import Context
from domain.access import Role
from tests.support.api import as_caller, refused

pytestmark = pytest.mark.anyio

Path = tuple[str | int, ...]
# Hashed as they come: a NUL in them harms nobody.
SECRETS = {"password", "refreshToken"}


def leaves(schema: dict[str, Any], known: dict[str, Any], path: Path = ()) -> Iterator[Any]:
    """Every scalar of a body: where it stands, and its schema."""
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from leaves(choice, known, path)
    for name, inner in schema.get("properties", {}).items():
        yield from leaves(inner, known, (*path, name))
    if "items" in schema:
        yield from leaves(schema["items"], known, (*path, 0))
    if schema.get("type") in ("integer", "string"):
        yield path, schema


def fields(context: Context, type: str) -> list[tuple[str, str, Path]]:
    """Method, address and place of each field of this type in a JSON body."""
    described = create_app(context).openapi()
    known = described["components"]["schemas"]
    found = []
    for address, methods in described["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            for path, schema in leaves(body["schema"], known) if body else ():
                if schema["type"] == type and path[-1] not in SECRETS:
                    found.append((method, re.sub(r"\{[^}]*\}", "1", address), path))
    return found


def holding(path: Path, value: Any) -> Any:
    for step in reversed(path):
        value = [value] if step == 0 else {step: value}
    return value


async def named_fields(
    client: httpx.AsyncClient, context: Context, method: str, address: str, body: Any
) -> list[str]:
    answer = await client.request(
        method,
        f"http://hospital.test{address}",
        content=json.dumps(body),
        headers=as_caller(context, 1, *Role, doctor_id=1) | {"Content-Type": "application/json"},
    )
    assert refused(answer) == (422, "invalid"), (address, body, answer.text)
    return [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("type", "value", "at_least"), [("integer", True, 15), ("string", "a\0b", 40)]
)
async def test_it_is_refused_by_its_field(
    client: httpx.AsyncClient, context: Context, type: str, value: Any, at_least: int
) -> None:
    found = fields(context, type)
    assert len(found) >= at_least
    for method, address, path in found:
        body = holding(path, value)
        named = await named_fields(client, context, method, address, body)
        assert ".".join(map(str, path)) in named, (method, address, path, named)


async def test_a_nul_in_an_address_is_refused_by_its_parameter(
    client: httpx.AsyncClient, context: Context
) -> None:
    for address, field in [
        ("/doctors?keyword=%00", "keyword"),
        ("/payments/P%00", "paymentNo"),
        ("/work-items?kind=%00", "kind"),
        ("/ops/stops/%00", "stopNo"),
    ]:
        named = await named_fields(client, context, "GET", f"/api/hospital{address}", {})
        assert named == [field], address
