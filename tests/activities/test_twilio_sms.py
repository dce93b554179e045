"""The contract with Twilio: its real client, over real HTTP, against a server on loopback."""

import asyncio
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from activities.gateways.sending import (
    Fault,
    MessageError,
    PermanentMessageError,
    RetryableMessageError,
    Sent,
)
from activities.gateways.sms import ConsoleSms, ReceiptState, masked_number
from activities.gateways.twilio_sms import TwilioCallbackVerifier, TwilioSms
from activities.gateways.twilio_wire import SETTLING, BadSignature, MalformedCallback
from tests.support.twilio_server import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    Reply,
    TwilioServer,
    refusal,
    twilio_server,
)

pytestmark = pytest.mark.anyio

NUMBER = "+8613800138000"
TEXT = "【示范医院】预约成功：11月23日 09:00，就诊序号 12。"
KEY = "AP20261123000123:reminder:2026-11-22T09:00:00+08:00"
CALLBACK = "https://hospital.example.org/api/hospital/callbacks/twilio"
CLAIMED = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[TwilioServer]:
    with twilio_server() as running:
        yield running


def gateway(url: str, **changes: Any) -> TwilioSms:
    settings: dict[str, Any] = {
        "account_sid": ACCOUNT_SID,
        "auth_token": AUTH_TOKEN,
        "from_number": "+15005550006",
        "status_callback": CALLBACK,
        "base_url": url,
    }
    return TwilioSms(**settings | changes)


@pytest.fixture
async def sms(server: TwilioServer) -> AsyncIterator[TwilioSms]:
    opened = gateway(server.url)
    yield opened
    await opened.aclose()


async def failure(sms: TwilioSms) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await sms.send(to=NUMBER, text=TEXT, key=KEY)
    told = "".join(traceback.format_exception(caught.value))
    assert NUMBER[1:] not in told
    assert TEXT not in told
    # Neither is what Twilio or the transport said carried along.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


# --- sending ---


async def test_an_accepted_message_waits_for_its_receipt(
    sms: TwilioSms, server: TwilioServer
) -> None:
    sent = await sms.send(to=NUMBER, text=TEXT, key=KEY)
    assert sent == Sent(provider_id="SM" + "0" * 32, receipt_expected=True)
    ((method, _, form),) = server.requests
    assert method == "POST"
    assert form == {
        "To": NUMBER,
        "From": "+15005550006",
        "Body": TEXT,
        "SmartEncoded": "false",
        "StatusCallback": CALLBACK
        + "?key=AP20261123000123%3Areminder%3A2026-11-22T09%3A00%3A00%2B08%3A00",
    }


async def test_a_messaging_service_sends_instead_of_a_number(server: TwilioServer) -> None:
    sms = gateway(server.url, messaging_service_sid="MG1", status_callback=None)
    sent = await sms.send(to=NUMBER, text=TEXT, key=KEY)
    await sms.aclose()
    assert not sent.receipt_expected
    form = server.requests[0][2]
    assert form["MessagingServiceSid"] == "MG1"
    assert not form.keys() & {"From", "StatusCallback"}


async def test_many_at_once_each_get_their_own_answer(sms: TwilioSms, server: TwilioServer) -> None:
    sent = await asyncio.gather(
        *(sms.send(to=f"+86138001380{n:02}", text=TEXT, key=str(n)) for n in range(20))
    )
    taken = {message["sid"]: message["to"] for message in server.messages}
    assert [taken[one.provider_id] for one in sent] == [f"+86138001380{n:02}" for n in range(20)]


