"""What strangers, old recordings and broken senders get from the gateway."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from activities.gateways.payment import GatewayRefused, PaymentState
from activities.gateways.sandbox_wire import Signer
from tests.support.gateway import SECRET, sandbox_gateway, with_options

pytestmark = pytest.mark.anyio

PATH = "/v1/payments"
QUESTION = {
    "payment_no": "P1",
    "amount": 5000,
    "currency": "CNY",
    "description": "appointment",
    "expires_at": (datetime.now(UTC) + timedelta(minutes=15)).isoformat(),
    "notify_url": "http://127.0.0.1:9/notify",
}


async def send(gateway, body, path=PATH, method="POST", at=None):
    headers = Signer(SECRET).headers(method, path, body, at or datetime.now(UTC))
    return await gateway.http.request(method, gateway.url + path, content=body, headers=headers)


def said(response):
    return response.status_code, response.json()["code"]


async def test_an_unsigned_message_is_not_read(running_gateway):
    response = await running_gateway.http.post(running_gateway.url + PATH, content=b"{garbage")
    assert said(response) == (401, "bad_signature")


async def test_another_secret_is_refused(running_gateway, inbox):
    stranger = running_gateway.payments(inbox.url, secret="another-secret-of-16")
    with pytest.raises(GatewayRefused) as refusal:
        await stranger.query("P1")
    assert refusal.value.code == "bad_signature"


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_stale_message_is_refused(running_gateway, minutes):
    at = datetime.now(UTC) + timedelta(minutes=minutes)
    assert said(await send(running_gateway, b"", at=at)) == (401, "bad_signature")


async def test_the_signature_covers_method_path_query_and_body(running_gateway):
    gateway, path = running_gateway, "/control/outage?seconds=0"
    headers = Signer(SECRET).headers("POST", path, b"", datetime.now(UTC))
    for method, changed, body in (
        ("GET", path, b""),
        ("POST", "/control/outage?seconds=9", b""),
        ("POST", path, b"{}"),
    ):
        url = gateway.url + changed
        response = await gateway.http.request(method, url, content=body, headers=headers)
        assert response.status_code == 401
    assert (await gateway.http.post(gateway.url + path, headers=headers)).status_code == 200


async def test_a_recorded_message_does_not_work_twice(db):
    headers = Signer(SECRET).headers("POST", "/control/outage?seconds=0", b"", datetime.now(UTC))
    statuses = []
    for _ in range(2):  # a restart in between forgets nothing
        async with sandbox_gateway(db) as gateway:
            url = f"{gateway.url}/control/outage?seconds=0"
            statuses.append((await gateway.http.post(url, headers=headers)).status_code)
    assert statuses == [200, 401]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{garbage",
        b"\xff\xfe\x00",
        b"[]",
        json.dumps({**QUESTION, "amount": 0}).encode(),
        json.dumps({**QUESTION, "amount": -5}).encode(),
        json.dumps({**QUESTION, "amount": 12.5}).encode(),
        json.dumps({**QUESTION, "amount": "5000"}).encode(),
        json.dumps({**QUESTION, "amount": True}).encode(),
        json.dumps({**QUESTION, "amount": 10**30}).encode(),
        json.dumps({**QUESTION, "currency": "USD"}).encode(),
        json.dumps({**QUESTION, "payment_no": "a b"}).encode(),
        json.dumps({**QUESTION, "payment_no": "x" * 33}).encode(),
        json.dumps({**QUESTION, "expires_at": "2026-01-01T00:00:00"}).encode(),
        json.dumps({**QUESTION, "notify_url": "file:///etc/passwd"}).encode(),
        json.dumps({**QUESTION, "more": 1}).encode(),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_with_a_code(running_gateway, body):
    status, code = said(await send(running_gateway, body))
    assert (status, code) in ((422, "invalid_request"), (400, "bad_request"))


async def test_a_body_that_is_too_large_is_refused(running_gateway):
    assert said(await send(running_gateway, b"x" * 70_000)) == (413, "too_large")


async def test_what_does_not_exist_is_refused_with_a_code(running_gateway):
    assert said(await send(running_gateway, b"", "/v1/nothing")) == (404, "not_found")
    assert said(await send(running_gateway, b"", PATH, "DELETE")) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "query", ["times=0", "times=99", "delay=soon", "delay=-PT1S", "fail=perhaps"]
)
async def test_a_control_that_makes_no_sense_is_refused(running_gateway, query):
    path = f"/control/payments/P1/pay?{query}"
    assert said(await send(running_gateway, b"", path)) == (422, "invalid_request")


async def test_without_loopback_there_are_no_controls(db, inbox):
    async with sandbox_gateway(db, with_options(controls=False)) as gateway:
        with pytest.raises(GatewayRefused) as refusal:
            await gateway.controls.pay("P1")
        assert refusal.value.code == "not_found"
        assert (await gateway.payments(inbox.url).query("P1")).state is PaymentState.UNKNOWN
