"""Online consultations, on a clock that skips: every way one can end."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.payment import OwedRefund
from domain.access import Capacity
from domain.consultation import ConsultationStatus as S
from domain.consultation import ConsultationType, Reason, Way, changes
from domain.message import Template
from domain.payment import PaymentReceived, RefundCause, Settlement
from domain.phone_call import CallEnded, Outcome, Refusal
from tests.support.temporal import refusal_of, soon
from workflows.commands import ByDoctor, Command, Extend, Presence, Reassigned, Switched, Written
from workflows.consultation import ConsultationWorkflow as C

pytestmark = pytest.mark.anyio

PATIENT = Command(Capacity.OWNER, 11)
DOCTOR = Command(Capacity.ITS_DOCTOR, 12)
OTHER = Command(Capacity.CANDIDATE, 13)
CLINIC = Command(Capacity.OPERATOR, 14)
ACCEPT = ByDoctor(DOCTOR, 7)
ASK_EVIDENCE = ByDoctor(DOCTOR, 7, 70)
PAID = PaymentReceived("P-1")
WRITTEN = Written(DOCTOR, 70)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
T = Template
ALL_BACK = [OwedRefund("P-1", RefundCause.CLINIC, Decimal(1))]


def near(at, expected):
    """Timers are late by little, and never earlier than the server's clock is exact."""
    return -MILLISECOND <= at - expected < timedelta(seconds=2)


async def paid(world, *args, **kwargs):
    consultation, start = await world.asked(*args, **kwargs)
    await consultation.signal(C.payment_received, PAID)
    await soon(lambda: "paid" in world.consultations.events)
    return consultation, start


async def accepted(world, *args, **kwargs):
    consultation, start = await paid(world, *args, **kwargs)
    await consultation.execute_update(C.accept, ACCEPT)
    return consultation, start


class TestPaying:
    async def test_unpaid_is_cancelled_at_its_deadline(self, world, ending):
        consultation, start = await world.asked()
        assert await ending(consultation) == "cancelled"
        assert world.consultations.last.reason == "unpaid"
        assert near(world.consultations.last.at, start.progress.pay_by)
        await world.told(T.CONSULTATION_UNPAID_CLOSED)
        assert world.payments.owed == []

    async def test_money_that_came_in_the_last_second_counts(self, world, ending):
        world.payments.settlement = Settlement(paid=True, payment_no="P-2")
        consultation, _ = await world.asked()
        assert await ending(consultation) == "refunded"  # and then nobody accepted
        assert world.consultations.events[0] == "paid"
        assert world.payments.owed == [OwedRefund("P-2", RefundCause.CLINIC, Decimal(1))]

    async def test_a_patient_may_cancel_before_paying(self, world, ending):
        consultation, _ = await world.asked()
        await consultation.execute_update(C.cancel, PATIENT)
        assert await ending(consultation) == "cancelled"
        assert world.payments.owed == []

    async def test_a_second_payment_goes_back(self, world, ending):
        consultation, _ = await accepted(world)
        await consultation.signal(C.payment_received, PaymentReceived("P-2"))
        await consultation.execute_update(C.complete, WRITTEN)
        assert await ending(consultation) == "completed"
        assert world.payments.owed == [OwedRefund("P-2", RefundCause.ORDER_CLOSED, Decimal(1))]

    async def test_an_operator_gives_more_time_to_pay(self, world, ending):
        consultation, start = await world.asked()
        later = start.progress.pay_by + HOUR
        await consultation.execute_update(C.extend, Extend(CLINIC, later))
        assert await ending(consultation) == "cancelled"
        assert near(world.consultations.last.at, later)


