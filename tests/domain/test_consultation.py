"""What a consultation does by itself, and what people may ask of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.consultation import (
    BY_ITSELF,
    Ask,
    Case,
    ConsultationType,
    Progress,
    Step,
    Terms,
    Urgency,
    Way,
    changes,
    next_step,
    refusal,
)
from domain.consultation import ConsultationStatus as S
from domain.hospital import ConsultationPolicy
from tests.support.consulting import a_case

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TEXT, VIDEO, PHONE = ConsultationType
UNPAID = Progress(pay_by=NOON + 15 * MINUTE)


def paid(case: Case) -> Progress:
    asked = 7 if case.way is Way.NAMED else None
    return replace(UNPAID, doctor_id=asked, **changes.paid(case, "P-1", NOON))


def accepted(case: Case) -> Progress:
    return replace(paid(case), **changes.accepted(case, 7, 12, NOON))


def due(case: Case, progress: Progress) -> tuple[Step, timedelta, str]:
    found = next_step(case, progress)
    return found.step, found.at - NOON, found.waiting_for


# Terms


@pytest.mark.parametrize(
    ("type", "urgency", "accept", "window", "extension", "reminders"),
    [
        (TEXT, Urgency.NORMAL, 24 * HOUR, 48 * HOUR, 12 * HOUR, (2 * HOUR, 12 * HOUR)),
        (VIDEO, Urgency.NORMAL, 30 * MINUTE, 30 * MINUTE, 15 * MINUTE, (2 * HOUR, 12 * HOUR)),
        (PHONE, Urgency.NORMAL, 30 * MINUTE, 30 * MINUTE, 15 * MINUTE, (2 * HOUR, 12 * HOUR)),
        (TEXT, Urgency.EMERGENCY, 10 * MINUTE, 48 * HOUR, 12 * HOUR, ()),
        (VIDEO, Urgency.EMERGENCY, 10 * MINUTE, 30 * MINUTE, 15 * MINUTE, ()),
        (PHONE, Urgency.EMERGENCY, 10 * MINUTE, 30 * MINUTE, 15 * MINUTE, ()),
    ],
)
def test_what_is_promised_depends_on_type_and_urgency(
    type: ConsultationType,
    urgency: Urgency,
    accept: timedelta,
    window: timedelta,
    extension: timedelta,
    reminders: tuple[timedelta, ...],
) -> None:
    terms = Terms.of(ConsultationPolicy(), type, urgency)
    assert (terms.accept_within, terms.escalate_after) == (accept, reminders)
    assert (terms.window, terms.extension, terms.extensions) == (window, extension, 2)


def test_every_other_term_is_the_policys_own() -> None:
    policy = ConsultationPolicy()
    terms = Terms.of(policy, TEXT, Urgency.NORMAL)
    for name in ("payment_window", "join_within", "leave_grace", "redial_after", "redials",
                 "ring_for", "evidence_within", "rate_within"):  # fmt: skip
        assert getattr(terms, name) == getattr(policy, name), name


# What happens by itself, and when


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("type", ConsultationType)
def test_unpaid_it_is_closed_at_its_deadline(type: ConsultationType, way: Way) -> None:
    assert due(a_case(type, way), UNPAID) == (Step.CLOSE_UNPAID, 15 * MINUTE, "payment")


PENDING = [
    (TEXT, Way.NAMED, {}, Step.REMIND_DOCTOR, 2 * HOUR),
    (TEXT, Way.NAMED, {"reminded": 1}, Step.REMIND_DOCTOR, 12 * HOUR),
    (TEXT, Way.NAMED, {"reminded": 2}, Step.GIVE_UP_WAITING, 24 * HOUR),
    (TEXT, Way.QUICK, {"reminded": 2}, Step.GIVE_UP_WAITING, 24 * HOUR),
    (VIDEO, Way.NAMED, {}, Step.GIVE_UP_WAITING, 30 * MINUTE),
    (PHONE, Way.QUICK, {}, Step.GIVE_UP_WAITING, 30 * MINUTE),
    (TEXT, Way.EMERGENCY, {}, Step.RING, timedelta(0)),
    (PHONE, Way.EMERGENCY, {"ring_at": NOON + MINUTE}, Step.RING, MINUTE),
    # Nobody is rung at the very instant at which it is given up.
    (PHONE, Way.EMERGENCY, {"ring_at": NOON + 10 * MINUTE}, Step.GIVE_UP_WAITING, 10 * MINUTE),
    (PHONE, Way.EMERGENCY, {"ring_at": None}, Step.GIVE_UP_WAITING, 10 * MINUTE),
]


@pytest.mark.parametrize(("type", "way", "so_far", "step", "after"), PENDING)
def test_paid_it_waits_for_a_doctor(
    type: ConsultationType, way: Way, so_far: dict[str, Any], step: Step, after: timedelta
) -> None:
    case = a_case(type, way)
    assert due(case, replace(paid(case), **so_far)) == (step, after, "doctor")


@pytest.mark.parametrize(("ahead", "accept_by"), [(5 * HOUR, 5 * HOUR), (MINUTE, 30 * MINUTE)])
def test_an_agreed_talk_is_accepted_before_its_time_and_never_in_less(
    ahead: timedelta, accept_by: timedelta
) -> None:
    case = a_case(PHONE, scheduled_at=NOON + ahead)
    waits = replace(paid(case), reminded=2)
    assert due(case, waits) == (Step.GIVE_UP_WAITING, accept_by, "doctor")


def test_while_records_are_missing_nothing_else_happens() -> None:
    case = a_case()
    asked = replace(paid(case), **changes.evidence_wanted(case, paid(case), NOON + HOUR))
    assert due(case, asked) == (Step.GIVE_UP_EVIDENCE, 25 * HOUR, "evidence")


CAME = {"answered": True, "came": True}
BOTH_HERE = {"doctor_here": True, "patient_here": True, "talking": True}
CONSULTING = [
    (TEXT, {}, Step.END_WINDOW, 48 * HOUR, "doctor"),
    (TEXT, {"answered": True}, Step.END_WINDOW, 48 * HOUR, "patient"),
    (PHONE, {}, Step.END_WINDOW, 30 * MINUTE, "doctor"),
    (PHONE, {"redial_at": NOON + MINUTE}, Step.REDIAL, MINUTE, "patient"),
    (PHONE, {"calling_until": NOON + MINUTE}, Step.SETTLE_CALL, MINUTE, "call"),
    # Nobody is cut off: the call's end is settled first.
    (PHONE, {"calling_until": NOON + HOUR}, Step.SETTLE_CALL, HOUR, "call"),
    # A call that is to be repeated is repeated before the window ends.
    (PHONE, {"redial_at": NOON + HOUR}, Step.REDIAL, HOUR, "patient"),
    (VIDEO, {}, Step.DOCTOR_ABSENT, 10 * MINUTE, "doctor"),
    # Whoever writes has not come.
    (VIDEO, {"answered": True}, Step.DOCTOR_ABSENT, 10 * MINUTE, "doctor"),
    (VIDEO, CAME | {"doctor_here": True}, Step.END_WINDOW, 30 * MINUTE, "patient"),
    (VIDEO, CAME | {"patient_here": True}, Step.END_WINDOW, 30 * MINUTE, "doctor"),
    (VIDEO, CAME | BOTH_HERE, Step.END_WINDOW, 30 * MINUTE, "call"),
    (VIDEO, CAME, Step.END_WINDOW, 30 * MINUTE, "patient"),
    (VIDEO, CAME | {"left_at": NOON}, Step.END_WINDOW, 30 * MINUTE, "patient"),
    (VIDEO, CAME | {"talking": True, "left_at": NOON}, Step.ASK_TO_CONCLUDE,
     2 * MINUTE, "conclusion"),
    # A talk that is over is to be concluded.
    (VIDEO, CAME | {"talking": True}, Step.END_WINDOW, 30 * MINUTE, "conclusion"),
    (PHONE, CAME | {"talking": True}, Step.END_WINDOW, 30 * MINUTE, "conclusion"),
    # Whoever writes has not rung.
    (PHONE, {"answered": True}, Step.END_WINDOW, 30 * MINUTE, "doctor"),
    (VIDEO, CAME | {"talking": True, "switched_to": TEXT}, Step.END_WINDOW, 30 * MINUTE, "patient"),
    (TEXT, {"left_at": NOON, "talking": True}, Step.END_WINDOW, 48 * HOUR, "doctor"),
]  # fmt: skip


@pytest.mark.parametrize(("type", "so_far", "step", "after", "waiting_for"), CONSULTING)
def test_accepted_it_has_its_window(
    type: ConsultationType,
    so_far: dict[str, Any],
    step: Step,
    after: timedelta,
    waiting_for: str,
) -> None:
    case = a_case(type)
    assert due(case, replace(accepted(case), **so_far)) == (step, after, waiting_for)


def test_at_an_agreed_time_the_doctor_is_expected_then_and_not_before() -> None:
    case = a_case(VIDEO, scheduled_at=NOON + 5 * HOUR)
    assert due(case, accepted(case)) == (Step.DOCTOR_ABSENT, 5 * HOUR + 10 * MINUTE, "doctor")


def test_every_step_is_explained_to_operators() -> None:
    assert set(BY_ITSELF) == set(Step)


def test_what_is_consulted_on_without_a_window_is_a_fault() -> None:
    with pytest.raises(ValueError, match="has no window"):
        next_step(a_case(), replace(UNPAID, status=S.CONSULTING))


# What people may ask

EVIDENCE = {"evidence_by": NOON + HOUR, "asked_for_evidence": True}
STATES = ("unpaid", "paid", "evidence", "consulting", "completed", "cancelled", "refunded")


def state(name: str, case: Case) -> Progress:
    match name:
        case "unpaid":
            return UNPAID
        case "paid":
            return paid(case)
        case "evidence":
            return replace(paid(case), **EVIDENCE)
        case "consulting":
            return accepted(case)
    return replace(accepted(case), status=S(name))


OPEN_IN = {
    Ask.ACCEPT: {"paid"},
    Ask.DECLINE: {"paid"},
    Ask.ASK_EVIDENCE: {"paid"},
    Ask.GIVE_EVIDENCE: {"evidence"},
    Ask.EXTEND: {"consulting"},
    Ask.COMPLETE: {"consulting"},
    Ask.UNSUITABLE: {"consulting"},
    Ask.CALL: {"consulting"},
    Ask.SWITCH: set(),  # of a phone call
    Ask.CANCEL: {"unpaid", "paid", "evidence", "consulting"},
    Ask.REASSIGN: {"unpaid", "paid", "evidence"},
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("ask", Ask)
def test_what_may_be_asked_of_a_named_doctors_call(ask: Ask, name: str) -> None:
    case = a_case(PHONE)
    expected = None if name in OPEN_IN[ask] else "not_allowed"
    assert refusal(ask, case, state(name, case), doctor_id=7) == expected


@pytest.mark.parametrize(
    ("ask", "way", "allowed"),
    [
        (Ask.ACCEPT, Way.QUICK, True),
        (Ask.DECLINE, Way.QUICK, False),
        (Ask.ASK_EVIDENCE, Way.QUICK, True),
        (Ask.REASSIGN, Way.QUICK, False),
        (Ask.ASK_EVIDENCE, Way.EMERGENCY, False),
        (Ask.REASSIGN, Way.EMERGENCY, False),
    ],
)
def test_nobody_in_particular_is_asked_of_a_pool(ask: Ask, way: Way, allowed: bool) -> None:
    case = a_case(TEXT, way)
    found = refusal(ask, case, paid(case), doctor_id=7)
    assert found == (None if allowed else "not_allowed")


@pytest.mark.parametrize("ask", [Ask.ACCEPT, Ask.DECLINE])
def test_of_an_emergency_only_who_was_rung_has_a_say(ask: Ask) -> None:
    case = a_case(PHONE, Way.EMERGENCY)
    ringing = replace(paid(case), rung=(7,))
    assert refusal(ask, case, ringing, doctor_id=7) is None
    assert refusal(ask, case, ringing, doctor_id=8) == "not_rung"
    assert refusal(ask, case, ringing) == "not_rung"


@pytest.mark.parametrize("ask", [Ask.ACCEPT, Ask.DECLINE])
def test_who_is_not_asked_by_name_any_more_has_no_say(ask: Ask) -> None:
    """An operator asked another doctor meanwhile."""
    case = a_case()
    assert refusal(ask, case, paid(case), doctor_id=7) is None
    assert refusal(ask, case, replace(paid(case), doctor_id=9), doctor_id=7) == "not_allowed"


def test_a_rung_doctor_declines_once_and_may_think_better_of_it() -> None:
    case = a_case(PHONE, Way.EMERGENCY)
    declined = replace(paid(case), rung=(7, 8), declined=(7,))
    assert refusal(Ask.DECLINE, case, declined, doctor_id=7) == "not_allowed"
    assert refusal(Ask.DECLINE, case, declined, doctor_id=8) is None
    assert refusal(Ask.ACCEPT, case, declined, doctor_id=7) is None


def test_a_follow_up_wants_the_doctors_judgement_to_be_accepted_not_to_be_declined() -> None:
    case = a_case(judged=True)
    assert refusal(Ask.ACCEPT, case, paid(case), doctor_id=7) == "judgement_missing"
    assert refusal(Ask.ACCEPT, case, paid(case), doctor_id=7, judgement=3) is None
    assert refusal(Ask.DECLINE, case, paid(case), doctor_id=7) is None


def test_records_are_asked_for_once() -> None:
    case = a_case()
    asked_before = replace(paid(case), asked_for_evidence=True)
    assert refusal(Ask.ASK_EVIDENCE, case, asked_before) == "not_allowed"


@pytest.mark.parametrize(("extended", "code"), [(0, None), (1, None), (2, "no_more_extensions")])
def test_more_time_is_given_twice(extended: int, code: str | None) -> None:
    case = a_case()
    assert refusal(Ask.EXTEND, case, replace(accepted(case), extended=extended)) == code


@pytest.mark.parametrize(
    ("type", "so_far", "code"),
    [
        (PHONE, {"calls": 2}, None),
        (PHONE, {"calls": 3}, "no_more_calls"),
        (PHONE, {"calls": 3, "talking": True}, None),  # the line broke: they may go on
        (PHONE, {"calls": 1, "calling_until": NOON}, "not_allowed"),  # one call at a time
        (TEXT, {}, "not_allowed"),
        (VIDEO, {}, "not_allowed"),
    ],
)
def test_a_call_is_for_phone_consultations_one_at_a_time(
    type: ConsultationType, so_far: dict[str, Any], code: str | None
) -> None:
    case = a_case(type)
    assert refusal(Ask.CALL, case, replace(accepted(case), **so_far)) == code


def test_a_patient_cancels_until_a_doctor_accepts_the_clinic_at_any_time() -> None:
    case = a_case()
    assert refusal(Ask.CANCEL, case, paid(case), by_patient=True) is None
    assert refusal(Ask.CANCEL, case, accepted(case), by_patient=True) == "not_allowed"
    assert refusal(Ask.CANCEL, case, accepted(case)) is None


def test_a_video_call_is_switched_once_and_then_is_what_it_was_switched_to() -> None:
    case = a_case(VIDEO)
    before = accepted(case)
    assert refusal(Ask.SWITCH, case, before) is None
    after = replace(before, switched_to=PHONE)
    assert refusal(Ask.SWITCH, case, after) == "not_allowed"
    assert refusal(Ask.CALL, case, after) is None
    assert next_step(case, after).step is Step.END_WINDOW  # nobody is expected in the room
