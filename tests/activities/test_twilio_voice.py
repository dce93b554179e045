"""The contract with Twilio Voice: its real client, over real HTTP, against a server on loopback."""

import logging
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from activities.gateways.sending import (
    Fault,
    MessageError,
    PermanentMessageError,
    RetryableMessageError,
)
from activities.gateways.twilio_script import CallScript
from activities.gateways.twilio_voice import (
    CallAddresses,
    TwilioVoice,
    read_bridged,
    read_status,
)
from activities.gateways.twilio_wire import SETTLING, MalformedCallback
from activities.gateways.voice import Bridge, CallLegs, ConsoleVoice
from domain.phone_call import Leg
from tests.support.twilio_server import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    Reply,
    TwilioServer,
    refusal,
    twilio_server,
)

pytestmark = pytest.mark.anyio

DOCTOR, PATIENT, HOSPITAL = "+8613800138000", "+8613900139000", "+861066668888"
CALL_NO = "T2611220123456789AB"
CALLS = "https://hospital.example.org/api/hospital/callbacks/twilio/calls"
CLAIMED = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BRIDGE = Bridge(CALL_NO, DOCTOR, PATIENT, timedelta(minutes=30))
SCRIPT = CallScript("示范医院", HOSPITAL, CallAddresses(CALLS))


@pytest.fixture
def server() -> Iterator[TwilioServer]:
    with twilio_server() as running:
        yield running


def gateway(url: str, **changes: Any) -> TwilioVoice:
    settings: dict[str, Any] = {
        "account_sid": ACCOUNT_SID,
        "auth_token": AUTH_TOKEN,
        "number": HOSPITAL,
        "callbacks": CALLS,
        "base_url": url,
    }
    return TwilioVoice(**settings | changes)


@pytest.fixture
async def voice(server: TwilioServer) -> AsyncIterator[TwilioVoice]:
    opened = gateway(server.url)
    yield opened
    await opened.aclose()


async def failure(voice: TwilioVoice) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await voice.bridge(BRIDGE)
    told = "".join(traceback.format_exception(caught.value))
    assert "13800138000" not in told
    assert PATIENT[1:] not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


# --- placing ---


async def test_the_doctor_is_rung_from_the_hospitals_number_and_the_patient_is_not_named(
    voice: TwilioVoice, server: TwilioServer
) -> None:
    assert await voice.bridge(BRIDGE) == "CA" + "0" * 32
    ((method, path, form),) = server.requests
    assert (method, path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json")
    assert form == {
        "To": DOCTOR,
        "From": HOSPITAL,
        "Url": f"{CALLS}/{CALL_NO}/doctor",
        "StatusCallback": f"{CALLS}/{CALL_NO}/doctor/status",
        "StatusCallbackEvent": "ringing answered completed",
        "Timeout": "30",
        "TimeLimit": "1890",
    }


@pytest.mark.parametrize("code", [21211, 21214, 21217, 13224])
async def test_a_number_that_cannot_be_called_is_permanent(
    voice: TwilioVoice, server: TwilioServer, code: int
) -> None:
    server.next_replies = [refusal(400, code)]
    error = await failure(voice)
    assert isinstance(error, PermanentMessageError)
    assert (str(error), error.fault) == (f"twilio:{code}", Fault.RECIPIENT)


# 21215: no permission for this country; 21210: the caller's number is not ours.
@pytest.mark.parametrize(("status", "code"), [(400, 21215), (400, 21210), (403, 20003), (400, 1)])
async def test_a_fault_of_ours_is_permanent_and_told_apart(
    voice: TwilioVoice, server: TwilioServer, status: int, code: int
) -> None:
    server.next_replies = [refusal(status, code)]
    error = await failure(voice)
    assert isinstance(error, PermanentMessageError)
    assert (error.code, error.fault) == (f"twilio:{code}", Fault.SENDER)


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (refusal(429, 20429, Retry_After="7"), timedelta(seconds=7)),
        (refusal(400, 10004), None),
    ],
)
async def test_too_many_is_retryable_and_nobody_was_rung(
    voice: TwilioVoice, server: TwilioServer, reply: Reply, wait: timedelta | None
) -> None:
    server.next_replies = [reply]
    error = await failure(voice)
    assert isinstance(error, RetryableMessageError)
    assert (error.retry_after, error.outcome_unknown) == (wait, False)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refusal(500, 20500), "twilio:20500"),
        (Reply(201, "<html>a proxy's page</html>"), "twilio:broken_answer"),
        (Reply(201, ""), "twilio:no_sid"),
    ],
)
async def test_after_a_broken_answer_the_outcome_is_unknown(
    voice: TwilioVoice, server: TwilioServer, reply: Reply, code: str
) -> None:
    server.next_replies = [reply]
    error = await failure(voice)
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == (code, True)
    assert error.retry_after is not None
    assert error.retry_after >= SETTLING