class TestWaitingForADoctor:
    async def test_nobody_accepts_a_text(self, world, ending):
        consultation, _ = await paid(world)
        at = world.consultations.last.at
        assert await ending(consultation) == "refunded"
        assert world.consultations.events == ["paid", "remind", "remind", "expired"]
        first, second, over = (move.at - at for move in world.consultations.moves[1:])
        assert near(at + first, at + 2 * HOUR)
        assert near(at + second, at + 12 * HOUR)
        assert near(at + over, at + 24 * HOUR)
        assert world.consultations.last.reason == "not_accepted"
        assert world.payments.owed == ALL_BACK
        await world.told(T.CONSULTATION_WAITING, T.CONSULTATION_REFUNDED)

    @pytest.mark.parametrize("type", [ConsultationType.VIDEO, ConsultationType.PHONE])
    async def test_nobody_accepts_a_call_within_half_an_hour(self, world, type):
        consultation, _ = await paid(world, type)
        at = world.consultations.last.at
        assert await consultation.result() == "refunded"
        assert near(world.consultations.last.at, at + 30 * MINUTE)

    async def test_a_talk_at_an_agreed_time_can_be_accepted_until_then(self, world):
        consultation, start = await paid(world, ConsultationType.VIDEO, scheduled_in=5 * HOUR)
        assert await consultation.result() == "refunded"
        assert near(world.consultations.last.at, start.case.scheduled_at)

    async def test_the_doctor_declines(self, world, ending):
        consultation, _ = await paid(world)
        await consultation.execute_update(C.decline, ByDoctor(DOCTOR, 7, 71))
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "declined"
        assert world.consultations.last.note_id == 71
        assert world.payments.owed == ALL_BACK

    async def test_what_costs_nothing_is_told_to_its_doctor_too(self, world, ending):
        start = await world.new_case()
        free = replace(start.progress, **changes.paid(start.case, None, await world.now()))
        consultation = await world.consult(replace(start, progress=free))
        await world.told(T.CONSULTATION_WAITING)
        await consultation.execute_update(C.decline, ByDoctor(DOCTOR, 7))
        assert await ending(consultation) == "cancelled"
        assert world.payments.owed == []

    async def test_of_a_pool_nobody_declines(self, world):
        consultation, _ = await paid(world, way=Way.QUICK)
        assert (await refusal_of(consultation.execute_update(C.decline, ByDoctor(OTHER, 8))))[
            1
        ] == "not_allowed"

    async def test_of_a_pool_the_first_who_accepts_has_it(self, world, ending):
        consultation, _ = await paid(world, way=Way.QUICK)
        both = await asyncio.gather(
            consultation.execute_update(C.accept, ByDoctor(OTHER, 8)),
            consultation.execute_update(C.accept, ByDoctor(DOCTOR, 9)),
            return_exceptions=True,
        )
        assert sorted(isinstance(one, Exception) for one in both) == [False, True]
        winner = 8 if both[0] == "consulting" else 9
        assert world.consultations.last.progress.doctor_id == winner
        await consultation.execute_update(C.complete, WRITTEN)
        assert await ending(consultation) == "completed"

    async def test_the_patient_cancels_after_paying(self, world, ending):
        consultation, _ = await paid(world)
        await consultation.execute_update(C.cancel, replace(PATIENT, note_id=74))
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.note_id == 74
        assert world.payments.owed == [OwedRefund("P-1", RefundCause.PATIENT, Decimal(1))]
        await world.told(T.CONSULTATION_CANCELLED)

    async def test_cancelled_while_the_doctor_accepts_has_one_outcome(self, world, ending):
        consultation, _ = await paid(world)
        both = await asyncio.gather(
            consultation.execute_update(C.cancel, PATIENT),
            consultation.execute_update(C.accept, ACCEPT),
            return_exceptions=True,
        )
        refused = [one for one in both if isinstance(one, Exception)]
        assert len(refused) == 1
        if both[0] == "refunded":
            assert await ending(consultation) == "refunded"
            assert len(world.payments.owed) == 1
        else:
            await consultation.execute_update(C.complete, WRITTEN)
            assert await consultation.result() == "completed"
            assert world.payments.owed == []

    async def test_nobody_accepts_what_is_not_paid(self, world):
        consultation, _ = await world.asked()
        assert (await refusal_of(consultation.execute_update(C.accept, ACCEPT)))[1] == "not_allowed"

    async def test_the_clinic_asks_another_doctor(self, world):
        consultation, _ = await paid(world)
        await consultation.execute_update(C.reassign, Reassigned(CLINIC, 9))
        assert world.consultations.last.progress.doctor_id == 9
        for late in (C.accept, C.decline, C.ask_evidence):  # asked for by the first, a moment ago
            refused = await refusal_of(consultation.execute_update(late, ACCEPT))
            assert refused[1] == "not_allowed"
        await consultation.execute_update(C.accept, ByDoctor(DOCTOR, 9))


