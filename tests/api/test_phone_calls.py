"""What Twilio asks and tells while it joins two phones, as our routes answer it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import pytest

from api.context import Context
from db.keyring import Keyring
from db.phone_call import PhoneCall, calls_of
from runtime.settings import TwilioSettings
from tests.support.api import client_of, close_context, make_context, refused
from tests.support.booking import Clinic
from tests.support.consulting import Practice
from tests.support.phones import (
    DOCTORS_PHONE,
    HOSPITALS_NUMBER,
    ORDER,
    PATIENTS_PHONE,
    PUBLIC,
    Pair,
    RememberedVoice,
    TwilioCall,
)
from tests.support.twilio_server import ACCOUNT_SID, AUTH_TOKEN

pytestmark = pytest.mark.anyio

TWILIO = TwilioSettings(ACCOUNT_SID, AUTH_TOKEN, None, None, HOSPITALS_NUMBER, None)


@pytest.fixture
async def context(database_url: str, keyring: Keyring) -> AsyncIterator[Context]:
    made = await make_context(database_url, keyring)
    yield replace(made, settings=replace(made.settings, twilio=TWILIO, public_url=PUBLIC))
    await close_context(made)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def pair(clinic: Clinic) -> Pair:
    return await Pair.of(clinic, RememberedVoice(name="twilio"))


@pytest.fixture
async def call(pair: Pair, client: httpx.AsyncClient) -> TwilioCall:
    """A call that is placed: the doctor's phone rings."""
    placed = await pair.activities.place_call(pair.wanted())
    return TwilioCall(client, placed.call_no, "CA1")


async def the_call(pair: Pair) -> PhoneCall:
    async with pair.clinic.engine.connect() as connection:
        return (await calls_of(connection, ORDER))[-1]


async def signals(pair: Pair) -> list[dict[str, Any]]:
    """What the order's workflow hears."""
    rows = "select stream || ' ' || workflow || '/' || subject || ' ' || signal from outbox"
    assert set(await pair.clinic.ids(rows)) <= {f"{ORDER} consultation/{ORDER} call_ended"}
    return list(await pair.clinic.ids("select args from outbox order by id"))


async def outcome(pair: Pair) -> str:
    (signal,) = await signals(pair)
    assert signal["outcome"] == (await the_call(pair)).outcome
    return str(signal["outcome"])


async def talking(call: TwilioCall) -> None:
    await call.doctor_is("ringing")
    await call.doctor_is("in-progress")
    await call.doctor_picks_up()
    await call.doctor_presses()
    await call.patient_picks_up()
    await call.patient_presses()


# The way through


async def test_doctor_and_patient_talk(call: TwilioCall, pair: Pair) -> None:
    await call.doctor_is("ringing")
    asked = await call.doctor_picks_up()
    assert [step.tag for step in asked] == ["Gather", "Hangup"]
    dial = (await call.doctor_presses()).find("Dial")
    assert dial is not None
    assert dial.get("callerId") == HOSPITALS_NUMBER
    assert [number.text for number in dial] == [PATIENTS_PHONE]
    assert (await the_call(pair)).status == "ringing"
    assert [step.tag for step in await call.patient_picks_up()] == ["Gather", "Hangup"]
    assert list(await call.patient_presses()) == []  # nothing more: they are joined
    assert (await the_call(pair)).status == "talking"
    await pair.clinic.run("update phone_call set answered_at = now() - interval '95 seconds'")
    await call.patient_is("completed", CallDuration="100")
    after = await call.bridged("completed", DialCallDuration="100", DialBridged="true")
    assert [step.tag for step in after] == ["Hangup"]
    await call.doctor_is("completed", CallDuration="130")
    (signal,) = await signals(pair)
    ended = await the_call(pair)
    assert ended.ended_at is not None
    assert datetime.fromisoformat(signal.pop("at")) == ended.ended_at
    assert 95 <= signal.pop("duration") <= 98
    assert signal == {"call_no": call.call_no, "attempt": 1, "outcome": "talked"}
    assert (ended.status, ended.outcome) == ("ended", "talked")


