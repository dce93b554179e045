"""Phone calls: rung once an attempt, whatever dies in between."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.exceptions import ApplicationError

from activities.gateways.sending import Fault, PermanentMessageError, RetryableMessageError
from activities.gateways.voice import CallLegs, ConsoleVoice
from activities.phone_call import PlacedCall
from db.account import create_account
from db.keyring import Keyring
from db.phone_call import (
    PhoneCall,
    call_placed,
    calls_of,
    close_call,
    doctor_joined,
    end_call,
    find_call,
    patient_leg_ended,
    talk_began,
)
from domain.phone_call import CallEnded, Leg, Outcome, Refusal
from tests.support.booking import Clinic
from tests.support.phones import (
    DOCTORS_PHONE,
    ORDER,
    PATIENTS_PHONE,
    TALK,
    Pair,
    RememberedVoice,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def voice() -> RememberedVoice:
    return RememberedVoice()


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
async def pair(clinic: Clinic, voice: RememberedVoice) -> Pair:
    return await Pair.of(clinic, voice)


async def error_of(doing: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await doing
    return raised.value


async def the_call(pair: Pair) -> PhoneCall:
    async with pair.clinic.engine.connect() as connection:
        (call,) = await calls_of(connection, ORDER)
    return call


async def half_a_minute_passes(pair: Pair) -> None:
    await pair.clinic.run("update phone_call set created_at = created_at - interval '30 seconds'")


# Once


async def test_an_attempt_rings_once(pair: Pair, voice: RememberedVoice) -> None:
    placed = [await pair.activities.place_call(pair.wanted()) for _ in range(3)]
    assert len({one.call_no for one in placed}) == 1
    assert placed[0].refusal is None
    (bridge,) = voice.placed
    assert (bridge.doctor_phone, bridge.patient_phone) == (DOCTORS_PHONE, PATIENTS_PHONE)
    assert (bridge.call_no, bridge.time_limit) == (placed[0].call_no, TALK)
    call = await the_call(pair)
    assert (call.status, call.provider, call.provider_id) == ("ringing", "test", "CA1")
    assert call.started_at is not None
    assert pair.counted == [("voice", "sent")]


async def test_another_attempt_is_another_call(pair: Pair, voice: RememberedVoice) -> None:
    placed = [await pair.activities.place_call(pair.wanted(attempt)) for attempt in (1, 2, 3)]
    async with pair.clinic.engine.connect() as connection:
        calls = await calls_of(connection, ORDER)
    assert [(call.attempt, call.call_no) for call in calls] == [
        (n, one.call_no) for n, one in enumerate(placed, 1)
    ]
    assert [one.call_no for one in placed] == [one.call_no for one in voice.placed]


async def test_a_call_whose_outcome_is_unknown_is_looked_for_before_it_rings_again(
    pair: Pair, voice: RememberedVoice
) -> None:
    voice.loses_answers = True
    error = await error_of(pair.activities.place_call(pair.wanted()))
    assert (error.type, error.non_retryable) == ("TryLater", False)
    assert error.next_retry_delay == timedelta(seconds=30)
    assert (await the_call(pair)).status == "placing"
    await half_a_minute_passes(pair)
    await pair.activities.place_call(pair.wanted())
    assert len(voice.placed) == 1
    assert (await the_call(pair)).provider_id == "CA1"


async def test_the_call_of_another_order_is_not_taken_for_this_one(
    pair: Pair, voice: RememberedVoice
) -> None:
    await pair.activities.place_call(pair.wanted(order_no="C2611220000000000AA"))
    voice.fails = [RetryableMessageError("timeout", outcome_unknown=True)]
    await error_of(pair.activities.place_call(pair.wanted()))
    await half_a_minute_passes(pair)
    await pair.activities.place_call(pair.wanted())
    assert [set(known) for known in voice.asked] == [{"CA1"}]
    assert len(voice.placed) == 2
    assert (await the_call(pair)).provider_id == "CA2"


async def test_a_process_that_dies_while_it_rings_does_not_ring_twice(
    pair: Pair, voice: RememberedVoice
) -> None:
    class Killed(BaseException):
        pass

    voice.dies = Killed()
    with pytest.raises(Killed):
        await pair.activities.place_call(pair.wanted())
    # At once the provider's list might not show it yet.
    error = await error_of(pair.activities.place_call(pair.wanted()))
    assert (str(error), error.type) == ("TryLater: may_be_ringing", "TryLater")
    assert error.next_retry_delay is not None
    assert timedelta(seconds=20) < error.next_retry_delay <= timedelta(seconds=30)
    assert voice.asked == []
    await half_a_minute_passes(pair)
    await pair.activities.place_call(pair.wanted())
    assert (len(voice.asked), len(voice.placed)) == (1, 1)


async def test_a_process_that_died_before_it_rang_is_made_up_for(
    pair: Pair, voice: RememberedVoice
) -> None:
    voice.fails = [RetryableMessageError("twilio:timeout", outcome_unknown=True)]
    await error_of(pair.activities.place_call(pair.wanted()))
    await half_a_minute_passes(pair)
    await pair.activities.place_call(pair.wanted())
    assert (len(voice.asked), len(voice.placed)) == (1, 1)


async def test_a_callback_that_names_the_call_settles_it_as_well(
    pair: Pair, voice: RememberedVoice
) -> None:
    voice.loses_answers = True
    await error_of(pair.activities.place_call(pair.wanted()))
    call = await the_call(pair)
    async with pair.clinic.engine.begin() as connection:
        assert await call_placed(connection, call.call_no, "CA1")
        assert not await call_placed(connection, call.call_no, "CA2")
    placed = await pair.activities.place_call(pair.wanted())
    assert placed == PlacedCall(call.call_no)
    assert len(voice.placed) == 1


async def test_when_nobody_was_rung_for_certain_the_next_try_need_not_wait(
    pair: Pair, voice: RememberedVoice
) -> None:
    wait = timedelta(seconds=7)
    voice.fails = [
        RetryableMessageError("twilio:connect"),
        RetryableMessageError("twilio:20429", retry_after=wait),
    ]
    delays = [
        (await error_of(pair.activities.place_call(pair.wanted()))).next_retry_delay
        for _ in range(2)
    ]
    assert delays == [None, wait]
    await pair.activities.place_call(pair.wanted())
    assert (len(voice.placed), voice.asked) == (1, [])
    assert pair.counted == [("voice", "retried")] * 2 + [("voice", "sent")]


# Refused


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [(Fault.RECIPIENT, Refusal.UNREACHABLE), (Fault.SENDER, Refusal.NOT_POSSIBLE)],
)
async def test_a_call_that_the_provider_refuses_is_over(
    pair: Pair, voice: RememberedVoice, fault: Fault, refusal: Refusal
) -> None:
    voice.fails = [PermanentMessageError("twilio:21211", fault)]
    placed = [await pair.activities.place_call(pair.wanted()) for _ in range(2)]
    assert [one.refusal for one in placed] == [refusal, refusal]
    call = await the_call(pair)
    assert (call.status, call.outcome, call.refusal) == ("ended", "failed", refusal)
    assert await pair.clinic.value("select error_code from phone_call") == "twilio:21211"
    assert voice.placed == []
    assert pair.counted == [("voice", "refused")]
    assert await pair.clinic.value("select count(*) from outbox") == 0


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ("update account set active = false where id = :doctor", Refusal.NO_DOCTOR_PHONE),
        (
            "update data_key k set wrapped = null from patient p "
            "where p.data_key_id = k.id and p.id = :patient",
            Refusal.NO_PATIENT_PHONE,
        ),
        ("update patient set hospital_id = 2 where id = :patient", Refusal.NO_PATIENT_PHONE),
    ],
)
async def test_without_a_phone_nobody_is_rung(
    pair: Pair, voice: RememberedVoice, change: str, refusal: Refusal
) -> None:
    ids = {"doctor": pair.doctor, "patient": pair.patient}
    await pair.clinic.run(change, **{name: n for name, n in ids.items() if f":{name}" in change})
    assert (await pair.activities.place_call(pair.wanted())).refusal is refusal
    assert voice.placed == []


async def test_one_phone_cannot_be_both_ends(pair: Pair, voice: RememberedVoice) -> None:
    async with pair.clinic.engine.begin() as connection:
        hers = await create_account(
            connection,
            pair.clinic.keyring,
            1,
            phone=PATIENTS_PHONE,
            name=None,
            password_hash="none",
        )
    wanted = replace(pair.wanted(), doctor_account_id=hers)
    assert (await pair.activities.place_call(wanted)).refusal is Refusal.SAME_PHONE
    assert voice.placed == []


# The row goes on and never back


async def test_news_in_any_order_undoes_nothing(pair: Pair) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no
    async with pair.clinic.engine.begin() as connection:
        assert not await talk_began(connection, call_no)  # before the doctor
        await doctor_joined(connection, call_no)
        assert await talk_began(connection, call_no)
        assert await call_placed(connection, call_no, "CA1")  # a late "ringing"
        talking = await find_call(connection, call_no)
        assert talking is not None
        assert talking.status == "talking"
        ended = await end_call(connection, call_no, doctor=Leg.COMPLETED)
        assert ended is not None
        assert ended.outcome is Outcome.TALKED
        assert await end_call(connection, call_no, patient=Leg.BUSY) is None
        assert await close_call(connection, call_no, Outcome.FAILED) is None
        assert not await call_placed(connection, call_no, "CA1")
        assert not await talk_began(connection, call_no)
        await doctor_joined(connection, call_no)
        await patient_leg_ended(connection, call_no, Leg.BUSY)
        after = await find_call(connection, call_no)
    assert after == replace(
        talking,
        status="ended",
        outcome=Outcome.TALKED,
        ended_at=ended.at,
        duration=ended.duration,
    )


async def test_of_many_ends_at_once_one_counts(pair: Pair) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no

    async def end(leg: Leg) -> CallEnded | None:
        async with pair.clinic.engine.begin() as connection:
            return await end_call(connection, call_no, doctor=leg)

    ends = await asyncio.gather(*(end(leg) for leg in list(Leg) * 2))
    (counted,) = [one for one in ends if one is not None]
    assert (await the_call(pair)).ended == counted


@pytest.mark.parametrize("off", [timedelta(days=-1), timedelta(days=1)])
async def test_a_clock_that_is_wrong_makes_no_talk_of_a_day(pair: Pair, off: timedelta) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no
    async with pair.clinic.engine.begin() as connection:
        await doctor_joined(connection, call_no)
        await talk_began(connection, call_no)
    async with pair.clinic.engine.begin() as connection:
        at = datetime.now(UTC) + off
        ended = await end_call(connection, call_no, doctor=Leg.COMPLETED, at=at)
    assert ended is not None
    assert ended.duration < 30
    assert abs(ended.at - datetime.now(UTC)) < timedelta(seconds=30)


# Nobody told


async def test_a_call_is_asked_about_when_nobody_told(pair: Pair, voice: RememberedVoice) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no
    assert await pair.activities.settle_call(call_no) is None
    voice.over = CallLegs(Leg.NO_ANSWER, None, None)
    settled = [await pair.activities.settle_call(call_no) for _ in range(2)]
    assert settled[0] is not None
    assert settled[0] == settled[1]
    assert (settled[0].outcome, settled[0].duration) == (Outcome.DOCTOR_NO_ANSWER, 0)
    assert await pair.clinic.value("select count(*) from outbox") == 0


async def test_a_lost_end_of_a_talk_is_told_with_its_length(
    pair: Pair, voice: RememberedVoice
) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no
    async with pair.clinic.engine.begin() as connection:
        await doctor_joined(connection, call_no)
        await talk_began(connection, call_no)
    await pair.clinic.run("update phone_call set answered_at = now() - interval '10 minutes'")
    ended_at = datetime.now(UTC) - timedelta(minutes=5)
    voice.over = CallLegs(Leg.COMPLETED, Leg.COMPLETED, ended_at)
    settled = await pair.activities.settle_call(call_no)
    assert settled is not None
    assert settled.outcome is Outcome.TALKED
    assert abs(settled.duration - 300) < 10
    assert settled.at == ended_at


async def test_a_call_that_never_rang_failed(pair: Pair, voice: RememberedVoice) -> None:
    voice.fails = [RetryableMessageError("timeout", outcome_unknown=True)]
    await error_of(pair.activities.place_call(pair.wanted()))
    settled = await pair.activities.settle_call((await the_call(pair)).call_no)
    assert settled is not None
    assert settled.outcome is Outcome.FAILED
    assert await pair.clinic.value("select error_code from phone_call") == "never_placed"


async def test_a_call_that_the_provider_has_forgotten_failed(
    pair: Pair, voice: RememberedVoice
) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no
    voice.fails = [PermanentMessageError("twilio:20404", Fault.SENDER)]
    settled = await pair.activities.settle_call(call_no)
    assert settled is not None
    assert settled.outcome is Outcome.FAILED


async def test_a_provider_that_is_away_is_asked_later(pair: Pair, voice: RememberedVoice) -> None:
    call_no = (await pair.activities.place_call(pair.wanted())).call_no
    voice.fails = [RetryableMessageError("twilio:connect")]
    assert (await error_of(pair.activities.settle_call(call_no))).type == "TryLater"
    unknown = await error_of(pair.activities.settle_call("T2611220000000000AA"))
    assert (unknown.type, unknown.non_retryable) == ("NoCall", True)


# Development


async def test_the_console_tells_both_in_the_outbox_and_nothing_of_health(clinic: Clinic) -> None:
    pair = await Pair.of(clinic, ConsoleVoice())
    for _ in range(2):
        placed = await pair.activities.place_call(pair.wanted())
    count = "select count(*) from message where channel = 'voice' and status = 'sent'"
    assert await clinic.value(count) == 2
    assert (await the_call(pair)).provider_id == f"console:{placed.call_no}"