class TestEvidence:
    async def test_asked_for_and_never_sent(self, world, ending):
        consultation, _ = await paid(world)
        await consultation.execute_update(C.ask_evidence, ASK_EVIDENCE)
        at = world.consultations.last.at
        assert (await refusal_of(consultation.execute_update(C.accept, ACCEPT)))[1] == "not_allowed"
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "no_evidence"
        assert near(world.consultations.last.at, at + 24 * HOUR)
        assert world.payments.owed == ALL_BACK

    async def test_the_time_to_accept_stands_still_meanwhile(self, world):
        consultation, _ = await paid(world)
        began = world.consultations.last.at
        await world.sleep(20 * HOUR)
        await consultation.execute_update(C.ask_evidence, ASK_EVIDENCE)
        asked = world.consultations.last.at
        await world.sleep(10 * HOUR)
        await consultation.execute_update(C.give_evidence, Written(PATIENT, 72))
        given = world.consultations.last.at
        assert await consultation.result() == "refunded"
        left = timedelta(hours=24) - (asked - began)
        assert near(world.consultations.last.at, given + left)

    async def test_another_doctor_hears_of_it_when_it_came(self, world):
        consultation, _ = await paid(world)
        await consultation.execute_update(C.ask_evidence, ASK_EVIDENCE)
        await consultation.execute_update(C.reassign, Reassigned(CLINIC, 9))
        await world.idle(consultation)
        assert world.messages.templates.count(T.CONSULTATION_WAITING) == 1  # told to the first
        await consultation.execute_update(C.give_evidence, Written(PATIENT, 72))
        await soon(lambda: world.messages.templates.count(T.CONSULTATION_WAITING) == 2)

    async def test_it_is_asked_for_once(self, world):
        consultation, _ = await paid(world)
        await consultation.execute_update(C.ask_evidence, ASK_EVIDENCE)
        await consultation.execute_update(C.give_evidence, Written(PATIENT, 72))
        assert (await refusal_of(consultation.execute_update(C.ask_evidence, ASK_EVIDENCE)))[
            1
        ] == "not_allowed"

    async def test_a_follow_up_is_accepted_with_the_doctors_judgement_alone(self, world):
        consultation, _ = await paid(world, judged=True)
        assert (await refusal_of(consultation.execute_update(C.accept, ACCEPT)))[
            1
        ] == "judgement_missing"
        await consultation.execute_update(C.accept, ByDoctor(DOCTOR, 7, 73))
        assert world.consultations.last.note_id == 73


