"""The payer's page."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.gateways.payment import PaymentState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pay_url(payments):
    prepay = await payments.prepay(
        "P1",
        amount=Decimal("12.50"),
        description="appointment",
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )
    return prepay.pay_url


def token(html):
    return re.search(r'name="token" value="([^"]+)"', html).group(1)


async def test_a_payer_reads_presses_and_has_paid(running_gateway, payments, inbox, pay_url):
    http = running_gateway.http
    page = await http.get(pay_url)
    assert "¥ 12.50" in page.text
    assert "支付 / Pay" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"(src|href)=", page.text)

    done = await http.post(pay_url, data={"token": token(page.text)}, follow_redirects=True)
    assert "已支付 / Paid" in done.text
    assert "<form" not in done.text
    assert (await payments.query("P1")).state is PaymentState.PAID
    assert [e.payment_no for e in await inbox.events(payments, 1)] == ["P1"]


async def test_a_form_works_once(running_gateway, payments, pay_url):
    form = {"token": token((await running_gateway.http.get(pay_url)).text)}
    first = await running_gateway.http.post(pay_url, data=form)
    second = await running_gateway.http.post(pay_url, data=form)
    assert (first.status_code, second.status_code) == (303, 403)


@pytest.mark.parametrize("form", [{}, {"token": "guessed"}])
async def test_a_form_that_the_page_did_not_give_is_refused(
    running_gateway, payments, pay_url, form
):
    assert (await running_gateway.http.post(pay_url, data=form)).status_code == 403
    assert (await payments.query("P1")).state is PaymentState.PENDING


async def test_a_page_left_open_cannot_pay_what_was_closed(running_gateway, payments, pay_url):
    form = {"token": token((await running_gateway.http.get(pay_url)).text)}
    await payments.close("P1")
    answer = await running_gateway.http.post(pay_url, data=form, follow_redirects=True)
    assert "已关闭 / Closed" in answer.text
    assert (await payments.query("P1")).state is PaymentState.CLOSED


async def test_a_refused_attempt_is_shown(running_gateway, pay_url):
    await running_gateway.controls.pay("P1", fail=True)
    assert "上次支付被银行拒绝" in (await running_gateway.http.get(pay_url)).text


async def test_an_unknown_payment_has_a_page_that_says_so(running_gateway):
    url = f"{running_gateway.url}/pay/%3Cscript%3E"
    page = await running_gateway.http.get(url)
    assert page.status_code == 404
    assert "查无此单" in page.text
    assert "<script>" not in page.text
