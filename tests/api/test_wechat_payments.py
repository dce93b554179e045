"""Paying with WeChat over HTTP, with a server behind it that behaves as WeChat Pay does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode

from activities.gateways.payment import to_yuan
from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from domain.hospital import PaymentPolicy
from domain.payment import PaymentStatus, Settlement
from runtime.gateways import open_payments
from runtime.settings import read_settings
from tests.support.api import as_caller, client_of, refused
from tests.support.booking import Clinic, Till
from tests.support.gateway import Callback, Inbox, callback_inbox
from tests.support.wechat_keys import APPID, an_event, forger, platform
from tests.support.wechat_server import Refusal, WechatServer, wechat_server
from tests.support.wechat_settings import wechat_environ

pytestmark = pytest.mark.anyio

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
NATIVE, JSAPI = "wechat_native", "wechat_jsapi"


@pytest.fixture
async def wechat() -> AsyncIterator[WechatServer]:
    async with wechat_server() as server:
        yield server


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    """Takes WeChat's callbacks down, to be passed on when a test wants."""
    async with callback_inbox() as inbox:
        yield inbox


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@dataclass
class Payer:
    client: httpx.AsyncClient
    headers: dict[str, str]
    order_no: str

    async def pay(self, channel: str = NATIVE, **more: Any) -> httpx.Response:
        body = {"orderNo": self.order_no, "channel": channel} | more
        return await self.client.post("/payments", json=body, headers=self.headers)

    async def pay_in_app(self, openid: str = OPENID) -> httpx.Response:
        return await self.pay(JSAPI, payer={"openid": openid})

    async def see(self, payment_no: str) -> dict[str, Any]:
        answer = await self.client.get(f"/payments/{payment_no}", headers=self.headers)
        payment: dict[str, Any] = answer.json()
        return payment

    async def notify(self, callback: Callback, channel: str = NATIVE) -> httpx.Response:
        return await self.client.post(
            f"/payments/notify/{channel}", content=callback.body, headers=callback.headers
        )


def by_policy(context: Context, *channels: str) -> Context:
    policies = replace(context.config.policies, payment=PaymentPolicy(channels=channels))
    return replace(context, config=replace(context.config, policies=policies))


@pytest.fixture
async def at_wechat(
    context: Context, wechat: WechatServer, inbox: Inbox, tmp_path: Path
) -> AsyncIterator[Context]:
    """Set up as `WECHAT_PAY_*` does it; only that callbacks come to the inbox."""
    config = by_policy(context, NATIVE, JSAPI)
    public_url = inbox.url.partition("/payments")[0]
    environ = wechat_environ(tmp_path, WECHAT_PAY_BASE_URL=wechat.url)
    async with AsyncExitStack() as stack:
        settings = replace(read_settings(environ), public_url=public_url)
        yield replace(config, payments=open_payments(settings, config.config, stack))


@pytest.fixture
async def payer(at_wechat: Context, clinic: Clinic) -> AsyncIterator[Payer]:
    who = await clinic.someone()
    order_no = await clinic.booked(who, await clinic.slot())
    async with client_of(at_wechat) as client:
        yield Payer(client, as_caller(at_wechat, who[0], Role.PATIENT), order_no)


@pytest.fixture
async def callback(payer: Payer, wechat: WechatServer, inbox: Inbox) -> Callback:
    """WeChat's word that the order was paid."""
    await wechat.pay((await payer.pay()).json()["paymentNo"])
    (callback,) = await inbox.callbacks(1)
    return callback


async def signals(clinic: Clinic) -> list[Any]:
    return list(await clinic.ids("select signal from outbox where signal is not null order by id"))


# Paying


async def test_a_code_to_scan(payer: Payer) -> None:
    answer = await payer.pay()
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    assert payment["payUrl"].startswith("weixin://wxpay/")
    assert (payment["channel"], payment["payParams"]) == (NATIVE, None)
    again = await payer.pay()
    assert (again.status_code, again.json()) == (200, payment)


async def test_in_the_mini_program(payer: Payer, clinic: Clinic) -> None:
    answer = await payer.pay_in_app()
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    params = payment["payParams"]
    assert (payment["payUrl"], params["appId"], params["signType"]) == (None, APPID, "RSA")
    again = (await payer.pay_in_app()).json()
    assert again["paymentNo"] == payment["paymentNo"]
    assert again["payParams"]["package"] == params["package"], "the same prepayment, signed anew"
    assert (await payer.see(payment["paymentNo"]))["payParams"] is None
    assert OPENID not in await clinic.value("select json_agg(payment)::text from payment")