class TestText:
    async def test_completed_by_the_doctor(self, world, ending):
        consultation, _ = await accepted(world)
        await consultation.signal(C.answered)
        await consultation.execute_update(C.complete, WRITTEN)
        assert await ending(consultation) == "completed"
        assert world.consultations.last.note_id == 70
        await world.told(T.CONSULTATION_ACCEPTED, T.CONSULTATION_COMPLETED)
        assert world.payments.owed == []

    async def test_a_window_with_an_answer_is_completed_when_it_ends(self, world, ending):
        consultation, _ = await accepted(world)
        at = world.consultations.last.at
        await consultation.signal(C.answered)
        assert await ending(consultation) == "completed"
        assert world.consultations.last.reason == "window"
        assert near(world.consultations.last.at, at + 48 * HOUR)

    async def test_a_silent_window_goes_back_in_full(self, world, ending):
        consultation, _ = await accepted(world)
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "no_answer"
        assert world.payments.owed == ALL_BACK

    async def test_an_answer_in_the_last_second_counts_however_late_the_news(self, world, ending):
        world.consultations.written = True
        consultation, _ = await accepted(world)
        assert await ending(consultation) == "completed"
        assert world.consultations.last.reason == "window"

    async def test_the_doctor_gives_more_time_twice(self, world):
        consultation, _ = await accepted(world)
        at = world.consultations.last.at
        await consultation.execute_update(C.prolong, DOCTOR)
        await consultation.execute_update(C.prolong, DOCTOR)
        assert (await refusal_of(consultation.execute_update(C.prolong, DOCTOR)))[
            1
        ] == "no_more_extensions"
        await consultation.result()
        assert near(world.consultations.last.at, at + 72 * HOUR)
        assert world.messages.templates.count(T.CONSULTATION_PROLONGED) == 2

    async def test_unsuitable_for_online_care(self, world, ending):
        consultation, _ = await accepted(world)
        await consultation.execute_update(C.unsuitable, WRITTEN)
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "unsuitable"
        assert world.payments.owed == ALL_BACK
        await world.told(T.CONSULTATION_REFERRED)

    async def test_while_it_lasts_only_the_clinic_cancels(self, world, ending):
        consultation, _ = await accepted(world)
        assert (await refusal_of(consultation.execute_update(C.cancel, PATIENT)))[
            1
        ] == "not_allowed"
        await consultation.execute_update(C.cancel, CLINIC)
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "clinic"

    async def test_cancelled_in_the_web_ui(self, world, ending):
        consultation, _ = await accepted(world)
        await consultation.cancel()
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "terminated"
        assert world.payments.owed == ALL_BACK

    async def test_operators_see_what_it_waits_for(self, world):
        consultation, _ = await accepted(world)
        await world.idle(consultation)
        shown = await world.shown(consultation)
        assert shown.status == "consulting"
        assert shown.waiting_for == "doctor"

    async def test_a_lost_one_goes_on_from_its_row(self, world, ending):
        now = await world.now()
        start = await world.new_case(
            status=S.CONSULTING, version=4, payment_no="P-1", paid_at=now, accept_by=now + HOUR,
            begins_at=now, window_ends=now + 3 * HOUR, extended=1, answered=True,
        )  # fmt: skip
        consultation = await world.consult(start)
        assert await ending(consultation) == "completed"
        assert near(world.consultations.last.at, now + 3 * HOUR)
        assert world.consultations.last.version == 5

    async def test_one_lost_before_it_gave_the_money_back_does_so(self, world, ending):
        start = await world.new_case(
            status=S.REFUNDED, version=3, payment_no="P-1", reason=Reason.DECLINED
        )
        consultation = await world.consult(start)
        assert await ending(consultation) == "refunded"
        assert world.payments.owed == ALL_BACK
        assert world.consultations.events == []  # what the row says stays


def came(role):
    return role_at(role, present=True)


def left(role):
    return role_at(role, present=False)


def role_at(role, *, present):
    return Presence(role, present, datetime.now(UTC))


VIDEO, PHONE = ConsultationType.VIDEO, ConsultationType.PHONE


