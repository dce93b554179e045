"""Twilio's status of an SMS, as our route takes it down."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from twilio.request_validator import RequestValidator

from activities.message import Outgoing
from api.context import Context
from api.limits import FORGERIES_AUDITED
from db.keyring import Keyring
from domain.message import Template
from runtime.settings import TwilioSettings
from tests.support.api import client_of, close_context, make_context, refused
from tests.support.booking import Clinic
from tests.support.messages import Provider, by, messages_of
from tests.support.phones import PUBLIC
from tests.support.twilio_server import ACCOUNT_SID, AUTH_TOKEN

pytestmark = pytest.mark.anyio

TWILIO = TwilioSettings(ACCOUNT_SID, AUTH_TOKEN, None, "+15005550006", None, None)
URL = f"{PUBLIC}/api/hospital/callbacks/twilio"


@pytest.fixture
async def context(database_url: str, keyring: Keyring) -> AsyncIterator[Context]:
    made = await make_context(database_url, keyring)
    yield replace(made, settings=replace(made.settings, twilio=TWILIO, public_url=PUBLIC))
    await close_context(made)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


async def told(
    client: httpx.AsyncClient, *, query: str = "", token: str = AUTH_TOKEN, **form: str
) -> httpx.Response:
    signature = str(RequestValidator(token).compute_signature(f"{URL}{query}", form))
    return await client.post(
        f"/callbacks/twilio{query}", data=form, headers={"X-Twilio-Signature": signature}
    )


async def test_a_receipt_is_kept_once_and_passed_on_once(
    clinic: Clinic, client: httpx.AsyncClient
) -> None:
    order_no = await clinic.booked(await clinic.someone(), await clinic.slot())
    confirmed = Outgoing(f"{order_no}:confirmed", order_no, Template.APPOINTMENT_CONFIRMED)
    await messages_of(clinic, Provider(receipts=True), Provider()).send_message(by(confirmed))
    await clinic.run("delete from outbox")
    query = f"?key={order_no}%3Aconfirmed%3Asms"
    for status in ("sent", "delivered", "delivered", "failed"):
        answer = await told(client, query=query, MessageSid="SM1", MessageStatus=status)
        assert answer.status_code == 204, answer.text
    assert await clinic.value("select status from message") == "delivered"
    assert await clinic.ids("select args->>'delivered' from outbox order by id") == [
        "true",
        "false",
    ]


async def test_a_forged_receipt_is_refused_and_audited(
    clinic: Clinic, client: httpx.AsyncClient
) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    assert refused(await told(client, token="another", **form)) == (401, "bad_signature")
    assert await clinic.value("select event || ' ' || subject from audit") == (
        "bad_signature callbacks/twilio"
    )
    assert await clinic.value("select count(*) from inbox") == 0


async def test_who_forges_without_end_does_not_fill_the_audit(
    clinic: Clinic, client: httpx.AsyncClient
) -> None:
    for _ in range(FORGERIES_AUDITED + 3):
        assert (await told(client, token="another", MessageSid="SM1")).status_code == 401
    assert await clinic.value("select count(*) from audit") == FORGERIES_AUDITED


async def test_what_is_signed_but_no_receipt_is_malformed(
    clinic: Clinic, client: httpx.AsyncClient
) -> None:
    assert refused(await told(client, MessageSid="SM1")) == (400, "malformed")


async def test_where_there_is_no_twilio_there_is_nothing(context: Context) -> None:
    without = replace(context, settings=replace(context.settings, twilio=None))
    async with client_of(without) as client:
        answer = await told(client, MessageSid="SM1", MessageStatus="delivered")
    assert refused(answer) == (404, "not_found")
