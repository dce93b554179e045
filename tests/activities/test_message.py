"""Messages to patients: once per fact and channel, whatever dies in between."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.gateways.sending import (
    Fault,
    PermanentMessageError,
    RetryableMessageError,
)
from activities.message import MessageActivities, Outgoing, place_code
from db.account import hold_patient, set_preferences
from db.keyring import Keyring
from db.message import message_delivered
from db.waitlist import WantedPlace, join_waitlist
from domain.message import OF_REFUND, TO_STAFF, Channel, Template, channels_of
from domain.payment import RefundCause
from tests.support.booking import RULES, Clinic, Till, a_person
from tests.support.messages import Provider, by, messages_of

pytestmark = pytest.mark.anyio

HERS = "+8613900000000"


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
async def order_no(clinic: Clinic) -> str:
    order_no = await clinic.booked(await clinic.someone(), await clinic.slot())
    await clinic.run("update schedule set location = '门诊楼二层 心血管内科 A2-07'")
    return order_no


@pytest.fixture
def sms() -> Provider:
    return Provider()


@pytest.fixture
def email() -> Provider:
    return Provider()


@pytest.fixture
def counted() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def messages(
    clinic: Clinic, sms: Provider, email: Provider, counted: list[tuple[str, str]]
) -> MessageActivities:
    def count(channel: str, outcome: str) -> None:
        counted.append((channel, outcome))

    return messages_of(clinic, sms, email, count)


@pytest.fixture
def confirmed(order_no: str) -> Outgoing:
    return Outgoing(f"{order_no}:confirmed", order_no, Template.APPOINTMENT_CONFIRMED)


async def error_of(sending: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await sending
    return raised.value


# Once


async def test_a_message_goes_out_once_per_fact_and_channel(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing
) -> None:
    for _ in range(3):
        assert not await messages.send_message(by(confirmed))
    ((to, text, key),) = sms.sent
    assert (to, key) == (HERS, f"{confirmed.fact}:sms")
    assert "A2-07" in text
    row = "select concat_ws(' ', status, provider_id, attempts) from message"
    assert await clinic.value(row) == "sent SM1 3"
    assert await clinic.value("select sent_at is not null from message")


async def test_whether_a_receipt_is_due_is_told_to_a_repeat_as_well(
    messages: MessageActivities, sms: Provider, confirmed: Outgoing
) -> None:
    sms.receipts = True
    assert [await messages.send_message(by(confirmed)) for _ in range(2)] == [True, True]
    assert len(sms.sent) == 1


async def test_a_message_whose_outcome_is_unknown_is_looked_for_before_it_is_sent_again(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing
) -> None:
    sms.loses_answers = True
    error = await error_of(messages.send_message(by(confirmed)))
    assert (error.type, error.non_retryable) == ("TryLater", False)
    assert error.next_retry_delay == timedelta(seconds=30)
    assert await clinic.value("select status from message") == "claimed"
    await half_a_minute(clinic)
    await messages.send_message(by(confirmed))
    assert len(sms.sent) == 1
    ((to, since),) = sms.asked
    assert (to, since) == (HERS, await clinic.value("select created_at from message"))
    assert await clinic.value("select status || ' ' || provider_id from message") == "sent SM1"


async def half_a_minute(clinic: Clinic) -> None:
    """Passes for what was tried."""
    await clinic.run("update message set tried_at = tried_at - interval '31 seconds'")


async def test_a_claim_of_a_process_that_died_is_looked_for_as_well(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing
) -> None:
    class Killed(BaseException):
        pass

    sms.fails = [Killed()]  # type: ignore[list-item]
    with pytest.raises(Killed):
        await messages.send_message(by(confirmed))
    await half_a_minute(clinic)
    await messages.send_message(by(confirmed))
    assert (len(sms.asked), len(sms.sent)) == (1, 1)


async def test_what_was_taken_a_moment_ago_and_not_written_down_is_not_sent_again(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing
) -> None:
    """The provider's list does not show it yet: asked now, it would say that there is none."""
    await messages.send_message(by(confirmed))
    await clinic.run("update message set status = 'claimed', provider_id = null")
    for _ in range(2):  # who comes again too early does not begin the waiting anew
        error = await error_of(messages.send_message(by(confirmed)))
        assert (error.type, error.non_retryable) == ("TryLater", False)
        assert error.next_retry_delay is not None
        assert timedelta(seconds=20) < error.next_retry_delay <= timedelta(seconds=30)
    assert (len(sms.sent), sms.asked) == (1, [])
    await half_a_minute(clinic)
    assert not await messages.send_message(by(confirmed))
    assert (len(sms.sent), len(sms.asked)) == (1, 1)