class TestVideo:
    async def test_the_doctor_never_comes(self, world, ending):
        consultation, _ = await accepted(world, VIDEO)
        at = world.consultations.last.at
        await consultation.signal(C.presence, came("patient"))
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "doctor_absent"
        assert near(world.consultations.last.at, at + 10 * MINUTE)
        assert world.payments.owed == ALL_BACK

    async def test_a_doctor_who_writes_and_never_comes_is_not_paid(self, world):
        consultation, _ = await accepted(world, VIDEO)
        at = world.consultations.last.at
        await consultation.signal(C.answered)
        assert await consultation.result() == "refunded"
        assert world.consultations.last.reason == "doctor_absent"
        assert near(world.consultations.last.at, at + 10 * MINUTE)

    async def test_a_doctor_who_came_in_time_has_come_however_late_the_news(self, world, ending):
        world.consultations.in_the_room = True
        consultation, _ = await accepted(world, VIDEO)
        at = world.consultations.last.at
        assert await ending(consultation) == "completed"
        assert world.consultations.last.reason == "window"
        assert near(world.consultations.last.at, at + 30 * MINUTE)

    async def test_the_window_is_of_talk(self, world, ending):
        consultation, _ = await accepted(world, VIDEO)
        await world.sleep(8 * MINUTE)
        await consultation.signal(C.presence, came("doctor"))
        await world.sleep(5 * MINUTE)
        await consultation.signal(C.presence, came("patient"))
        await soon(lambda: world.consultations.last.progress.talking)
        at = world.consultations.last.at
        assert await ending(consultation) == "completed"
        assert near(world.consultations.last.at, at + 30 * MINUTE)

    async def test_when_both_have_left_the_doctor_is_asked_to_conclude(self, world):
        consultation, _ = await accepted(world, VIDEO)
        for seen in (came("doctor"), came("patient"), left("patient"), left("doctor")):
            await consultation.signal(C.presence, seen)
        await soon(lambda: world.consultations.events.count("left") == 2)
        at = world.consultations.last.at
        await world.sleep(3 * MINUTE)
        await soon(lambda: "ask_to_conclude" in world.consultations.events)
        assert near(world.consultations.last.at, at + 2 * MINUTE)
        await world.told(T.CONSULTATION_CONCLUDE)
        await consultation.execute_update(C.complete, WRITTEN)
        assert await consultation.result() == "completed"

    async def test_who_comes_back_in_time_is_not_asked(self, world):
        consultation, _ = await accepted(world, VIDEO)
        for seen in (came("doctor"), came("patient"), left("patient"), left("doctor")):
            await consultation.signal(C.presence, seen)
        await world.sleep(MINUTE)
        await consultation.signal(C.presence, came("doctor"))
        await world.sleep(5 * MINUTE)
        assert "ask_to_conclude" not in world.consultations.events

    async def test_at_an_agreed_time_the_doctor_is_expected_then(self, world):
        consultation, start = await accepted(world, VIDEO, scheduled_in=5 * HOUR)
        assert await consultation.result() == "refunded"
        expected = start.case.scheduled_at + 10 * MINUTE
        assert near(world.consultations.last.at, expected)

    async def test_a_patient_who_never_comes_has_had_the_doctor(self, world):
        consultation, _ = await accepted(world, VIDEO)
        await consultation.signal(C.presence, came("doctor"))
        assert await consultation.result() == "completed"


class TestSwitching:
    async def test_a_video_call_that_does_not_work_goes_on_by_phone(self, world, ending):
        consultation, _ = await accepted(world, VIDEO)
        await consultation.execute_update(C.switch, Switched(DOCTOR, PHONE))
        assert (await refusal_of(consultation.execute_update(C.switch, Switched(DOCTOR, PHONE))))[
            1
        ] == "not_allowed"
        await consultation.execute_update(C.call, DOCTOR)
        await consultation.signal("call_ended", ended(1, Outcome.TALKED, await world.now()))
        await consultation.execute_update(C.complete, WRITTEN)
        assert await ending(consultation) == "completed"
        assert world.payments.owed == []

    async def test_by_text_the_doctor_is_not_expected_in_the_room(self, world):
        consultation, _ = await accepted(world, VIDEO)
        await consultation.execute_update(C.switch, Switched(PATIENT, ConsultationType.TEXT))
        at = world.consultations.last.at
        assert await consultation.result() == "refunded"
        assert world.consultations.last.reason == "no_answer"
        assert near(world.consultations.last.at, at + 30 * MINUTE)

    async def test_a_word_before_the_switch_earns_no_call_that_never_came(self, world, ending):
        consultation, _ = await accepted(world, VIDEO)
        await consultation.signal(C.answered)
        await consultation.execute_update(C.switch, Switched(PATIENT, PHONE))
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "no_answer"
        assert world.payments.owed == ALL_BACK

    async def test_by_text_a_word_is_owed_after_the_switch(self, world, ending):
        consultation, _ = await accepted(world, VIDEO)
        await consultation.signal(C.answered)
        await consultation.execute_update(C.switch, Switched(PATIENT, ConsultationType.TEXT))
        assert not world.consultations.last.progress.answered
        await consultation.signal(C.answered)
        assert await ending(consultation) == "completed"
        assert world.consultations.last.reason == "window"