async def test_what_stands_in_the_environment_changes_nothing(
    server: TwilioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    monkeypatch.setenv("TWILIO_REGION", "au1")
    sms = gateway(server.url)
    await sms.send(to=NUMBER, text=TEXT, key=KEY)
    await sms.aclose()
    assert len(server.messages) == 1


def test_a_sender_is_needed() -> None:
    with pytest.raises(ValueError, match="a number to send from"):
        gateway("http://127.0.0.1:1", from_number=None)


@pytest.mark.parametrize("code", [21211, 21214, 21217, 21610, 21612, 21614, 21635])
async def test_a_number_that_cannot_get_sms_is_permanent(
    sms: TwilioSms, server: TwilioServer, code: int
) -> None:
    server.next_replies = [refusal(400, code)]
    error = await failure(sms)
    assert isinstance(error, PermanentMessageError)
    assert (str(error), error.fault) == (f"twilio:{code}", Fault.RECIPIENT)


@pytest.mark.parametrize(("status", "code"), [(400, 21408), (400, 21606), (403, 20003), (400, 1)])
async def test_a_fault_of_ours_is_permanent_and_told_apart(
    sms: TwilioSms, server: TwilioServer, status: int, code: int
) -> None:
    server.next_replies = [refusal(status, code)]
    error = await failure(sms)
    assert isinstance(error, PermanentMessageError)
    assert (error.code, error.fault) == (f"twilio:{code}", Fault.SENDER)


async def test_a_wrong_token_is_refused_by_the_server(server: TwilioServer) -> None:
    sms = gateway(server.url, auth_token="another")
    error = await failure(sms)
    await sms.aclose()
    assert isinstance(error, PermanentMessageError)
    assert (error.code, error.fault) == ("twilio:20003", Fault.SENDER)
    assert not server.messages


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (refusal(429, 20429, Retry_After="7"), timedelta(seconds=7)),
        (refusal(429, 20429, Retry_After="Sun, 22 Nov 2026 12:00:00 GMT"), None),
        (refusal(429, 20429), None),
        (refusal(400, 21611), None),
    ],
)
async def test_too_many_is_retryable_and_nothing_was_sent(
    sms: TwilioSms, server: TwilioServer, reply: Reply, wait: timedelta | None
) -> None:
    server.next_replies = [reply]
    error = await failure(sms)
    assert isinstance(error, RetryableMessageError)
    assert error.retry_after == wait
    assert not error.outcome_unknown


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refusal(500, 20500), "twilio:20500"),
        (Reply(503, "<html>busy</html>", {"Retry-After": "90"}), "twilio:503"),
        (Reply(201, "<html>a proxy's page</html>"), "twilio:broken_answer"),
        (Reply(201, ""), "twilio:no_sid"),
    ],
)
async def test_after_a_broken_answer_the_outcome_is_unknown(
    sms: TwilioSms, server: TwilioServer, reply: Reply, code: str
) -> None:
    server.next_replies = [reply]
    error = await failure(sms)
    assert isinstance(error, RetryableMessageError)
    assert error.code == code
    assert error.outcome_unknown
    assert error.retry_after is not None
    assert error.retry_after >= SETTLING


async def test_a_server_that_is_not_there_got_nothing() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        sms = gateway(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        error = await failure(sms)
        await sms.aclose()
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("twilio:connect", False)


# --- resolving an unknown outcome ---


async def test_after_a_hang_the_message_is_found_and_not_sent_again(server: TwilioServer) -> None:
    sms = gateway(server.url, timeout=0.2)
    server.hang_after_taking = True
    error = await failure(sms)
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("twilio:timeout", True)

    server.hang_after_taking = False
    found = await sms.find(to=NUMBER, text=TEXT, since=CLAIMED)
    await sms.aclose()
    assert found == Sent(provider_id=server.messages[0]["sid"], receipt_expected=True)
    assert len(server.messages) == 1


async def test_only_this_text_to_this_number_since_the_claim_counts(
    sms: TwilioSms, server: TwilioServer
) -> None:
    await sms.send(to=NUMBER, text=TEXT, key=KEY)
    late = CLAIMED + timedelta(hours=22)
    assert await sms.find(to=NUMBER, text=TEXT, since=late) is None
    assert await sms.find(to=NUMBER, text="another", since=CLAIMED) is None
    assert await sms.find(to="+8613800138001", text=TEXT, since=CLAIMED) is None
    # Their clock may be behind ours, and a trial account writes a sentence before the text.
    server.messages[0]["body"] = "Sent from your Twilio trial account - " + TEXT
    assert await sms.find(to=NUMBER, text=TEXT, since=CLAIMED + timedelta(seconds=30))


async def test_a_look_up_that_fails_says_so(sms: TwilioSms, server: TwilioServer) -> None:
    server.next_replies = [refusal(429, 20429, Retry_After="3")]
    with pytest.raises(RetryableMessageError) as caught:
        await sms.find(to=NUMBER, text=TEXT, since=CLAIMED)
    assert caught.value.retry_after == timedelta(seconds=3)


async def test_no_log_tells_the_number_or_the_text(
    sms: TwilioSms, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await sms.send(to=NUMBER, text=TEXT, key=KEY)
        await sms.find(to=NUMBER, text=TEXT, since=CLAIMED)
    assert "13800138000" not in caplog.text
    assert "预约" not in caplog.text


# --- status callbacks ---

URL = CALLBACK + "?key=AP1%3Areminder"


def form(**changes: str) -> dict[str, str]:
    fields = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": NUMBER, "ApiVersion": "x"}
    return fields | changes


def signed(fields: dict[str, str], url: str = URL, token: str = AUTH_TOKEN) -> str:
    return str(RequestValidator(token).compute_signature(url, fields))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("accepted", ReceiptState.ON_ITS_WAY),
        ("queued", ReceiptState.ON_ITS_WAY),
        ("sending", ReceiptState.ON_ITS_WAY),
        ("a word of next year", ReceiptState.ON_ITS_WAY),
        ("sent", ReceiptState.SENT),
        ("delivered", ReceiptState.DELIVERED),
        ("undelivered", ReceiptState.UNDELIVERED),
        ("failed", ReceiptState.FAILED),
    ],
)
def test_a_signed_callback_is_read(status: str, state: ReceiptState) -> None:
    fields = form(MessageStatus=status)
    receipt = TwilioCallbackVerifier(AUTH_TOKEN).parse(URL, fields, signed(fields))
    assert (receipt.provider_id, receipt.state) == ("SM1", state)
    assert receipt.key == "AP1:reminder"
    assert receipt.error_code is None


