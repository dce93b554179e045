"""The in-app feed, and the development outbox."""

import httpx
import pytest

from activities.message import MessageActivities, Outgoing
from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from domain.message import Channel, Template
from tests.support.api import as_caller, refused
from tests.support.booking import Clinic
from tests.support.messages import Provider, by, messages_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
def messages(clinic: Clinic) -> MessageActivities:
    return messages_of(clinic, Provider(), Provider())


@pytest.fixture
async def order_no(clinic: Clinic) -> str:
    return await clinic.booked(await clinic.someone(), await clinic.slot())


def confirmed(order_no: str) -> Outgoing:
    return Outgoing(f"{order_no}:confirmed", order_no, Template.APPOINTMENT_CONFIRMED)


async def test_an_in_app_message_is_read_in_the_feed(
    messages: MessageActivities,
    clinic: Clinic,
    client: httpx.AsyncClient,
    context: Context,
    order_no: str,
) -> None:
    booked = Outgoing(f"{order_no}:booked", order_no, Template.APPOINTMENT_CANCELLED)
    for message in (booked, booked, confirmed(order_no)):
        assert not await messages.send_message(by(message, Channel.IN_APP))
    await messages.send_message(by(confirmed(order_no)))
    headers = as_caller(context, (await clinic.order(order_no)).account_id, Role.PATIENT)
    page = (await client.get("/notifications", headers=headers)).json()
    assert page["total"] == 2
    newest, first = page["items"]
    assert (newest["template"], first["template"]) == (
        "appointment_confirmed",
        "appointment_cancelled",
    )
    assert newest["orderNo"] == order_no
    assert "心血管内科" in newest["text"]
    assert newest["readAt"] is None
    path = f"/notifications/{newest['id']}/read"
    read = [(await client.post(path, headers=headers)).json() for _ in range(2)]
    assert read[0]["readAt"] is not None
    assert read[0] == read[1]
    one = (await client.get("/notifications?size=1&page=2", headers=headers)).json()
    assert [item["id"] for item in one["items"]] == [first["id"]]


async def test_a_strangers_feed_is_empty(
    messages: MessageActivities,
    clinic: Clinic,
    client: httpx.AsyncClient,
    context: Context,
    order_no: str,
) -> None:
    await messages.send_message(by(confirmed(order_no), Channel.IN_APP))
    stranger = as_caller(context, await clinic.account(), Role.PATIENT)
    page = (await client.get("/notifications", headers=stranger)).json()
    assert (page["items"], page["total"]) == ([], 0)
    number = await clinic.value("select id from message")
    answer = await client.post(f"/notifications/{number}/read", headers=stranger)
    assert refused(answer) == (404, "not_found")
    assert refused(await client.get("/notifications")) == (401, "not_authenticated")


async def test_the_development_outbox_shows_what_went_out_to_whom(
    messages: MessageActivities, client: httpx.AsyncClient, order_no: str
) -> None:
    for channel in (Channel.IN_APP, Channel.SMS):
        await messages.send_message(by(confirmed(order_no), channel))
    newest, first = (await client.get("/dev/outbox")).json()
    assert (newest["channel"], first["channel"]) == ("sms", "in_app")
    for to in ("13900000000", "+86 139 0000 0000"):
        found = (await client.get("/dev/outbox", params={"to": to})).json()
        assert [message["channel"] for message in found] == ["sms"]
    assert (await client.get("/dev/outbox?to=13911111111")).json() == []
    assert refused(await client.get("/dev/outbox?to=nobody")) == (422, "invalid")