def ended(attempt, outcome, at):
    return CallEnded(f"L-{attempt}", attempt, outcome, 0, at)


class TestPhone:
    async def test_words_alone_earn_no_call(self, world, ending):
        consultation, _ = await accepted(world, PHONE)
        await consultation.signal(C.answered)
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "no_answer"
        assert world.payments.owed == ALL_BACK

    async def test_a_talk(self, world, ending):
        consultation, _ = await accepted(world, PHONE)
        await consultation.execute_update(C.call, DOCTOR)
        assert (await refusal_of(consultation.execute_update(C.call, DOCTOR)))[
            1
        ] == "not_allowed"  # one at a time
        await consultation.signal("call_ended", ended(1, Outcome.TALKED, await world.now()))
        await consultation.execute_update(C.complete, WRITTEN)
        assert await ending(consultation) == "completed"
        assert [call.attempt for call in world.phone.placed] == [1]

    async def test_a_patient_who_does_not_answer_is_dialled_twice_again(self, world, ending):
        consultation, _ = await accepted(world, PHONE)
        await consultation.execute_update(C.call, DOCTOR)
        for attempt in (1, 2, 3):
            await soon(lambda n=attempt: len(world.phone.placed) == n)
            nobody = ended(attempt, Outcome.PATIENT_NO_ANSWER, await world.now())
            await consultation.signal("call_ended", nobody)
            await world.sleep(2 * MINUTE)
        assert (await refusal_of(consultation.execute_update(C.call, DOCTOR)))[1] == "no_more_calls"
        assert await ending(consultation) == "completed"  # the doctor was there
        assert len(world.phone.placed) == 3

    async def test_a_doctor_who_does_not_answer_is_not_paid(self, world, ending):
        consultation, _ = await accepted(world, PHONE, redials=0)
        await consultation.execute_update(C.call, DOCTOR)
        nobody = ended(1, Outcome.DOCTOR_NO_ANSWER, await world.now())
        await consultation.signal("call_ended", nobody)
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "no_answer"

    async def test_a_call_that_is_refused_is_not_tried_again(self, world):
        world.phone.refusal = Refusal.NO_PATIENT_PHONE
        consultation, _ = await accepted(world, PHONE)
        await consultation.execute_update(C.call, DOCTOR)
        assert await consultation.result() == "refunded"
        assert world.consultations.events.count("call") == 1
        assert "call_failed" in world.consultations.events

    async def test_a_call_whose_end_nobody_told_is_asked_about(self, world, ending):
        consultation, start = await accepted(world, PHONE)
        call_no = f"T-{start.case.order_no}-1"
        world.phone.ended[call_no] = ended(1, Outcome.TALKED, await world.now())
        await consultation.execute_update(C.call, DOCTOR)
        await world.sleep(40 * MINUTE)
        await soon(lambda: "call_ended" in world.consultations.events)
        assert world.phone.asked == [call_no]
        assert await ending(consultation) == "completed"

    async def test_a_call_that_is_never_heard_of_again_holds_nothing_up(self, world):
        consultation, _ = await accepted(world, PHONE, redials=0)
        await consultation.execute_update(C.call, DOCTOR)
        assert await consultation.result() == "refunded"
        assert len(world.phone.asked) == 1

    async def test_nobody_is_cut_off_by_the_end_of_the_window(self, world):
        consultation, _ = await accepted(world, PHONE)
        await world.sleep(25 * MINUTE)
        await consultation.execute_update(C.call, DOCTOR)
        await world.sleep(20 * MINUTE)
        await consultation.signal("call_ended", ended(1, Outcome.TALKED, await world.now()))
        await soon(lambda: "call_ended" in world.consultations.events)
        at = world.consultations.last.at
        assert await consultation.result() == "completed"
        assert near(world.consultations.last.at, at + 30 * MINUTE)

    async def test_the_end_of_the_window_waits_for_the_next_attempt(self, world):
        consultation, _ = await accepted(world, PHONE)
        await world.sleep(29 * MINUTE + timedelta(seconds=30))
        await consultation.execute_update(C.call, DOCTOR)
        nobody = ended(1, Outcome.PATIENT_NO_ANSWER, await world.now())
        await consultation.signal("call_ended", nobody)
        await world.sleep(3 * MINUTE)
        await soon(lambda: len(world.phone.placed) == 2)

    async def test_news_of_an_earlier_call_changes_nothing(self, world):
        consultation, _ = await accepted(world, PHONE)
        await consultation.execute_update(C.call, DOCTOR)
        late = ended(7, Outcome.FAILED, await world.now())
        await consultation.signal("call_ended", late)
        await world.sleep(MINUTE)
        assert "call_ended" not in world.consultations.events