async def test_neither_side_nor_any_log_has_a_number(
    call: TwilioCall, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        heard = [await call.doctor_picks_up()]
        dial = await call.doctor_presses()
        heard += [await call.patient_picks_up(), await call.patient_presses()]
        heard.append(await call.bridged("completed"))
        await call.doctor_is("completed")
    said = "".join(text for steps in heard for text in steps.itertext())
    said += "".join(v for steps in heard for step in steps.iter() for v in step.attrib.values())
    kept = " ".join(await pair.clinic.ids("select content::text || event_id from inbox"))
    kept += " ".join(await pair.clinic.ids("select phone_call::text from phone_call"))
    for number in (DOCTORS_PHONE[3:], PATIENTS_PHONE[3:]):
        assert number not in said + kept + caplog.text
    # Twilio alone is told whom to ring; what both phones show is the hospital's number.
    shown = [value for step in dial.iter() for value in step.attrib.values()]
    assert not [value for value in shown if PATIENTS_PHONE in value]


async def test_of_an_order_that_ended_meanwhile_nobody_is_rung_or_joined(
    call: TwilioCall, pair: Pair
) -> None:
    practice = Practice(pair.clinic)
    account = await pair.clinic.value(
        "select account_id from patient where id = :id", id=pair.patient
    )
    await practice.ask((account, pair.patient), order_no=ORDER)
    await pair.clinic.run("update consultation set status = 'consulting'")
    asked = await call.doctor_picks_up()
    assert [step.tag for step in asked] == ["Gather", "Hangup"]
    await pair.clinic.run("update consultation set status = 'refunded'")
    assert [step.tag for step in await call.doctor_presses()] == ["Hangup"]
    for heard in (await call.patient_picks_up(), await call.patient_presses()):
        assert [step.tag for step in heard] == ["Hangup"]


# Every other end


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("no-answer", "doctor_no_answer"),
        ("busy", "doctor_busy"),
        ("failed", "failed"),
        ("canceled", "doctor_no_answer"),
        ("completed", "doctor_no_answer"),  # nobody pressed a key: a voicemail
    ],
)
async def test_the_doctor_is_not_reached(
    call: TwilioCall, pair: Pair, status: str, expected: str
) -> None:
    if status == "completed":
        await call.doctor_picks_up()
    await call.doctor_is(status)
    assert await outcome(pair) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("no-answer", "patient_no_answer"),
        ("busy", "patient_busy"),
        ("failed", "failed"),
        ("canceled", "doctor_left"),
        ("completed", "patient_no_answer"),  # a voicemail
        ("a word of next year", "failed"),
    ],
)
async def test_the_patient_is_not_reached(
    call: TwilioCall, pair: Pair, status: str, expected: str
) -> None:
    await call.doctor_picks_up()
    await call.doctor_presses()
    if status == "completed":
        await call.patient_picks_up()
    after = await call.bridged(status, DialBridged="false")
    assert [step.tag for step in after] == ["Say", "Say", "Hangup"]
    await call.doctor_is("completed")
    assert await outcome(pair) == expected
    assert (await the_call(pair)).duration == 0


async def test_a_key_without_a_bridge_is_no_talk(call: TwilioCall, pair: Pair) -> None:
    await talking(call)
    await call.bridged("completed", DialBridged="false", DialCallDuration="12")
    assert await outcome(pair) == "patient_no_answer"
    assert (await signals(pair))[0]["duration"] == 0


async def test_a_person_who_was_shredded_meanwhile_is_not_rung(
    call: TwilioCall, pair: Pair
) -> None:
    await call.doctor_picks_up()
    await pair.clinic.run(
        "update data_key k set wrapped = null from patient p "
        "where p.data_key_id = k.id and p.id = :patient",
        patient=pair.patient,
    )
    assert [step.tag for step in await call.doctor_presses()] == ["Say", "Say", "Hangup"]
    await call.doctor_is("completed")
    assert await outcome(pair) == "doctor_no_answer"


# Late, lost, twice, in another order


async def test_the_doctors_phone_may_be_told_over_before_the_talk_is(
    call: TwilioCall, pair: Pair
) -> None:
    await talking(call)
    await call.doctor_is("completed")
    await call.bridged("completed", DialBridged="true")
    await call.patient_is("completed")
    await call.doctor_is("ringing")
    assert await outcome(pair) == "talked"
    assert (await the_call(pair)).status == "ended"


async def test_without_word_of_the_bridge_the_patients_phone_tells(
    call: TwilioCall, pair: Pair
) -> None:
    await call.doctor_picks_up()
    await call.doctor_presses()
    await call.patient_is("busy")
    await call.doctor_is("completed")
    assert await outcome(pair) == "patient_busy"


async def test_a_callback_that_is_replayed_does_nothing(call: TwilioCall, pair: Pair) -> None:
    for _ in range(3):
        await call.doctor_is("busy", SequenceNumber="3")
    for _ in range(2):
        await call.bridged("completed")
    assert await outcome(pair) == "doctor_busy"
    assert await pair.clinic.value("select count(*) from inbox") == 2


async def test_of_callbacks_at_once_one_ends_it(call: TwilioCall, pair: Pair) -> None:
    await talking(call)
    ends = [call.doctor_is("completed"), call.bridged("completed"), call.patient_is("completed")]
    await asyncio.gather(*ends, *(call.doctor_is("completed") for _ in range(4)))
    assert await outcome(pair) == "talked"


