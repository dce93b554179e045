"""Paying over HTTP, with the real sandbox gateway behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from activities.gateways.payment import EventKind
from activities.gateways.sandbox_payment import (
    SandboxMerchant,
    SandboxPaymentGateway,
    sandbox_http,
)
from activities.gateways.sandbox_wire import Signer
from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from domain.appointment import AppointmentStatus as S
from domain.payment import PaymentStatus, RefundCause, RefundStatus
from runtime.metrics import render
from tests.support.api import as_caller, client_of, refused
from tests.support.booking import Clinic, Till
from tests.support.gateway import (
    SECRET,
    ZONE,
    Callback,
    Inbox,
    RunningGateway,
    callback_inbox,
    sandbox_gateway,
)

pytestmark = pytest.mark.anyio

NOTIFY = "/payments/notify/sandbox"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with sandbox_gateway(tmp_path / "gateway.db") as gateway:
        yield gateway


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """Takes the gateway's callbacks down, to be passed on when a test wants."""
    async with callback_inbox() as inbox:
        yield inbox


@pytest.fixture
async def port(gateway: RunningGateway, inbox: Inbox) -> SandboxPaymentGateway:
    return gateway.payments(inbox.url)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@dataclass
class Payer:
    client: httpx.AsyncClient
    context: Context
    clinic: Clinic
    account: int
    order_no: str

    @property
    def headers(self) -> dict[str, str]:
        return as_caller(self.context, self.account, Role.PATIENT)

    async def pay(self, key: str | None = None, **changes: Any) -> httpx.Response:
        body = {"orderNo": self.order_no, "channel": "sandbox"} | changes
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        return await self.client.post("/payments", json=body, headers=headers)

    async def paying(self) -> dict[str, Any]:
        answer = await self.pay()
        assert answer.status_code in (200, 201), answer.text
        payment: dict[str, Any] = answer.json()
        return payment

    async def see(self, payment_no: str) -> httpx.Response:
        return await self.client.get(f"/payments/{payment_no}", headers=self.headers)

    async def notify(self, callback: Callback, **headers: str) -> httpx.Response:
        sent = callback.headers | headers
        return await self.client.post(NOTIFY, content=callback.body, headers=sent)


async def a_payer(client: httpx.AsyncClient, context: Context, clinic: Clinic) -> Payer:
    who = await clinic.someone()
    return Payer(client, context, clinic, who[0], await clinic.booked(who, await clinic.slot()))


@pytest.fixture
async def payer(context: Context, clinic: Clinic, port: SandboxPaymentGateway) -> Any:
    at_gateway = replace(context, payments={"sandbox": port})
    async with client_of(at_gateway) as client:
        yield await a_payer(client, at_gateway, clinic)


# Paying


async def test_a_new_payment_says_how_much_and_where(payer: Payer, clinic: Clinic) -> None:
    answer = await payer.pay()
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    order = await clinic.order(payer.order_no)
    assert payment["paymentNo"].startswith("P")
    assert payment["payUrl"].startswith("http")
    assert datetime.fromisoformat(payment["expiresAt"]) == order.pay_by
    expected = {"orderNo": payer.order_no, "amount": 50.0, "channel": "sandbox",
                "status": "pending", "refunds": []}  # fmt: skip
    assert {name: payment[name] for name in expected} == expected
    assert (await payer.see(payment["paymentNo"])).json() == payment


async def test_the_amount_is_the_orders_whatever_is_sent(payer: Payer) -> None:
    answer = await payer.pay(amount=0.01)
    assert answer.json()["amount"] == 50.0


async def test_while_one_is_open_it_comes_back(payer: Payer) -> None:
    first, again = await payer.pay(), await payer.pay()
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


