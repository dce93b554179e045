"""What an event changes in a consultation, what its end means for money, and prices."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.consultation import ConsultationStatus as S
from domain.consultation import ConsultationType, Progress, Reason, Way, next_step
from domain.consultation.changes import (
    accepted,
    call_ended,
    come_to_nothing,
    deadline_of,
    dialled,
    evidence_given,
    evidence_wanted,
    given_until,
    not_dialled,
    paid,
    prolonged,
    silence_is_free,
    somebody_came_or_left,
    switched,
    talk_limit,
)
from domain.consultation.endings import news_of, refund_cause
from domain.hospital import ConsultationPrices, DoctorLevel, LevelPrice
from domain.message import Template
from domain.order import NumberPrefix, OrderKind, kind_of, new_number
from domain.payment import RefundCause
from domain.phone_call import CallEnded, Outcome
from tests.support.catalogue import a_config
from tests.support.consulting import a_case

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TEXT, VIDEO, PHONE = ConsultationType
UNPAID = Progress(pay_by=NOON + 15 * MINUTE)


def consulting(type: ConsultationType, **changes: Any) -> Progress:
    return replace(UNPAID, **accepted(a_case(type), 7, 12, NOON), **changes)


# Before a doctor has it


@pytest.mark.parametrize("way", Way)
def test_paid_a_doctor_is_waited_for_and_an_emergency_rung_for_at_once(way: Way) -> None:
    case = a_case(PHONE, way)
    found = paid(case, "P-1", NOON)
    emergency = way is Way.EMERGENCY
    assert (found["payment_no"], found["paid_at"]) == ("P-1", NOON)
    assert found["accept_by"] == NOON + (10 if emergency else 30) * MINUTE
    assert found["ring_at"] == (NOON if emergency else None)


@pytest.mark.parametrize(("ahead", "begins"), [(None, NOON), (-HOUR, NOON), (HOUR, NOON + HOUR)])
def test_accepted_the_window_is_open_of_an_agreed_talk_from_its_time_on(
    ahead: timedelta | None, begins: datetime
) -> None:
    case = a_case(PHONE, Way.EMERGENCY, scheduled_at=NOON + ahead if ahead else None)
    found = accepted(case, 7, 12, NOON)
    assert (found["status"], found["doctor_id"], found["doctor_account_id"]) == (
        S.CONSULTING,
        7,
        12,
    )
    assert (found["begins_at"], found["window_ends"]) == (begins, begins + 30 * MINUTE)
    assert (found["ring_at"], found["rung"]) == (None, ())  # nobody is rung any more


def test_the_time_to_accept_stands_still_while_records_are_missing() -> None:
    case = a_case()
    waits = replace(UNPAID, **paid(case, "P-1", NOON))
    asked = replace(waits, **evidence_wanted(case, waits, NOON + 20 * HOUR))
    assert (asked.evidence_by, asked.time_to_accept) == (NOON + 44 * HOUR, 4 * HOUR)
    given = replace(asked, **evidence_given(case, asked, NOON + 40 * HOUR))
    assert (given.evidence_by, given.accept_by) == (None, NOON + 44 * HOUR)
    assert given.asked_for_evidence


def test_a_time_to_accept_that_is_over_does_not_become_negative() -> None:
    case = a_case()
    waits = replace(UNPAID, **paid(case, "P-1", NOON))
    assert evidence_wanted(case, waits, NOON + 25 * HOUR)["time_to_accept"] == timedelta(0)


@pytest.mark.parametrize(
    ("given_after", "reminded", "still"),
    [(HOUR, 0, 0), (3 * HOUR, 0, 1), (13 * HOUR, 0, 2), (3 * HOUR, 1, 1), (3 * HOUR, 2, 2)],
)
def test_the_doctor_is_not_reminded_of_the_time_in_which_records_were_missing(
    given_after: timedelta, reminded: int, still: int
) -> None:
    """The news that they came is reminder enough: not three messages in one second."""
    case = a_case()
    waits = replace(UNPAID, **paid(case, "P-1", NOON), reminded=reminded)
    asked = replace(waits, **evidence_wanted(case, waits, NOON))
    assert evidence_given(case, asked, NOON + given_after)["reminded"] == still


# Video


def seen(p: Progress, role: str, minutes: int, *, here: bool) -> Progress:
    at = NOON + minutes * MINUTE
    return replace(p, **somebody_came_or_left(a_case(VIDEO), p, role, here=here, now=at))


def test_the_window_is_of_talk_and_begins_when_both_are_there() -> None:
    p = seen(consulting(VIDEO), "patient", 1, here=True)
    assert (p.patient_here, p.answered, p.talking) == (True, False, False)
    p = seen(p, "doctor", 5, here=True)
    assert (p.answered, p.talking, p.window_ends) == (True, True, NOON + 35 * MINUTE)
    p = seen(p, "patient", 6, here=False)
    p = seen(p, "patient", 7, here=True)  # comes back: it does not begin again
    assert p.window_ends == NOON + 35 * MINUTE


def test_nobody_is_there_once_the_last_has_left() -> None:
    p = seen(seen(consulting(VIDEO), "doctor", 1, here=True), "patient", 2, here=True)
    p = seen(p, "doctor", 3, here=False)
    assert (p.left_at, p.answered) == (None, True)
    p = seen(p, "patient", 4, here=False)
    assert p.left_at == NOON + 4 * MINUTE
    assert seen(p, "doctor", 5, here=True).left_at is None


def test_what_the_doctor_added_before_the_talk_stays_added() -> None:
    case = a_case(VIDEO)
    p = consulting(VIDEO)
    p = replace(p, **prolonged(case, p, NOON))
    p = seen(seen(p, "doctor", 1, here=True), "patient", 2, here=True)
    assert p.window_ends == NOON + (2 + 30 + 15) * MINUTE


def at_six(role: str, minutes: int, *, here: bool, p: Progress) -> Progress:
    """Of a talk that was agreed for six hours later; minutes from then."""
    case = a_case(VIDEO, scheduled_at=NOON + 6 * HOUR)
    now = NOON + 6 * HOUR + minutes * MINUTE
    return replace(p, **somebody_came_or_left(case, p, role, here=here, now=now))


def agreed() -> Progress:
    case = a_case(VIDEO, scheduled_at=NOON + 6 * HOUR)
    return replace(UNPAID, **accepted(case, 7, 12, NOON))


def test_a_doctor_who_only_tried_the_room_before_an_agreed_talk_has_not_come() -> None:
    p = at_six("doctor", -60, here=True, p=agreed())
    assert not p.came
    p = at_six("doctor", -59, here=False, p=p)
    assert not p.came
    assert at_six("doctor", 3, here=True, p=p).came


def test_a_doctor_who_was_there_when_it_began_has_come() -> None:
    p = at_six("doctor", -1, here=True, p=agreed())
    assert at_six("doctor", 5, here=False, p=p).came


def test_a_talk_before_the_agreed_time_is_one() -> None:
    p = at_six("patient", -30, here=True, p=at_six("doctor", -31, here=True, p=agreed()))
    assert (p.came, p.talking) == (True, True)


def test_switching_never_ends_a_talk_before_its_agreed_time() -> None:
    case = a_case(VIDEO, scheduled_at=NOON + 6 * HOUR)
    found = switched(case, agreed(), PHONE, NOON + MINUTE)
    assert found["window_ends"] == NOON + 6 * HOUR + 30 * MINUTE


@pytest.mark.parametrize("to", [PHONE, TEXT])
def test_what_held_the_patient_until_the_call_is_no_answer_after_a_switch(
    to: ConsultationType,
) -> None:
    case, early = a_case(VIDEO), {"begins_at": NOON + HOUR}
    for so_far in ({"answered": True}, {"answered": True, "doctor_here": True} | early):
        found = switched(case, replace(consulting(VIDEO), **so_far), to, NOON + MINUTE)
        assert (found["answered"], found["came"]) == (False, False)
    for so_far in ({"came": True}, {"doctor_here": True}):
        found = switched(case, consulting(VIDEO, **so_far), to, NOON + MINUTE)
        assert (found["answered"], found["came"]) == (True, True)


def test_switching_takes_nothing_away_that_the_doctor_added() -> None:
    case, p = a_case(VIDEO), consulting(VIDEO)
    p = replace(p, **prolonged(case, p, NOON))
    assert switched(case, p, PHONE, NOON + MINUTE)["window_ends"] == NOON + 46 * MINUTE


# Phone


def test_a_call_is_under_way_for_as_long_as_it_may_last() -> None:
    p = consulting(PHONE, extended=1, redial_at=NOON, call_no="T-1", calls=1)
    assert talk_limit(a_case(PHONE), p) == 45 * MINUTE
    assert dialled(a_case(PHONE), p, NOON) == {
        "calls": 2, "call_no": None, "calling_until": NOON + 48 * MINUTE, "redial_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "there"),
    [
        (Outcome.TALKED, True),
        (Outcome.PATIENT_NO_ANSWER, True),
        (Outcome.PATIENT_BUSY, True),
        (Outcome.DOCTOR_NO_ANSWER, False),
        (Outcome.DOCTOR_BUSY, False),
        (Outcome.DOCTOR_LEFT, False),
        (Outcome.FAILED, False),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_call_that_found_nobody_is_repeated_twice_and_a_doctor_on_the_line_has_answered(
    outcome: Outcome, attempt: int, there: bool
) -> None:
    p = consulting(PHONE, calls=attempt, calling_until=NOON + HOUR)
    found = call_ended(a_case(PHONE), p, CallEnded("T-1", attempt, outcome, 0, NOON), NOON)
    again = outcome is not Outcome.TALKED and attempt < 3
    assert (found["calling_until"], found["answered"], found["came"]) == (None, there, there)
    assert found["redial_at"] == (NOON + MINUTE if again else None)
    assert found.get("talking", False) is (outcome is Outcome.TALKED)


def test_a_second_talk_begins_no_second_window() -> None:
    p = consulting(PHONE, calls=2, talking=True, calling_until=NOON + HOUR)
    ended = CallEnded("T-2", 2, Outcome.TALKED, 60, NOON)
    assert "window_ends" not in call_ended(a_case(PHONE), p, ended, NOON)


@pytest.mark.parametrize(("calls", "again"), [(1, True), (2, True), (3, False)])
def test_a_call_that_could_not_be_placed_counts_like_one_that_found_nobody(
    calls: int, again: bool
) -> None:
    p = consulting(PHONE, calls=calls, calling_until=NOON + HOUR)
    assert not_dialled(a_case(PHONE), p, NOON) == {
        "calling_until": None, "redial_at": NOON + MINUTE if again else None,
    }  # fmt: skip


# Time


def test_the_doctor_adds_time_to_what_is_left() -> None:
    p = consulting(TEXT)
    assert prolonged(a_case(TEXT), p, NOON + HOUR) == {
        "window_ends": NOON + 60 * HOUR, "extended": 1,
    }  # fmt: skip


PAID = replace(UNPAID, **paid(a_case(), "P-1", NOON))


@pytest.mark.parametrize(
    ("progress", "column"),
    [
        (UNPAID, "pay_by"),
        (PAID, "accept_by"),
        (replace(PAID, evidence_by=NOON + HOUR), "evidence_by"),
        (consulting(TEXT), "window_ends"),
    ],
)
def test_an_operator_gives_time_for_what_it_waits_for(progress: Progress, column: str) -> None:
    assert deadline_of(progress) == getattr(progress, column)
    later = NOON + 99 * HOUR
    assert given_until(progress, later) == {column: later}
    assert deadline_of(replace(progress, **given_until(progress, later))) == later


def test_an_operator_gives_a_doctor_who_is_expected_in_the_room_more_time() -> None:
    waits = consulting(VIDEO)
    assert deadline_of(waits) == NOON + 10 * MINUTE
    later = NOON + 40 * MINUTE
    assert given_until(waits, later) == {"join_by": later, "window_ends": NOON + HOUR}
    case = a_case(VIDEO)
    assert next_step(case, replace(waits, **given_until(waits, later))).at == later
    for there in ({"doctor_here": True}, {"came": True}, {"switched_to": PHONE}):
        assert deadline_of(replace(waits, **there)) == NOON + 30 * MINUTE


def test_an_operator_who_gives_time_never_takes_any() -> None:
    """The deadline that they saw was another: it was paid, or the doctor added more, meanwhile."""
    assert given_until(PAID, NOON + HOUR) == {"accept_by": NOON + 24 * HOUR}
    p = replace(consulting(TEXT), window_ends=NOON + 60 * HOUR)
    assert given_until(p, NOON + 49 * HOUR) == {"window_ends": NOON + 60 * HOUR}


# Endings


@pytest.mark.parametrize(
    ("answered", "payment_no", "status", "reason"),
    [
        (True, "P-1", S.COMPLETED, Reason.WINDOW),
        (True, None, S.COMPLETED, Reason.WINDOW),
        (False, "P-1", S.REFUNDED, Reason.NO_ANSWER),
        (False, None, S.CANCELLED, Reason.NO_ANSWER),
    ],
)
def test_a_doctor_who_never_answered_is_not_paid(
    answered: bool, payment_no: str | None, status: S, reason: Reason
) -> None:
    p = consulting(TEXT, answered=answered, payment_no=payment_no)
    assert silence_is_free(a_case(TEXT), p) == (status, reason)


@pytest.mark.parametrize(
    ("type", "so_far", "earned"),
    [
        (TEXT, {"answered": True}, True),
        # A talk is not paid for with words.
        (PHONE, {"answered": True}, False),
        (PHONE, {"came": True}, True),
        (VIDEO, {"answered": True}, False),
        (VIDEO, {"came": True}, True),
        (VIDEO, {"doctor_here": True}, True),
        # Nor is what it was switched to, by what was before.
        (VIDEO, {"came": True, "switched_to": PHONE}, True),
        (VIDEO, {"doctor_here": True, "switched_to": PHONE}, False),
        (VIDEO, {"answered": True, "switched_to": PHONE}, False),
        (VIDEO, {"answered": True, "switched_to": TEXT}, True),
    ],
)
def test_a_doctor_is_paid_for_what_was_paid_for(
    type: ConsultationType, so_far: dict[str, Any], earned: bool
) -> None:
    status, _ = silence_is_free(a_case(type), consulting(type, payment_no="P-1", **so_far))
    assert status is (S.COMPLETED if earned else S.REFUNDED)


def test_only_what_was_paid_is_refunded() -> None:
    assert come_to_nothing(UNPAID) is S.CANCELLED
    assert come_to_nothing(replace(UNPAID, payment_no="P-1")) is S.REFUNDED


@pytest.mark.parametrize("reason", Reason)
def test_every_ending_has_its_cause_and_its_news(reason: Reason) -> None:
    causes = {Reason.PATIENT: RefundCause.PATIENT, Reason.UNPAID: RefundCause.ORDER_CLOSED}
    news = {
        Reason.UNPAID: Template.CONSULTATION_UNPAID_CLOSED,
        Reason.PATIENT: Template.CONSULTATION_CANCELLED,
        Reason.UNSUITABLE: Template.CONSULTATION_REFERRED,
    }
    assert refund_cause(reason) is causes.get(reason, RefundCause.CLINIC)
    assert news_of(reason) is news.get(reason, Template.CONSULTATION_REFUNDED)


@pytest.mark.parametrize("status", S)
def test_pending_and_consulting_are_open(status: S) -> None:
    assert status.open == (status in ("pending", "consulting"))


# Numbers and prices


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        (prefix, {"A": OrderKind.APPOINTMENT, "C": OrderKind.CONSULTATION}.get(prefix))
        for prefix in NumberPrefix
    ],
)
def test_a_number_tells_which_lifecycle_it_belongs_to(
    prefix: NumberPrefix, kind: OrderKind | None
) -> None:
    assert kind_of(new_number(prefix, NOON.date())) is kind


@pytest.mark.parametrize("number", ["", "c261122", "X", "消息"])
def test_what_is_no_orders_number_belongs_to_none(number: str) -> None:
    assert kind_of(number) is None


def price(level: DoctorLevel, yuan: str) -> LevelPrice:
    return LevelPrice(level, level, Decimal(yuan))


CONFIG = replace(
    a_config(),
    consultation_prices=ConsultationPrices(
        text=(price(DoctorLevel.CHIEF, "99.90"), price(DoctorLevel.ATTENDING, "39.90")),
        phone=(price(DoctorLevel.RESIDENT, "0"),),
    ),
)


@pytest.mark.parametrize(
    ("type", "level", "yuan"),
    [
        (TEXT, DoctorLevel.CHIEF, "99.90"),
        (TEXT, DoctorLevel.ATTENDING, "39.90"),
        (TEXT, DoctorLevel.RESIDENT, None),  # not listed: not offered, never free
        (PHONE, DoctorLevel.RESIDENT, "0"),
        (VIDEO, DoctorLevel.CHIEF, None),
    ],
)
def test_a_level_has_the_price_that_is_listed(
    type: ConsultationType, level: DoctorLevel, yuan: str | None
) -> None:
    expected = None if yuan is None else Decimal(yuan)
    assert CONFIG.consultation_price(type, level) == expected


@pytest.mark.parametrize(("type", "yuan"), [(TEXT, "39.90"), (PHONE, "0"), (VIDEO, None)])
def test_a_pool_costs_what_its_cheapest_level_costs(
    type: ConsultationType, yuan: str | None
) -> None:
    assert CONFIG.quick_price(type) == (None if yuan is None else Decimal(yuan))
