"""The ground under every route: sizes, faults, health, and what OpenAPI promises."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.context import Context
from api.middleware import MAX_BODY
from db.base import driver_pool_for, engine_for
from db.keyring import Keyring
from domain.access import Role
from runtime.lifecycles import TemporalLifecycles
from tests.support.api import (
    BASE,
    NOBODY_LISTENS,
    as_caller,
    client_of,
    close_context,
    make_context,
    refused,
)
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio

ROOT = "http://hospital.test"


@pytest.fixture
def patient(context: Context) -> dict[str, str]:
    return as_caller(context, 1, Role.PATIENT)


# Sizes and shapes


async def test_a_body_larger_than_allowed_is_refused_before_it_is_read(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    for path in ("/appointments", "/payments", "/payments/notify/sandbox", "/auth/login"):
        answer = await client.post(path, content=b"x" * (MAX_BODY + 1), headers=patient)
        assert refused(answer) == (413, "too_large"), path


async def test_a_body_that_hides_its_length_is_refused_while_it_is_read(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    given = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 64:
            given += 1
            yield b" " * 100_000

    for path in ("/appointments", "/payments/notify/sandbox", "/auth/login"):
        given = 0
        answer = await client.post(path, content=chunks(), headers=patient)
        assert refused(answer) in {(413, "too_large"), (404, "not_found")}, path
        assert given <= 12


async def test_a_body_of_just_the_allowed_size_is_read(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    answer = await client.post("/appointments", content=b" " * MAX_BODY, headers=patient)
    assert answer.status_code in (400, 422)


async def test_json_that_is_none_is_malformed(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    headers = patient | {"Content-Type": "application/json"}
    for body in (b"{", b"{'a': 1}", b"\xff\xfe", b'{"a": 1}}', b"[" * 100_000):
        for path in ("/appointments", "/payments", "/auth/login"):
            answer = await client.post(path, content=body, headers=headers)
            assert refused(answer) == (400, "malformed"), (path, body[:9])


async def test_json_of_the_wrong_shape_is_invalid(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    for body in ([], None, "x", 1, {"scheduleId": {}}, {"scheduleId": 1e400}):
        content = json.dumps(body).encode()
        headers = patient | {"Content-Type": "application/json"}
        answer = await client.post("/appointments", content=content, headers=headers)
        assert refused(answer)[0] in (400, 422), body


async def test_unknown_paths_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    assert refused(await client.get("/nothing/here")) == (404, "not_found")
    assert refused(await client.get(f"{ROOT}/elsewhere")) == (404, "not_found")
    assert refused(await client.put("/appointments")) == (405, "method_not_allowed")


async def test_details_are_in_the_readers_language(client: httpx.AsyncClient) -> None:
    async def told(language: str) -> str:
        answer = await client.get("/nothing", headers={"Accept-Language": language})
        detail: str = answer.json()["detail"]
        return detail

    assert await told("en-GB,en;q=0.9") == "There is nothing here for you."
    assert await told("zh-CN,en;q=0.5") == await told("fr") == "未找到。"
    english, chinese = await told("en"), await told("zh")
    for language in (
        "zh;q=0.3, en;q=0.9",
        "fr, zh;q=0, en;q=0.1",
        "en;q=0.5,zh;q=0.5",
        "zh;q=0.1,zh-CN;q=0.2,en-US",
    ):
        assert await told(language) == english, language
    for language in (
        "en;q=0.3, zh;q=0.9",
        "en;q=0",
        "en;q=x",
        "zh,en",
        "EN;q=0.1,ZH-TW",
        "",
        "*",
        "entity",
        ";,=;q",
    ):
        assert await told(language) == chinese, language


# Values that nothing was made for

BEYOND = [2**63, -(2**63) - 1, 10**30]


async def test_numbers_beyond_bigint_are_no_ids(
    client: httpx.AsyncClient, context: Context
) -> None:
    everybody = as_caller(context, 1, *Role)
    for number in BEYOND:
        for method, path, body in [
            ("GET", f"/appointments/{number}", None),
            ("GET", f"/appointments/{number}/timeline", None),
            ("POST", f"/appointments/{number}/cancel", {}),
            ("POST", "/appointments", {"scheduleId": number, "patientId": 1}),
            ("POST", "/appointments", {"scheduleId": 1, "patientId": number}),
            ("POST", f"/notifications/{number}/read", None),
            ("GET", f"/notifications?page={number}", None),
            ("GET", f"/appointments?page={number}", None),
            ("GET", f"/appointments?size={number}", None),
            ("GET", f"/schedules?doctorId={number}", None),
            ("GET", f"/doctors/{number}", None),
            ("PATCH", f"/schedules/{number}", {"totalSources": 1}),
        ]:
            answer = await client.request(method, path, json=body, headers=everybody)
            assert refused(answer)[0] in (404, 422), path


async def test_nul_characters_are_never_a_fault(
    client: httpx.AsyncClient, context: Context
) -> None:
    everybody = as_caller(context, 1, *Role)
    for method, path, body in [
        ("GET", "/payments/P%00", None),
        ("POST", "/payments", {"orderNo": "A\u0000", "channel": "sandbox"}),
        ("POST", "/payments", {"orderNo": "A", "channel": "\ud800"}),
        ("POST", "/payments/notify/%00", None),
        ("POST", "/ops/orders/A%00/extend", {"reason": "x"}),
        ("POST", "/ops/orders/A%FF/cancel-and-refund", {"reason": "x"}),
        ("GET", "/appointments?status=%00", None),
        ("GET", "/appointments?date=%00", None),
        ("GET", "/doctors?keyword=%00", None),
        ("GET", "/dev/outbox?to=%00", None),
        ("POST", "/dev/sandbox-gateway/%00/pay", None),
        ("POST", "/appointments", {"scheduleId": 1, "patientId": 1, "symptoms": "\u0000"}),
        ("POST", "/appointments", {"scheduleId": 1, "patientId": 1, "symptoms": "\ud800"}),
        ("POST", "/auth/login", {"phone": "\u0000", "password": "\u0000"}),
    ]:
        content = None if body is None else json.dumps(body).encode()
        headers = everybody | {"Content-Type": "application/json"}
        answer = await client.request(method, path, content=content, headers=headers)
        assert answer.status_code < 500, path
        if answer.is_error:
            refused(answer)


async def test_a_key_that_is_none_is_refused(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    body = {"scheduleId": 1, "patientId": 1}
    for key in (b"\x00", b"", b"k k", "键".encode(), b"k" * 256):
        headers: Any = [(name, value.encode()) for name, value in patient.items()]
        headers.append(("Idempotency-Key", key))
        answer = await client.post("/appointments", json=body, headers=headers)
        assert refused(answer) == (422, "invalid"), key


async def test_a_token_that_is_none_is_no_login(client: httpx.AsyncClient) -> None:
    for header in ("", "Bearer", "Bearer x", "Basic eDp4", "Bearer a.b.c", "Bearer " + "x" * 5000):
        answer = await client.get("/appointments", headers={"Authorization": header})
        assert refused(answer) == (401, "not_authenticated"), header
        assert answer.headers["www-authenticate"] == "Bearer"


# Without PostgreSQL


@pytest.fixture
async def homeless(context: Context) -> AsyncIterator[httpx.AsyncClient]:
    """The application while its database is away."""
    nowhere = f"postgresql://{NOBODY_LISTENS}/nothing"
    engine, direct = engine_for(nowhere), driver_pool_for(nowhere, size=1)
    await direct.open()
    away = replace(
        context,
        engine=engine,
        direct=direct,
        lifecycles=TemporalLifecycles(context.lifecycles.client, engine, context.config),
    )
    async with client_of(away) as client:
        yield client
    await direct.close()
    await engine.dispose()


async def test_while_the_database_is_away_everything_says_when_to_come_again(
    homeless: httpx.AsyncClient, context: Context
) -> None:
    everybody = as_caller(context, 1, *Role)
    for method, path, body in [
        ("POST", "/appointments", {"scheduleId": 1, "patientId": 1}),
        ("POST", "/appointments", {"scheduleId": 1, "patientId": 1, "symptoms": "x"}),
        ("GET", "/appointments", None),
        ("GET", "/appointments/1", None),
        ("POST", "/appointments/1/cancel", {}),
        ("POST", "/payments", {"orderNo": "A1", "channel": "sandbox"}),
        ("GET", "/payments/P1", None),
        ("GET", "/notifications", None),
        ("GET", "/schedules", None),
        ("POST", "/auth/login", {"phone": "13800138000", "password": "clear-water-7"}),
    ]:
        answer = await homeless.request(method, path, json=body, headers=everybody)
        assert refused(answer) == (503, "unavailable"), path
        assert int(answer.headers["retry-after"]) > 0
    assert (await homeless.get(f"{ROOT}/healthz")).status_code == 200
    assert (await homeless.get(f"{ROOT}/metrics")).status_code == 200
    ready = await homeless.get(f"{ROOT}/readyz")
    assert (ready.status_code, ready.json()["parts"]["database"]) == (503, "away")


@pytest.mark.parametrize("symptoms", [None, "头痛"])
async def test_a_connection_that_was_cut_is_503_once_and_then_made_anew(
    client: httpx.AsyncClient, context: Context, keyring: Keyring, symptoms: str | None
) -> None:
    other = engine_for(str(context.settings.database_url), pool_size=1)
    clinic = await Clinic.opened(other, keyring)
    slot, who = await clinic.slot(), await clinic.someone()
    body = {"scheduleId": slot, "patientId": who[1], "symptoms": symptoms}
    headers = as_caller(context, who[0], Role.PATIENT)
    unknown = {**body, "scheduleId": 10**9}
    asked = [client.post("/appointments", json=unknown, headers=headers) for _ in range(6)]
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {404}
    async with other.begin() as connection:
        await connection.exec_driver_sql(
            """select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()"""
        )
    headers |= {"Idempotency-Key": "k"}
    answers = [await client.post("/appointments", json=body, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 201, 201]
    assert await clinic.figures(slot) == (1, 1, 1)
    await other.dispose()


# Health


async def test_ready_is_degraded_while_temporal_is_away(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{ROOT}/healthz")).json() == {"status": "alive"}
    answer = await client.get(f"{ROOT}/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "parts": {"database": "up", "temporal": "away"},
    }


class Up:
    """A Temporal client of which only the health is asked."""

    @property
    def service_client(self) -> "Up":
        return self

    async def check_health(self, **_: Any) -> bool:
        return True


async def test_ready_when_both_are_there(context: Context) -> None:
    lifecycles = replace(context.lifecycles, client=Up())  # type: ignore[arg-type]
    async with client_of(replace(context, lifecycles=lifecycles)) as client:
        answer = await client.get(f"{ROOT}/readyz")
    assert answer.json()["status"] == "ready"


async def test_not_ready_before_the_migrations(client: httpx.AsyncClient, context: Context) -> None:
    async with context.engine.begin() as connection:
        await connection.exec_driver_sql("delete from alembic_version")
    answer = await client.get(f"{ROOT}/readyz")
    assert (answer.status_code, answer.json()["parts"]["database"]) == (503, "not migrated")


async def test_metrics_count_by_route_template_and_never_by_path(
    client: httpx.AsyncClient, patient: dict[str, str]
) -> None:
    await client.get("/appointments/424242", headers=patient)
    await client.get("/secret-path")
    text = (await client.get(f"{ROOT}/metrics")).text
    assert 'route="/appointments/{id}",status="404"' in text
    assert "424242" not in text
    assert "secret-path" not in text


async def test_every_answer_names_its_request(client: httpx.AsyncClient) -> None:
    answers = [await client.get(path) for path in ("/nothing", f"{ROOT}/healthz")]
    names = {answer.headers["x-request-id"] for answer in answers}
    assert len(names) == 2


# Development routes


async def test_development_routes_exist_in_development_on_loopback_alone(
    database_url: str, keyring: Keyring
) -> None:
    async def found(env: str, *, loopback: bool) -> bool:
        context = await make_context(database_url, keyring, env=env)
        app = create_app(context, loopback=loopback)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
            answers = [
                await client.get("/dev/outbox"),
                await client.get("/dev/accounts"),
                await client.post("/dev/sandbox-gateway/P1/pay"),
            ]
        await close_context(context)
        described = any("/dev/" in path for path in app.openapi()["paths"])
        here = any(answer.status_code != 404 for answer in answers)
        assert here == described
        return here

    assert await found("dev", loopback=True)
    assert not await found("dev", loopback=False)
    assert not await found("production", loopback=True)


# OpenAPI


@pytest.fixture
async def operations(context: Context) -> list[tuple[str, dict[str, Any]]]:
    described = create_app(context).openapi()["paths"]
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in described.items()
        for method, operation in methods.items()
    ]


def schemas_of(operation: dict[str, Any], status: str) -> Iterator[str]:
    yield from operation["responses"][status].get("content", {})


async def test_every_route_is_described(operations: list[tuple[str, dict[str, Any]]]) -> None:
    assert len(operations) > 30
    assert [name for name, operation in operations if not operation.get("summary")] == []
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids)


async def test_every_refusal_is_described_as_a_problem(
    operations: list[tuple[str, dict[str, Any]]],
) -> None:
    wrong = [
        (name, status)
        for name, operation in operations
        if "/hospital/" in name
        for status in operation["responses"]
        if status >= "400" and "application/problem+json" not in schemas_of(operation, status)
    ]
    assert wrong == []


async def test_every_route_says_what_it_may_refuse(
    operations: list[tuple[str, dict[str, Any]]],
) -> None:
    lacking = []
    for name, operation in operations:
        statuses = set(operation["responses"])
        if "/hospital/" not in name:
            continue
        lacking += [(name, status) for status in ("400", "422", "503") if status not in statuses]
        guarded = [p for p in operation.get("parameters", []) if p["name"] == "authorization"]
        if guarded and "401" not in statuses:
            lacking.append((name, "401"))
    assert lacking == []