async def test_who_pays_must_be_said_in_the_mini_program(payer: Payer, clinic: Clinic) -> None:
    answer = await payer.pay(JSAPI)
    assert refused(answer) == (422, "invalid")
    assert answer.json()["errors"] == [{"field": "payer", "message": "is needed for this channel"}]
    assert await clinic.value("select count(*) from payment") == 0
    for wrong in ("", "o p", "签", "o" * 129, 5, None):
        answer = await payer.pay(JSAPI, payer={"openid": wrong})
        assert refused(answer) == (422, "invalid")
    stranger = await payer.pay_in_app("x-of-another-app")
    assert refused(stranger) == (422, "invalid")
    assert stranger.json()["errors"][0]["field"] == "payer.openid"
    assert "x-of-another-app" not in stranger.text


@dataclass
class Settling:
    """A payment's workflow, as far as the route asks it: it closes, finds money, or is away."""

    clinic: Clinic
    to: PaymentStatus | None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def ask(self, kind: str, subject: str, update: str, **how: Any) -> Settlement:
        self.asked.append((kind, subject, update))
        if self.to is None:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        await Till(self.clinic).move(subject, 1, self.to)
        return Settlement(self.to is PaymentStatus.PAID, subject)


def settling(at_wechat: Context, payer: Payer, workflow: Settling) -> Payer:
    lifecycles: Any = workflow
    return replace(payer, client=client_of(replace(at_wechat, lifecycles=lifecycles)))


@pytest.mark.parametrize("app_first", [True, False])
async def test_another_way_of_paying_closes_the_first(
    at_wechat: Context, payer: Payer, clinic: Clinic, app_first: bool
) -> None:
    """Each has what its own way needs, and never are two good at once."""
    workflow = Settling(clinic, PaymentStatus.CLOSED)
    payer = settling(at_wechat, payer, workflow)
    first, second = (payer.pay_in_app, payer.pay) if app_first else (payer.pay, payer.pay_in_app)
    before = (await first()).json()
    answer = await second()
    assert answer.status_code == 201, answer.text
    after = answer.json()
    assert after["paymentNo"] != before["paymentNo"]
    assert (after["payUrl"] is None) != (after["payParams"] is None)
    assert (after["payUrl"] is None) != (before["payUrl"] is None)
    assert workflow.asked == [("payment", before["paymentNo"], "settle_or_close")]
    assert await clinic.ids("select status from payment order by id") == ["closed", "pending"]
    assert (await second()).json()["paymentNo"] == after["paymentNo"]
    assert len(workflow.asked) == 1


async def test_what_was_paid_the_one_way_is_not_asked_for_the_other_way(
    at_wechat: Context, payer: Payer, clinic: Clinic
) -> None:
    payer = settling(at_wechat, payer, Settling(clinic, PaymentStatus.PAID))
    first = (await payer.pay_in_app()).json()
    answer = await payer.pay(NATIVE)
    assert (answer.status_code, answer.json()["status"]) == (200, "paid")
    assert (answer.json()["paymentNo"], answer.json()["payUrl"]) == (first["paymentNo"], None)
    assert await clinic.value("select count(*) from payment") == 1


async def test_while_the_first_cannot_be_closed_there_is_no_second(
    at_wechat: Context, payer: Payer, clinic: Clinic
) -> None:
    workflow = Settling(clinic, None)
    payer = settling(at_wechat, payer, workflow)
    await payer.pay_in_app()
    payer.headers["Idempotency-Key"] = "k"
    assert refused(await payer.pay(NATIVE)) == (503, "try_again")
    assert await clinic.value("select count(*) from payment") == 1
    workflow.to = PaymentStatus.CLOSED
    assert (await payer.pay(NATIVE)).status_code == 201


async def test_a_payment_that_ran_out_is_closed_and_a_new_one_made(
    at_wechat: Context, payer: Payer, clinic: Clinic
) -> None:
    """An operator gave the order more time; the gateway's code did not get any."""
    workflow = Settling(clinic, PaymentStatus.CLOSED)
    payer = settling(at_wechat, payer, workflow)
    first = (await payer.pay()).json()
    await clinic.run("update payment set expires_at = now() - interval '1 second'")
    answer = await payer.pay()
    assert answer.status_code == 201, answer.text
    assert answer.json()["payUrl"] != first["payUrl"]
    assert workflow.asked == [("payment", first["paymentNo"], "settle_or_close")]
    assert await clinic.ids("select status from payment order by id") == ["closed", "pending"]
    assert (await payer.pay()).json()["paymentNo"] == answer.json()["paymentNo"]


