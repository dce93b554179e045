"""What Temporal's web UI asks to have opened, and who may."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from temporalio.api.common.v1 import Payload

from api.app import create_app
from db.keyring import Keyring
from domain.access import Role
from runtime.codec import SealingCodec
from tests.support.api import as_caller, close_context, make_context, refused

pytestmark = pytest.mark.anyio

UI = "http://127.0.0.1:8233"
ELSEWHERE = "http://elsewhere.test"
PATH = "/codec/decode"


@pytest.fixture
async def sealed(keyring: Keyring) -> bytes:
    """A payload as the UI sends it."""
    (payload,) = await SealingCodec(keyring).encode([Payload(data=b'"A1"')])
    metadata = {key: b64encode(value).decode() for key, value in payload.metadata.items()}
    one = {"metadata": metadata, "data": b64encode(payload.data).decode()}
    return json.dumps({"payloads": [one]}).encode()


def opened(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    return b64decode(answer.json()["payloads"][0]["data"])


@pytest.fixture
def house(database_url: str, keyring: Keyring):  # type: ignore[no-untyped-def]
    @asynccontextmanager
    async def opened_house(
        env: str, *, loopback: bool
    ) -> AsyncIterator[tuple[httpx.AsyncClient, dict[Role, dict[str, str]]]]:
        context = await make_context(database_url, keyring, env=env)
        app = create_app(context, loopback=loopback)
        headers = {role: as_caller(context, 1, role) for role in Role}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house.test") as client:
            yield client, headers
        await close_context(context)

    return opened_house


async def test_in_development_on_loopback_nobody_need_log_in(house, sealed: bytes) -> None:
    async with house("dev", loopback=True) as (client, _):
        assert opened(await client.post(PATH, content=sealed)) == b'"A1"'


@pytest.mark.parametrize(("env", "loopback"), [("dev", False), ("production", True)])
async def test_elsewhere_an_operator_opens_and_nobody_else(
    house, sealed: bytes, env: str, loopback: bool
) -> None:
    async with house(env, loopback=loopback) as (client, headers):
        assert refused(await client.post(PATH, content=sealed)) == (401, "not_authenticated")
        for role in set(Role) - {Role.OPERATOR}:
            answer = await client.post(PATH, content=sealed, headers=headers[role])
            assert refused(answer) == (403, "forbidden"), role
        answer = await client.post(PATH, content=sealed, headers=headers[Role.OPERATOR])
        assert opened(answer) == b'"A1"'


async def test_what_is_no_payload_is_malformed(house) -> None:
    async with house("dev", loopback=True) as (client, _):
        for content in (b"", b"[]", b"{", b'{"payloads": [{"data": 1}]}'):
            assert refused(await client.post(PATH, content=content)) == (400, "malformed"), content


async def test_only_pages_of_the_ui_may_ask(house, sealed: bytes) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-y"}
    async with house("production", loopback=False) as (client, headers):
        asked = await client.options(PATH, headers=wanted | {"Origin": UI})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == UI
        assert asked.headers["access-control-allow-credentials"] == "true"
        stranger = await client.options(PATH, headers=wanted | {"Origin": ELSEWHERE})
        assert "access-control-allow-origin" not in stranger.headers
        operator = headers[Role.OPERATOR]
        for origin, allowed in ((UI, UI), (ELSEWHERE, None)):
            answer = await client.post(PATH, content=sealed, headers=operator | {"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