async def test_a_repeat_says_what_was_first_said_to_whom_it_was_said(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing, order_no: str
) -> None:
    sms.loses_answers = True
    await error_of(messages.send_message(by(confirmed)))
    await clinic.run("update schedule set location = 'B9-01'")
    async with clinic.engine.begin() as connection:
        person = a_person()
        moved = type(person)(person.name, person.gender, person.id_card, "+8613700000001")
        account = (await clinic.order(order_no)).account_id
        await hold_patient(connection, clinic.keyring, 1, account, moved)
    await half_a_minute(clinic)
    await messages.send_message(by(confirmed))
    assert [(to, "A2-07" in text) for to, text, _ in sms.sent] == [(HERS, True)]


async def test_no_for_good_closes_the_channel(
    messages: MessageActivities,
    clinic: Clinic,
    sms: Provider,
    confirmed: Outgoing,
    counted: list[tuple[str, str]],
) -> None:
    sms.fails = [PermanentMessageError("twilio:21211", Fault.RECIPIENT)]
    error = await error_of(messages.send_message(by(confirmed)))
    assert (error.type, error.non_retryable) == ("ChannelClosed", True)
    assert error.message == "twilio:21211"
    row = "select status || ' ' || error_code from message"
    assert await clinic.value(row) == "failed twilio:21211"
    again = await error_of(messages.send_message(by(confirmed)))
    assert (again.type, again.non_retryable, sms.sent) == ("ChannelClosed", True, [])
    assert counted == [("sms", "refused")]


async def test_no_for_now_is_tried_later_as_the_provider_says(
    messages: MessageActivities, sms: Provider, confirmed: Outgoing
) -> None:
    busy = RetryableMessageError("twilio:20429", retry_after=timedelta(seconds=7))
    sms.fails = [busy, RetryableMessageError("connection")]
    first = await error_of(messages.send_message(by(confirmed)))
    second = await error_of(messages.send_message(by(confirmed)))
    assert (first.next_retry_delay, second.next_retry_delay) == (timedelta(seconds=7), None)
    await messages.send_message(by(confirmed))
    assert len(sms.sent) == 1


async def test_the_first_final_receipt_stands(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing
) -> None:
    await messages.send_message(by(confirmed))

    async def receipt(provider_id: str, key: str | None, *, delivered: bool) -> str | None:
        async with clinic.engine.begin() as connection:
            return await message_delivered(
                connection, provider_id, key=key, delivered=delivered, error_code=None
            )

    key = f"{confirmed.fact}:sms"
    assert await receipt("SM1", None, delivered=True) == key
    assert await receipt("SM1", key, delivered=False) == key
    assert await clinic.value("select status from message") == "delivered"
    assert await receipt("SM9", None, delivered=True) is None
    assert await receipt("SM1", "A0:confirmed:sms", delivered=True) is None


# What is said


EVERY = [
    template
    for template in Template
    if template is not Template.SMS_CODE and Channel.SMS in channels_of(template)
]


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_no_message_by_sms_or_email_tells_of_health(
    messages: MessageActivities,
    clinic: Clinic,
    sms: Provider,
    email: Provider,
    order_no: str,
    language: str,
) -> None:
    account = (await clinic.order(order_no)).account_id
    async with clinic.engine.begin() as connection:
        await set_preferences(
            connection, clinic.keyring, account,
            channels=["sms", "email"], language=language, email="lin@example.org",
        )  # fmt: skip
    till = Till(clinic)
    await till.open(order_no)
    await till.take()
    await till.owe(RefundCause.CLINIC)
    slot = await clinic.slot(await clinic.another_doctor(), sources=1)
    await clinic.booked(await clinic.someone(1), slot)
    async with clinic.engine.begin() as connection:
        wanted = WantedPlace(1, account, slot, (await clinic.order(order_no)).patient_id)
        place = (await join_waitlist(connection, wanted, RULES))[1]
    await clinic.suspend(order_no)
    about = {
        **dict.fromkeys(OF_REFUND, "R-clinic"),
        **dict.fromkeys(TO_STAFF, "W1"),
        Template.WAITLIST_ENDED: f"waitlist-{place}",
    }
    for template in EVERY:
        subject = about.get(template, order_no)
        message = Outgoing.of_fact(f"{subject}:{template}:0-{account}")
        for channel in Channel:
            await messages.send_message(by(message, channel))
    assert len(sms.sent) == len(email.sent) == len(EVERY)
    for _, text, _ in sms.sent + email.sent:
        for word in ("内科", "心血管", "示例医生", "医生", "林小满"):
            assert word not in text, text
        assert "示例医院" in text
    assert {to for to, _, _ in email.sent} == {"lin@example.org"}
    assert any("¥50.00" in text for _, text, _ in sms.sent)