async def test_what_was_paid_before_it_ran_out_is_not_asked_for_again(
    at_wechat: Context, payer: Payer, clinic: Clinic
) -> None:
    payer = settling(at_wechat, payer, Settling(clinic, PaymentStatus.PAID))
    first = (await payer.pay()).json()
    await clinic.run("update payment set expires_at = now() - interval '1 second'")
    answer = await payer.pay()
    assert (answer.status_code, answer.json()["status"]) == (200, "paid")
    assert answer.json()["paymentNo"] == first["paymentNo"]


async def test_a_payment_that_wechat_refuses_for_good(payer: Payer, wechat: WechatServer) -> None:
    """Asking again would change nothing, so nobody is told to."""
    wechat.next_answers.append(Refusal(403, "NO_AUTH", "商户无权限 oUpF8uMuAJO"))
    answer = await payer.pay()
    assert refused(answer) == (409, "payment_refused")
    assert "oUpF8uMuAJO" not in answer.text
    assert "retry-after" not in answer.headers


async def test_a_channel_that_the_hospital_does_not_offer(at_wechat: Context, payer: Payer) -> None:
    """It is set up, for the money that is under way."""
    assert refused(await payer.pay("sandbox")) == (409, "channel_unavailable")
    async with client_of(by_policy(at_wechat, JSAPI)) as client:
        answer = await replace(payer, client=client).pay(NATIVE)
    assert refused(answer) == (409, "channel_unavailable")


async def test_wechat_is_away(payer: Payer, wechat: WechatServer) -> None:
    wechat.next_answers.append(Refusal(500, "SYSTEM_ERROR", "系统超时"))
    assert refused(await payer.pay()) == (503, "unavailable")
    assert (await payer.pay()).json()["payUrl"]


# What WeChat calls back


def fail_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and words, in the form that WeChat prescribes."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"code", "message"}
    assert answer.json()["code"] == "FAIL"
    return answer.status_code, answer.json()["message"]


async def test_money_taken_is_kept_and_passed_on_once(
    payer: Payer, clinic: Clinic, callback: Callback
) -> None:
    answers = await asyncio.gather(*(payer.notify(callback) for _ in range(5)))
    assert [(a.status_code, a.json()) for a in answers] == [(200, {"code": "SUCCESS"})] * 5
    assert await signals(clinic) == ["money_taken"]
    content = await clinic.value("select content::text from inbox")
    assert '"50.00"' in content
    assert "openid" not in content


async def test_it_is_known_by_its_channel(payer: Payer, clinic: Clinic, callback: Callback) -> None:
    """Replayed at another channel's address it changes nothing."""
    assert (await payer.notify(callback, JSAPI)).status_code == 200
    assert await signals(clinic) == []
    assert (await payer.notify(callback)).status_code == 200
    assert await signals(clinic) == ["money_taken"]


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (lambda body: forger().headers(body), "forged"),
        (lambda body: platform().headers(body + b" "), "forged"),
        (lambda body: platform().headers(body, datetime.now(UTC) - HOUR), "stale"),
        (
            lambda body: replace(platform(), serial="5A" * 20).headers(body),
            "unknown_serial",
        ),
        (lambda body: {}, "not_signed"),
    ],
)
async def test_a_callback_that_is_not_wechats_now_is_refused_and_audited(
    payer: Payer, clinic: Clinic, callback: Callback, headers: Any, why: str
) -> None:
    answer = await payer.notify(Callback(headers(callback.body), callback.body))
    assert fail_of(answer) == (401, "签名无效。")
    query = "select concat_ws(' ', event, subject, actor_role, details ->> 'reason') from audit"
    expected = f"bad_signature payments/notify/{NATIVE} stranger {why}"
    assert await clinic.value(query) == expected
    assert await clinic.value("select count(*) from inbox") == 0
    assert await signals(clinic) == []


async def test_what_is_wechats_but_makes_no_sense(payer: Payer, clinic: Clinic) -> None:
    for body in (b"{}", an_event("TRANSACTION.SUCCESS", {"mchid": "another"})):
        answer = await payer.notify(Callback(platform().headers(body), body))
        assert fail_of(answer) == (400, "请求无法解析。")
    assert await clinic.value("select count(*) from inbox") == 0


async def test_news_of_a_refund_wakes_the_payment(
    at_wechat: Context, payer: Payer, clinic: Clinic, wechat: WechatServer, inbox: Inbox
) -> None:
    number = (await payer.pay()).json()["paymentNo"]
    await wechat.pay(number, callback=False)
    await Till(clinic).take(number)
    paid = to_yuan(wechat.orders[number].total)
    await at_wechat.payments[NATIVE].refund(
        "R260302AAAA", payment_no=number, amount=paid, total=paid, reason="clinic"
    )
    (news,) = await inbox.callbacks(1)
    assert (await payer.notify(news)).status_code == 200
    assert await signals(clinic) == ["refund_finished"]