async def test_a_server_that_is_not_there_rang_nobody() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        voice = gateway(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        error = await failure(voice)
        await voice.aclose()
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("twilio:connect", False)


# --- resolving an unknown outcome ---


async def found(voice: TwilioVoice, since: datetime = CLAIMED, *known: str) -> str | None:
    return await voice.find(doctor_phone=DOCTOR, since=since, known=known)


async def test_after_a_hang_the_call_is_found_and_not_placed_again(server: TwilioServer) -> None:
    voice = gateway(server.url, timeout=0.2)
    server.hang_after_taking = True
    error = await failure(voice)
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("twilio:timeout", True)
    server.hang_after_taking = False
    assert await found(voice) == server.calls[0]["sid"]
    await voice.aclose()
    assert len(server.calls) == 1


async def test_only_a_call_of_ours_that_nobody_knows_since_the_claim_counts(
    voice: TwilioVoice, server: TwilioServer
) -> None:
    sid = await voice.bridge(BRIDGE)
    assert await found(voice, CLAIMED + timedelta(hours=1)) is None
    assert await found(voice, CLAIMED, sid) is None
    other = await voice.find(doctor_phone=PATIENT, since=CLAIMED, known=())
    assert other is None
    # Their clock may be behind ours.
    assert await found(voice, CLAIMED + timedelta(seconds=30)) == sid
    # The doctor may be a patient in another call.
    server.calls[0]["direction"] = "outbound-dial"
    assert await found(voice) is None


async def test_a_look_up_that_fails_says_so(voice: TwilioVoice, server: TwilioServer) -> None:
    server.next_replies = [refusal(429, 20429, Retry_After="3")]
    with pytest.raises(RetryableMessageError) as caught:
        await found(voice)
    assert caught.value.retry_after == timedelta(seconds=3)


async def test_how_a_call_ended_is_asked_when_nobody_told(
    voice: TwilioVoice, server: TwilioServer
) -> None:
    sid = await voice.bridge(BRIDGE)
    call = server.calls[0]
    for word in ("queued", "ringing", "in-progress"):
        call["status"] = word
        assert await voice.legs(sid) is None
    call |= {"status": "completed", "end_time": "Sun, 22 Nov 2026 12:05:00 +0000"}
    ended_at = CLAIMED + timedelta(minutes=5)
    assert await voice.legs(sid) == CallLegs(Leg.COMPLETED, None, ended_at)
    child = {"sid": "CA9", "parent_call_sid": sid, "status": "busy", "direction": "outbound-dial"}
    server.calls.insert(0, call | child)
    assert await voice.legs(sid) == CallLegs(Leg.COMPLETED, Leg.BUSY, ended_at)


async def test_a_call_that_twilio_has_forgotten_is_permanent(voice: TwilioVoice) -> None:
    with pytest.raises(PermanentMessageError, match="twilio:20404"):
        await voice.legs("CA1")


async def test_no_log_tells_a_number(
    voice: TwilioVoice, server: TwilioServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        sid = await voice.bridge(BRIDGE)
        await found(voice)
        await voice.legs(sid)
    for number in (DOCTOR, PATIENT):
        assert number[3:] not in caplog.text


# --- what the phones hear and see ---


def said(twiml: str) -> ElementTree.Element:
    return ElementTree.fromstring(twiml)  # noqa: S314 - it is ours


def test_no_side_hears_or_sees_the_others_number_or_why_it_is_called() -> None:
    to_doctor, to_patient = SCRIPT.ask_doctor(CALL_NO), SCRIPT.ask_patient(CALL_NO)
    for heard in (to_doctor, to_patient, SCRIPT.not_reached(), SCRIPT.hang_up(), SCRIPT.connect()):
        assert not {number for number in (DOCTOR, PATIENT, HOSPITAL) if number[3:] in heard}
    # Whoever picks up the patient's phone is told who calls, and not about what.
    assert "示范医院" in to_patient
    assert not {
        word
        for word in ("问诊", "医生", "患者", "doctor", "consult")
        if word in heard_by(to_patient)
    }
    dial = said(SCRIPT.ring_patient(CALL_NO, PATIENT, timedelta(minutes=30))).find("Dial")
    assert dial is not None
    assert dial.get("callerId") == HOSPITAL
    assert (dial.get("timeLimit"), dial.get("timeout")) == ("1800", "30")
    assert dial.get("answerOnBridge") == "true"
    (number,) = dial
    assert number.text == PATIENT
    assert not [
        value for value in [*dial.attrib.values(), *number.attrib.values()] if PATIENT in value
    ]


def heard_by(twiml: str) -> str:
    return "".join(say.text or "" for say in said(twiml).iter("Say"))


@pytest.mark.parametrize(
    ("twiml", "then"),
    [
        (SCRIPT.ask_doctor(CALL_NO), f"{CALLS}/{CALL_NO}/doctor/joined"),
        (SCRIPT.ask_patient(CALL_NO), f"{CALLS}/{CALL_NO}/patient/joined"),
    ],
)
def test_who_presses_no_key_is_hung_up_and_any_key_counts(twiml: str, then: str) -> None:
    gather, after = said(twiml)
    assert gather.get("action") == then
    assert (gather.get("numDigits"), gather.get("finishOnKey")) == ("1", "")
    assert {say.get("language") for say in gather} == {"zh-CN", "en-US"}
    assert after.tag == "Hangup"


def test_the_hospitals_name_cannot_break_out_of_the_words() -> None:
    script = CallScript("<Dial>+1</Dial>&", HOSPITAL, CallAddresses(CALLS))
    assert said(script.ask_patient(CALL_NO)).find(".//Dial") is None


# --- what is called back ---


@pytest.mark.parametrize(
    ("word", "leg"),
    [
        ("queued", None),
        ("initiated", None),
        ("ringing", None),
        ("in-progress", None),
        ("a word of next year", None),
        ("completed", Leg.COMPLETED),
        ("busy", Leg.BUSY),
        ("no-answer", Leg.NO_ANSWER),
        ("canceled", Leg.CANCELED),
        ("failed", Leg.FAILED),
    ],
)
def test_a_status_is_read(word: str, leg: Leg | None) -> None:
    form = {
        "CallSid": "CA1",
        "CallStatus": word,
        "SequenceNumber": "2",
        "Timestamp": "Sun, 22 Nov 2026 12:00:00 +0000",
        "CallDuration": "17",
    }
    news = read_status(form)
    assert (news.provider_id, news.leg, news.at, news.seconds) == ("CA1", leg, CLAIMED, 17)
    assert news.event_id == f"CA1:{word}:2"
    child = read_status(form | {"ParentCallSid": "CA0"}, of_patient=True)
    assert (child.provider_id, child.event_id) == ("CA0", f"CA1:{word}:2")


@pytest.mark.parametrize(
    ("fields", "leg", "seconds", "bridged"),
    [
        ({"DialCallStatus": "completed", "DialCallDuration": "95"}, Leg.COMPLETED, 95, True),
        ({"DialCallStatus": "completed", "DialBridged": "false"}, Leg.COMPLETED, None, False),
        ({"DialCallStatus": "answered", "DialBridged": "true"}, Leg.COMPLETED, None, True),
        ({"DialCallStatus": "no-answer", "DialCallDuration": "soon"}, Leg.NO_ANSWER, None, True),
        ({"DialCallStatus": "a word of next year"}, Leg.FAILED, None, True),
    ],
)
def test_what_became_of_the_patients_phone_is_read(
    fields: dict[str, str], leg: Leg, seconds: int | None, bridged: bool
) -> None:
    news = read_bridged({"CallSid": "CA1"} | fields)
    assert (news.leg, news.seconds, news.bridged) == (leg, seconds, bridged)
    assert (news.provider_id, news.event_id) == ("CA1", "CA1:bridged")


@pytest.mark.parametrize("stamp", ["", "yesterday", "2026-11-22T12:00:00Z", "9" * 40])
def test_a_time_that_cannot_be_read_is_none(stamp: str) -> None:
    form = {"CallSid": "CA1", "CallStatus": "completed", "Timestamp": stamp}
    assert read_status(form).at is None


@pytest.mark.parametrize("missing", ["CallSid", "CallStatus", "DialCallStatus"])
def test_what_is_signed_but_no_news_is_told_apart(missing: str) -> None:
    form = {"CallSid": "CA1", "CallStatus": "completed", "DialCallStatus": "busy"}
    del form[missing]
    with pytest.raises(MalformedCallback):
        read_bridged(form) if missing == "DialCallStatus" else read_status(form)


# --- the console ---


async def test_the_console_rings_nobody_and_tells_no_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    console = ConsoleVoice()
    with caplog.at_level(logging.INFO):
        assert await console.bridge(BRIDGE) == f"console:{CALL_NO}"
    assert await console.find(doctor_phone=DOCTOR, since=CLAIMED, known=()) is None
    assert await console.legs(f"console:{CALL_NO}") is None
    (record,) = caplog.records
    assert CALL_NO in record.getMessage()
    assert "138" not in record.getMessage()