async def test_many_at_once_are_one_payment(payer: Payer, clinic: Clinic) -> None:
    answers = await asyncio.gather(*(payer.pay() for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert await clinic.value("select count(*) from payment") == 1


async def test_many_who_only_look_do_not_wait_for_each_other(payer: Payer) -> None:
    """Each with one connection of the pool: two would leave all waiting for the second."""
    number = (await payer.paying())["paymentNo"]
    looks = (payer.see(number) for _ in range(60))
    assert {answer.status_code for answer in await asyncio.gather(*looks)} == {200}


async def test_a_key_used_again_gives_the_first_payment_again(payer: Payer) -> None:
    first, again = await payer.pay("k"), await payer.pay("k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert refused(await payer.pay("k", channel="x")) == (422, "idempotency_mismatch")


async def test_after_the_deadline_nobody_can_pay(payer: Payer, clinic: Clinic) -> None:
    await clinic.run("update appointment set pay_by = now()")
    answer = await payer.pay("k")
    assert refused(answer) == (409, "not_payable")
    await clinic.run("update appointment set pay_by = now() + interval '1 minute'")
    assert (await payer.pay("k")).status_code == 201, "a refusal is judged anew"


@pytest.mark.parametrize("status", [S.CONFIRMED, S.CANCELLED])
async def test_only_an_unpaid_order_can_be_paid(payer: Payer, clinic: Clinic, status: S) -> None:
    await clinic.move(payer.order_no, 1, status, at=datetime.now(UTC))
    answer = await payer.pay()
    assert refused(answer) == (409, "not_payable")
    assert answer.json()["orderStatus"] == status


async def test_a_channel_that_is_not_offered(payer: Payer, clinic: Clinic) -> None:
    assert refused(await payer.pay(channel="wechat")) == (409, "channel_unavailable")
    assert await clinic.value("select count(*) from payment") == 0


async def test_another_ones_payment_is_not_found(payer: Payer, clinic: Clinic) -> None:
    payment = await payer.paying()
    stranger = replace(payer, account=(await clinic.someone(7))[0])
    assert refused(await stranger.pay()) == (404, "not_found")
    assert refused(await stranger.see(payment["paymentNo"])) == (404, "not_found")
    assert refused(await payer.see("P0")) == (404, "not_found")
    assert refused(await payer.pay(orderNo="A0")) == (404, "not_found")


async def test_a_gateway_that_is_down_is_tried_again_by_the_next(
    context: Context, clinic: Clinic, tmp_path: Path, inbox: Inbox
) -> None:
    merchant = SandboxMerchant("http://127.0.0.1:1", SECRET, inbox.url, ZONE)
    nobody = SandboxPaymentGateway(merchant, sandbox_http())
    lines_down = replace(context, payments={"sandbox": nobody})
    async with client_of(lines_down) as client:
        payer = await a_payer(client, lines_down, clinic)
        answer = await payer.pay("k")
        assert refused(answer) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert await clinic.value("select pay_url from payment") is None
    async with sandbox_gateway(tmp_path / "gateway.db") as gateway:
        back = replace(context, payments={"sandbox": gateway.payments(inbox.url)})
        async with client_of(back) as client:
            answers = [await replace(payer, client=client).pay(key) for key in ("k", None)]
        assert [answer.status_code for answer in answers] == [201, 200]
        assert answers[0].json() == answers[1].json()
        paid = await gateway.controls.pay(answers[0].json()["paymentNo"])
        assert paid.state == "paid"
    assert await clinic.value("select count(*) from payment") == 1


async def test_a_closed_payment_is_not_offered_again(payer: Payer, clinic: Clinic) -> None:
    payment = (await payer.pay("k")).json()
    await Till(clinic).move(payment["paymentNo"], 1, PaymentStatus.CLOSED)
    await clinic.run("update payment set pay_url = null")
    again = await payer.pay("k")
    assert (again.json()["status"], again.json()["payUrl"]) == ("closed", None)
    other = await payer.paying()
    assert other["paymentNo"] != payment["paymentNo"]


async def test_a_payment_shows_its_refunds(payer: Payer, clinic: Clinic) -> None:
    number, till = (await payer.paying())["paymentNo"], Till(clinic)
    await till.take(number)
    for cause, share in ((RefundCause.LATE, "0.3"), (RefundCause.CLINIC, "1")):
        await till.owe(cause, share, payment_no=number)
    await till.end("R-late", RefundStatus.SUCCEEDED)
    seen = (await payer.see(number)).json()
    assert seen["status"] == "paid"
    assert seen["refunds"] == [
        {"refundNo": "R-late", "amount": 15.0, "cause": "late", "status": "succeeded"},
        {"refundNo": "R-clinic", "amount": 35.0, "cause": "clinic", "status": "pending"},
    ]


# What the gateway calls back


@pytest.fixture
async def callback(payer: Payer, gateway: RunningGateway, inbox: Inbox) -> Callback:
    """The gateway's word that the order was paid."""
    await gateway.controls.pay((await payer.paying())["paymentNo"])
    (callback,) = await inbox.callbacks(1)
    return callback


async def signals(clinic: Clinic) -> list[Any]:
    return list(await clinic.ids("select signal from outbox where signal is not null order by id"))


async def test_money_taken_is_kept_and_passed_on_once(
    payer: Payer, clinic: Clinic, callback: Callback
) -> None:
    answers = await asyncio.gather(*(payer.notify(callback) for _ in range(10)))
    assert [(a.status_code, a.json()) for a in answers] == [(200, {"code": "SUCCESS"})] * 10
    assert await clinic.value("select count(*) from inbox") == 1
    assert await signals(clinic) == ["money_taken"]
    promised = await clinic.value("select args from outbox where signal is not null")
    assert promised.keys() == {"amount", "at", "transaction_id"}
    assert promised["amount"] == "50.00"
    order_no = "select stream from outbox where signal is not null"
    assert await clinic.value(order_no) == payer.order_no


@pytest.mark.parametrize("forged", ["", "0" * 64, "签"])
async def test_a_forged_callback_is_refused_and_audited(
    payer: Payer, clinic: Clinic, callback: Callback, forged: str
) -> None:
    headers = callback.headers | {"x-sandbox-signature": forged}
    encoded = [(name, value.encode()) for name, value in headers.items()]
    answer = await payer.client.post(NOTIFY, content=callback.body, headers=encoded)  # type: ignore[arg-type]
    assert refused(answer) == (401, "bad_signature")
    query = "select concat_ws(' ', event, subject, actor_role, details ->> 'reason') from audit"
    assert await clinic.value(query) == f"bad_signature {NOTIFY[1:]} stranger forged"
    assert await clinic.value("select count(*) from inbox") == 0
    assert await signals(clinic) == []


async def test_who_forges_without_end_fills_the_log_and_not_the_audit(
    payer: Payer, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the audit stays there."""
    monkeypatch.setattr("api.limits.FORGERIES_AUDITED", 2)
    monkeypatch.setattr("api.limits.FORGERIES_AUDITED_IN_ALL", 3)
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            assert refused(await payer.client.post(NOTIFY)) == (401, "bad_signature")
        assert await clinic.value("select count(*) from audit") == 2
        for network in ("2001:db8:0:1::", "2001:db8:0:2::"):  # elsewhere, and still not for ever
            async with client_of(payer.context, address=f"{network}7") as client:
                assert (await client.post(NOTIFY)).status_code == 401
    assert await clinic.value("select count(*) from audit") == 3
    assert [one["event"] for one in logs if one["event"] == "callback_refused"] == [
        "callback_refused"
    ] * 6
    scrape = render(payer.context.metrics.registry)[0].decode()
    for outcome in ("audited", "counted"):
        line = f'hospital_forged_callbacks_total{{outcome="{outcome}",source="sandbox"}} 3.0'
        assert line in scrape
    await clinic.run("update rate_limit set window_ends = now()")  # an hour later
    await payer.client.post(NOTIFY)
    assert await clinic.value("select count(*) from audit") == 4


async def test_a_changed_amount_is_a_forgery(
    payer: Payer, clinic: Clinic, callback: Callback
) -> None:
    changed = callback.body.replace(b"5000", b"5001")
    assert changed != callback.body
    answer = await payer.notify(Callback(callback.headers, changed))
    assert refused(answer) == (401, "bad_signature")


async def test_what_is_signed_but_makes_no_sense(payer: Payer, clinic: Clinic) -> None:
    path = "/payments/notify/sandbox"
    for body in (b"", b"{}", b"\xff\x00", b'{"event_id": 1}', b"[" * 5000):
        headers = Signer(SECRET).headers("POST", path, body, datetime.now(UTC))
        answer = await payer.client.post(NOTIFY, content=body, headers=headers)
        assert refused(answer) == (400, "malformed")
    assert await clinic.value("select count(*) from inbox") == 0


def an_event(**changes: Any) -> bytes:
    now = datetime.now(UTC).isoformat()
    event = {"event_id": "E1", "kind": EventKind.PAYMENT_SUCCEEDED, "payment_no": "P0",
             "amount": 5000, "at": now, "transaction_id": "T1"}  # fmt: skip
    return json.dumps(event | changes).encode()


async def send(payer: Payer, body: bytes) -> httpx.Response:
    headers = Signer(SECRET).headers("POST", NOTIFY, body, datetime.now(UTC))
    return await payer.client.post(NOTIFY, content=body, headers=headers)


async def test_money_for_a_payment_nobody_knows_is_kept_for_a_human(
    payer: Payer, clinic: Clinic
) -> None:
    answer = await send(payer, an_event())
    assert (answer.status_code, answer.json()) == (200, {"code": "SUCCESS"})
    assert await clinic.value("select subject from inbox") == "P0"
    assert await signals(clinic) == []


async def test_news_of_a_refund_wakes_the_payment(payer: Payer, clinic: Clinic) -> None:
    number = (await payer.paying())["paymentNo"]
    for n, kind in enumerate((EventKind.REFUND_SUCCEEDED, EventKind.REFUND_FAILED)):
        event = an_event(event_id=f"E{n}", kind=kind, payment_no=number, refund_no="R1")
        assert (await send(payer, event)).status_code == 200
    assert await signals(clinic) == ["refund_finished"] * 2
    args = "select args from outbox where signal is not null"
    assert await clinic.ids(args) == [{"refund_no": "R1"}] * 2


async def test_another_gateway_cannot_speak_for_this_one(
    context: Context, payer: Payer, port: SandboxPaymentGateway, clinic: Clinic
) -> None:
    """Its signature is good for its own payments only."""
    number = (await payer.paying())["paymentNo"]
    both = replace(context, payments={"sandbox": port, "other": port})
    body = an_event(payment_no=number)
    headers = Signer(SECRET).headers("POST", NOTIFY, body, datetime.now(UTC))
    async with client_of(both) as client:
        answer = await client.post("/payments/notify/other", content=body, headers=headers)
    assert answer.status_code == 200
    assert await signals(clinic) == []


async def test_a_channel_without_a_gateway_takes_no_callbacks(payer: Payer) -> None:
    answer = await payer.client.post("/payments/notify/wechat", content=b"{}")
    assert refused(answer) == (404, "not_found")


# The payer's hand, in development


async def at_till(payer: Payer, gateway_url: str, path: str) -> httpx.Response:
    settings = replace(
        payer.context.settings, sandbox_gateway_url=gateway_url, sandbox_gateway_secret=SECRET
    )
    async with client_of(replace(payer.context, settings=settings)) as client:
        return await client.post(f"/dev/sandbox-gateway/{path}")


async def test_in_development_anybody_can_pay_at_the_sandbox_gateway(
    payer: Payer, gateway: RunningGateway, inbox: Inbox, port: SandboxPaymentGateway
) -> None:
    number = (await payer.paying())["paymentNo"]
    failed = await at_till(payer, gateway.url, f"{number}/pay?fail=true")
    assert (failed.status_code, failed.json()["state"]) == (200, "pending")
    paid = await at_till(payer, gateway.url, f"{number}/pay?times=2")
    assert (paid.json()["state"], paid.json()["amount"]) == ("paid", 50.0)
    first, second = await inbox.events(port, 2)
    assert first == second


async def test_a_hand_that_reaches_nothing(payer: Payer, gateway: RunningGateway) -> None:
    assert refused(await at_till(payer, gateway.url, "P0/pay")) == (404, "not_found")
    for query in ("times=0", "times=99", "delay=-PT1S", "delay=P9D", "delay=soon"):
        answer = await at_till(payer, gateway.url, f"P0/pay?{query}")
        assert refused(answer) == (422, "invalid"), query
    nobody = await at_till(payer, "http://127.0.0.1:1", "P0/pay")
    assert refused(nobody) == (503, "unavailable")
    without = await payer.client.post("/dev/sandbox-gateway/P0/pay")
    assert refused(without) == (404, "not_found")