@pytest.mark.parametrize(("code", "at_fault"), [("30005", True), ("30003", False), ("", False)])
def test_a_receipt_tells_whether_the_number_is_useless(code: str, at_fault: bool) -> None:
    fields = form(MessageStatus="undelivered", ErrorCode=code)
    receipt = TwilioCallbackVerifier(AUTH_TOKEN).parse(URL, fields, signed(fields))
    assert receipt.error_code == (f"twilio:{code}" if code else None)
    assert receipt.recipient_at_fault is at_fault


@pytest.mark.parametrize(
    ("url", "fields", "signature"),
    [
        (URL, form(), None),
        (URL, form(), ""),
        (URL, form(), "Zm9yZ2Vk"),
        (URL, form(), "签名"),
        (URL, form(), signed(form(), token="another")),
        (URL, form(MessageStatus="failed"), signed(form())),
        (URL, form(Extra="1"), signed(form())),
        (CALLBACK + "?key=AP2%3Areminder", form(), signed(form())),
    ],
)
def test_a_forged_or_altered_callback_is_refused(
    url: str, fields: dict[str, str], signature: str | None
) -> None:
    with pytest.raises(BadSignature):
        TwilioCallbackVerifier(AUTH_TOKEN).parse(url, fields, signature)


def test_during_a_change_of_tokens_both_are_good() -> None:
    verifier = TwilioCallbackVerifier("new", AUTH_TOKEN)
    for token in ("new", AUTH_TOKEN):
        assert verifier.parse(URL, form(), signed(form(), token=token)).provider_id == "SM1"


@pytest.mark.parametrize("missing", ["MessageSid", "MessageStatus"])
def test_what_is_signed_but_no_status_is_told_apart(missing: str) -> None:
    fields = form()
    del fields[missing]
    with pytest.raises(MalformedCallback):
        TwilioCallbackVerifier(AUTH_TOKEN).parse(URL, fields, signed(fields))


def test_only_three_states_are_final() -> None:
    final = {state for state in ReceiptState if state.final}
    assert final == {ReceiptState.DELIVERED, ReceiptState.UNDELIVERED, ReceiptState.FAILED}


# --- the console ---


async def test_the_console_tells_one_line_without_number_or_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    console = ConsoleSms()
    with caplog.at_level(logging.INFO):
        sent = await console.send(to=NUMBER, text=TEXT, key=KEY)
    assert sent == Sent(provider_id=f"console:{KEY}", receipt_expected=False)
    assert await console.find(to=NUMBER, text=TEXT, since=CLAIMED) is None
    (record,) = caplog.records
    assert KEY in record.getMessage()
    assert "138" not in record.getMessage()
    assert "预约" not in record.getMessage()


@pytest.mark.parametrize(
    ("number", "masked"), [(NUMBER, "+•••••••••••00"), ("+12", "•"), ("", "•")]
)
def test_a_masked_number_keeps_two_digits(number: str, masked: str) -> None:
    assert masked_number(number) == masked