async def test_after_its_end_a_call_gives_no_number_away(call: TwilioCall, pair: Pair) -> None:
    await talking(call)
    await call.doctor_is("completed")
    steps = (
        call.doctor_picks_up,
        call.doctor_presses,
        call.patient_picks_up,
        call.patient_presses,
    )
    for step in steps:
        assert [verb.tag for verb in await step()] == ["Hangup"]
    for name in ("doctor", "patient", "patient/joined"):  # without its parent's id as well
        assert [verb.tag for verb in await call.ask(name, CallStatus="in-progress")] == ["Hangup"]
    assert await outcome(pair) == "talked"


async def test_a_second_ring_of_the_same_call_joins_nobody(call: TwilioCall, pair: Pair) -> None:
    """The answer to the first was lost, and nobody found it."""
    again = replace(call, sid="CA2", child="CA-other")
    await call.doctor_picks_up()
    for step in (again.doctor_picks_up, again.doctor_presses, again.patient_picks_up):
        assert [verb.tag for verb in await step()] == ["Hangup"]
    await again.doctor_is("completed")
    await again.bridged("busy")
    assert await signals(pair) == []
    await call.doctor_is("no-answer")
    assert await outcome(pair) == "doctor_no_answer"


async def test_a_callback_is_faster_than_the_answer_to_our_request(
    pair: Pair, client: httpx.AsyncClient
) -> None:
    pair.activities.voice.loses_answers = True  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="timeout"):
        await pair.activities.place_call(pair.wanted())
    placing = await the_call(pair)
    call = TwilioCall(client, placing.call_no, "CA7")
    await call.doctor_is("ringing")
    ringing = await the_call(pair)
    assert (placing.status, ringing.status, ringing.provider_id) == ("placing", "ringing", "CA7")
    await call.doctor_picks_up()
    await call.doctor_is("busy")
    assert await outcome(pair) == "doctor_busy"


async def test_an_unknown_call_is_hung_up(client: httpx.AsyncClient, pair: Pair) -> None:
    stranger = TwilioCall(client, "T2611220000000000AA", "CA1")
    for step in (stranger.doctor_picks_up, stranger.doctor_presses, stranger.patient_presses):
        assert [verb.tag for verb in await step()] == ["Hangup"]
    await stranger.doctor_is("completed")
    await stranger.patient_is("completed")
    await stranger.bridged("completed")
    assert await signals(pair) == []


# Believed by signature

STEPS = (
    "doctor",
    "doctor/joined",
    "doctor/status",
    "patient",
    "patient/joined",
    "patient/status",
    "bridged",
)
NEWS = {"CallSid": "CA1", "CallStatus": "completed", "DialCallStatus": "completed"}


@pytest.mark.parametrize("step", STEPS)
async def test_a_forged_callback_is_refused_and_audited(
    call: TwilioCall, pair: Pair, step: str
) -> None:
    forged = await call.post(step, token="another", **NEWS)
    assert refused(forged) == (401, "bad_signature")
    unsigned = await call.client.post(f"/callbacks/twilio/calls/{call.call_no}/{step}", data=NEWS)
    assert refused(unsigned) == (401, "bad_signature")
    audits = "select event || ' ' || subject || ' ' || (details->>'address') from audit"
    where = f"callbacks/twilio/calls/{call.call_no}/{step}"
    assert await pair.clinic.ids(audits) == [f"bad_signature {where} 203.0.113.7"] * 2
    assert (await the_call(pair)).status == "ringing"
    assert await signals(pair) == []
    assert await pair.clinic.value("select count(*) from inbox") == 0


async def test_what_is_signed_for_one_step_does_not_serve_another(call: TwilioCall) -> None:
    honest = await call.post("doctor", **NEWS)
    assert honest.status_code == 200
    stolen = honest.request.headers["x-twilio-signature"]
    answer = await call.client.post(
        f"/callbacks/twilio/calls/{call.call_no}/doctor/joined",
        content=honest.request.content,
        headers={
            "X-Twilio-Signature": stolen,
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    assert refused(answer) == (401, "bad_signature")


@pytest.mark.parametrize("step", ["doctor/status", "patient/status", "bridged"])
async def test_what_is_signed_but_no_news_is_malformed(call: TwilioCall, step: str) -> None:
    assert refused(await call.post(step, AccountSid="AC1")) == (400, "malformed")


async def test_where_twilio_has_no_number_there_are_no_calls(
    context: Context, call: TwilioCall
) -> None:
    for twilio in (None, replace(TWILIO, voice_number=None)):
        elsewhere = replace(context, settings=replace(context.settings, twilio=twilio))
        async with client_of(elsewhere) as client:
            answer = await replace(call, client=client).post("doctor", **NEWS)
            assert refused(answer) == (404, "not_found")


async def test_a_number_that_is_no_calls_is_refused(client: httpx.AsyncClient) -> None:
    for number in ("x", "T1", "C2611220123456789AB"):
        answer = await client.post(f"/callbacks/twilio/calls/{number}/doctor", data=NEWS)
        assert refused(answer) == (422, "invalid")