async def test_the_database_holds_neither_number_nor_text_in_the_clear(
    messages: MessageActivities, clinic: Clinic, confirmed: Outgoing
) -> None:
    for channel in (Channel.SMS, Channel.IN_APP):
        await messages.send_message(by(confirmed, channel))
    whole = "".join(await clinic.ids("select m::text || encode(sealed, 'escape') from message m"))
    for word in ("13900000000", "林小满", "A2-07", "心血管"):
        assert word not in whole


async def test_the_ways_to_try_are_those_the_patient_chose_and_has_an_address_for(
    messages: MessageActivities, clinic: Clinic, confirmed: Outgoing, order_no: str
) -> None:
    assert (await messages.plan_message(confirmed)).channels == (Channel.SMS,)
    account = (await clinic.order(order_no)).account_id

    async def chosen(*channels: str, email: str | None = "lin@example.org") -> tuple[str, ...]:
        async with clinic.engine.begin() as connection:
            await set_preferences(
                connection, clinic.keyring, account,
                channels=channels, language="zh", email=email,
            )  # fmt: skip
        return (await messages.plan_message(confirmed)).channels

    assert await chosen("email", "sms") == ("email", "sms")
    assert await chosen("in_app", "email") == ("email",)
    assert await chosen("sms", "email", email=None) == ("sms",)
    assert await chosen() == ()


async def test_a_call_to_the_doctor_is_told_in_app_alone(
    messages: MessageActivities, clinic: Clinic, order_no: str
) -> None:
    called = Template.APPOINTMENT_CALLED
    call = Outgoing(f"{order_no}:{called}:1", order_no, called)
    assert (await messages.plan_message(call)).channels == ()
    await messages.send_message(by(call, Channel.IN_APP))
    assert await clinic.value("select channel || ' ' || status from message") == "in_app sent"


async def test_a_message_about_nothing_is_closed_and_not_tried_again(
    messages: MessageActivities,
) -> None:
    for template in (Template.APPOINTMENT_EXTENDED, Template.PAYMENT_REFUNDED):
        nothing = Outgoing("f", "A0", template)
        error = await error_of(messages.send_message(by(nothing, Channel.IN_APP)))
        assert (error.message, error.non_retryable) == ("no_order", True)


async def test_somebody_who_was_deleted_is_told_nothing(
    messages: MessageActivities, clinic: Clinic, sms: Provider, confirmed: Outgoing
) -> None:
    """And the message ends, instead of being tried for ever."""
    await clinic.run("update data_key set wrapped = null")
    assert (await messages.plan_message(confirmed)).channels == ()
    for channel in (Channel.IN_APP, Channel.SMS):
        error = await error_of(messages.send_message(by(confirmed, channel)))
        assert (error.type, error.message, error.non_retryable) == (
            "ChannelClosed",
            "no_address",
            True,
        )
    assert sms.sent == []


async def test_no_address_closes_the_channel(
    messages: MessageActivities, confirmed: Outgoing
) -> None:
    error = await error_of(messages.send_message(by(confirmed, Channel.EMAIL)))
    assert (error.message, error.type) == ("no_address", "ChannelClosed")


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("门诊楼二层 A2-07", "A2-07"),
        ("心血管内科2诊室", "2"),
        ("门诊楼 101", "101"),
        ("心血管内科", "服务台"),
        ("", "服务台"),
        ("B1 层 B1-003 室", "B1-003"),
    ],
)
def test_a_place_is_told_by_its_code_alone(location: str, code: str) -> None:
    assert place_code(location) == code