EMERGENCY = Way.EMERGENCY


class TestEmergency:
    async def test_one_is_rung_after_another_then_all(self, world, ending):
        world.consultations.on_duty = [5, 6]
        consultation, _ = await paid(world, way=EMERGENCY)
        at = world.consultations.last.at
        assert await ending(consultation) == "refunded"
        assert near(world.consultations.last.at, at + 10 * MINUTE)
        rings = [move for move in world.consultations.moves if move.event == "ring"]
        assert [move.progress.rung for move in rings[:3]] == [(5,), (5, 6), (5, 6)]
        assert near(rings[1].at, rings[0].at + MINUTE)
        told = world.messages.rung
        assert told[:4] == [5, 6, 5, 6]
        assert world.payments.owed == ALL_BACK

    async def test_nobody_is_on_duty(self, world, ending):
        consultation, _ = await paid(world, way=EMERGENCY)
        assert await ending(consultation) == "refunded"
        assert world.consultations.last.reason == "not_accepted"

    async def test_who_is_rung_accepts_and_others_may_not(self, world, ending):
        world.consultations.on_duty = [5, 6]
        consultation, _ = await paid(world, way=EMERGENCY)
        await soon(lambda: "ring" in world.consultations.events)
        assert (await refusal_of(consultation.execute_update(C.accept, ByDoctor(OTHER, 6))))[
            1
        ] == "not_rung"
        await consultation.execute_update(C.accept, ByDoctor(DOCTOR, 5))
        await consultation.signal(C.answered)
        assert await ending(consultation) == "completed"
        assert world.consultations.events.count("ring") == 1

    async def test_cancelled_while_the_next_doctor_is_looked_up_nobody_is_rung(self, world, ending):
        world.consultations.on_duty = [5]
        world.consultations.list_read.clear()
        consultation, _ = await paid(world, way=EMERGENCY)
        await world.consultations.at_the_list.wait()
        await consultation.execute_update(C.cancel, PATIENT)
        world.consultations.list_read.set()
        assert await ending(consultation) == "refunded"
        assert world.consultations.events == ["paid", "cancel"]
        assert world.messages.rung == []

    async def test_who_declines_has_the_next_rung_at_once(self, world):
        world.consultations.on_duty = [5, 6]
        consultation, _ = await paid(world, way=EMERGENCY)
        await soon(lambda: "ring" in world.consultations.events)
        at = await world.now()
        await consultation.execute_update(C.decline, ByDoctor(OTHER, 5))
        await soon(lambda: world.consultations.events.count("ring") == 2)
        assert world.consultations.last.at - at < timedelta(seconds=30)
        assert world.consultations.last.progress.rung == (5, 6)

    async def test_all_accept_at_once_and_one_has_it(self, world):
        world.consultations.on_duty = [5, 6, 8]
        consultation, _ = await paid(world, way=EMERGENCY)
        await world.sleep(2 * MINUTE + timedelta(seconds=10))
        await soon(lambda: world.consultations.last.progress.rung == (5, 6, 8))
        all_at_once = await asyncio.gather(
            *(consultation.execute_update(C.accept, ByDoctor(OTHER, n)) for n in (5, 6, 8)),
            return_exceptions=True,
        )
        assert [one for one in all_at_once if one == "consulting"] == ["consulting"]
