"""Whose moves are allowed when, and which instants a booking promises."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import Capacity
from domain.appointment import (
    AppointmentStatus,
    Booking,
    Reason,
    Terms,
    cancel_deadline,
    cancel_reason,
    plan,
    refund_share,
    refusal,
    reminder_times,
)
from domain.hospital import AppointmentPolicy

S = AppointmentStatus
C = Capacity
SHANGHAI = ZoneInfo("Asia/Shanghai")
TERMS = Terms.of(AppointmentPolicy())
DAY = date(2026, 11, 23)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def at(hour: int, minute: int = 0, *, days: int = 0) -> datetime:
    return datetime.combine(DAY + timedelta(days=days), time(hour, minute), tzinfo=SHANGHAI)


LONG_BEFORE = at(9, days=-7)


def booked(starts_at: datetime, terms: Terms = TERMS) -> Booking:
    return plan(
        "A1",
        7,
        3,
        starts_at=starts_at,
        booked_at=LONG_BEFORE,
        pay_by=LONG_BEFORE + terms.payment_window,
        terms=terms,
        zone=SHANGHAI,
    )


NINE = booked(at(9))


class TestReminders:
    @pytest.mark.parametrize(
        ("starts_at", "leads", "expected"),
        [
            (at(10), [24, 2], [at(10, days=-1), at(8)]),
            (at(15), [24, 2], [at(15, days=-1), at(13)]),
            (at(9), [2], [at(8)]),  # 07:00 waits for the quiet hours' end
            (at(8), [2], [at(21, days=-1)]),  # 06:00 cannot wait: the evening before
            (at(8, 30), [2], [at(8)]),
            (at(0, 30), [2], [at(21, days=-1)]),  # 22:30 the day before
            (at(23, 30), [1], [at(21)]),  # 22:30 would wait until after the visit
            (at(22), [24], [at(8)]),  # 22:00 the day before waits for the morning
            (at(21, 59), [24], [at(21, 59, days=-1)]),
            (at(8), [2, 3, 4], [at(21, days=-1)]),  # three on one evening are one
            (at(9), [], []),
        ],
    )
    def test_wait_for_the_morning_or_go_the_evening_before(self, starts_at, leads, expected):
        terms = replace(TERMS, reminders=tuple(HOUR * lead for lead in leads))
        assert list(reminder_times(starts_at, LONG_BEFORE, terms, SHANGHAI)) == expected

    def test_equal_quiet_hours_are_none(self):
        terms = replace(TERMS, quiet_from=time(0), quiet_until=time(0), reminders=(2 * HOUR,))
        assert reminder_times(at(5), LONG_BEFORE, terms, SHANGHAI) == (at(3),)

    def test_those_that_were_due_before_the_booking_are_not_told(self):
        assert reminder_times(at(15), at(14), TERMS, SHANGHAI) == ()
        assert reminder_times(at(15), at(12), TERMS, SHANGHAI) == (at(13),)

    @given(
        minutes=st.integers(0, 24 * 60 - 1),
        leads=st.lists(st.integers(1, 72 * 60), max_size=4),
        ahead=st.integers(0, 96 * 60),
    )
    def test_are_always_ahead_in_order_and_never_in_the_quiet_hours(self, minutes, leads, ahead):
        starts_at = at(0) + MINUTE * minutes
        terms = replace(TERMS, reminders=tuple(MINUTE * lead for lead in leads))
        booked_at = starts_at - MINUTE * ahead
        times = reminder_times(starts_at, booked_at, terms, SHANGHAI)
        assert list(times) == sorted(set(times))
        assert all(booked_at < due < starts_at for due in times)
        assert all(time(8) <= due.astimezone(SHANGHAI).time() < time(22) for due in times)


class TestPlan:
    def test_every_instant_is_fixed_at_the_booking(self):
        assert NINE.pay_by == LONG_BEFORE + timedelta(minutes=15)
        assert NINE.cancel_by == at(0)
        assert NINE.check_in_from == at(8, 30)
        assert NINE.no_show_at == at(9, 30)
        assert NINE.closes_at == at(0, days=1)

    def test_the_zone_is_the_hospitals(self):
        tokyo = ZoneInfo("Asia/Tokyo")
        starts_at = at(23, 30)  # in Tokyo already tomorrow
        assert cancel_deadline(starts_at.astimezone(tokyo).date(), TERMS, tokyo) == at(23)
        assert booked(starts_at.astimezone(tokyo)).cancel_by == at(0)

    def test_a_visit_just_before_midnight_is_not_closed_before_the_last_check_in(self):
        late = booked(at(23, 45))
        assert late.no_show_at == at(0, 15, days=1)
        assert late.closes_at == at(0, days=2)

    @pytest.mark.parametrize(
        ("days_before", "until", "expected"),
        [
            (1, time(23, 59), at(0)),  # 23:59:30 is still in time for 23:59
            (1, time(18), at(18, 1, days=-1)),
            (0, time(7), at(7, 1)),
            (3, time(12, 30), at(12, 31, days=-3)),
        ],
    )
    def test_the_last_minute_to_cancel_is_the_whole_minute(self, days_before, until, expected):
        terms = replace(TERMS, cancel_days_before=days_before, cancel_until=until)
        assert cancel_deadline(DAY, terms, SHANGHAI) == expected


NO = "not_allowed"
LATE = "late_cancel"
EARLY = "check_in_not_open"
EVERYBODY = (C.OWNER, C.ITS_DOCTOR, C.OPERATOR, C.NURSE)
BEFORE, TODAY = at(8, days=-1), at(8, 45)  # of the visit at nine

# What is refused, by the status it is in: to → who → when. All else is allowed.
MOVES = {
    S.PENDING: {S.CONFIRMED, S.CANCELLED},
    S.CONFIRMED: {S.CHECKED_IN, S.NO_SHOW, S.CANCELLED},
    S.CHECKED_IN: {S.COMPLETED, S.CANCELLED},
    S.COMPLETED: set(),
    S.CANCELLED: set(),
    S.NO_SHOW: set(),
}
EXCEPTIONS = {
    (S.CONFIRMED, S.CHECKED_IN, C.OWNER, BEFORE): EARLY,
    (S.CONFIRMED, S.CHECKED_IN, C.ITS_DOCTOR, BEFORE): EARLY,
    (S.CONFIRMED, S.CHECKED_IN, C.OPERATOR, BEFORE): EARLY,
    (S.CONFIRMED, S.CHECKED_IN, C.NURSE, BEFORE): EARLY,
    (S.CONFIRMED, S.CANCELLED, C.OWNER, TODAY): LATE,
    (S.CHECKED_IN, S.CANCELLED, C.OWNER, BEFORE): NO,
    (S.CHECKED_IN, S.CANCELLED, C.OWNER, TODAY): NO,
}


class TestRefusals:
    @pytest.mark.parametrize("now", [BEFORE, TODAY], ids=["day-before", "today"])
    @pytest.mark.parametrize("by", EVERYBODY)
    @pytest.mark.parametrize("to", S)
    @pytest.mark.parametrize("status", S)
    def test_every_status_move_and_capacity(self, status, to, by, now):
        ruled = NO if to not in MOVES[status] else None
        assert refusal(status, to, NINE, now, by) == EXCEPTIONS.get((status, to, by, now), ruled)

    def test_windows_open_and_close_on_the_instant(self):
        def check_in(now):
            return refusal(S.CONFIRMED, S.CHECKED_IN, NINE, now, C.OWNER)

        def cancel(now):
            return refusal(S.CONFIRMED, S.CANCELLED, NINE, now, C.OWNER)

        instant = timedelta(microseconds=1)
        assert check_in(NINE.check_in_from - instant) == EARLY
        assert check_in(NINE.check_in_from) is None
        assert cancel(NINE.cancel_by - instant) is None
        assert cancel(NINE.cancel_by) == LATE

    def test_a_promised_share_makes_late_cancelling_possible(self):
        shared = replace(NINE, late_refund_share=Decimal("0.5"))
        assert refusal(S.CONFIRMED, S.CANCELLED, shared, TODAY, C.OWNER) is None

    def test_what_is_unpaid_can_be_cancelled_at_any_time(self):
        assert refusal(S.PENDING, S.CANCELLED, NINE, TODAY, C.OWNER) is None

    def test_open_is_what_can_still_move(self):
        assert {status for status in S if status.open} == {s for s in S if MOVES[s]}


class TestCancelling:
    @pytest.mark.parametrize(
        ("status", "now", "by", "reason"),
        [
            (S.PENDING, BEFORE, C.OWNER, Reason.PATIENT),
            (S.PENDING, TODAY, C.OWNER, Reason.PATIENT),
            (S.CONFIRMED, BEFORE, C.OWNER, Reason.PATIENT),
            (S.CONFIRMED, TODAY, C.OWNER, Reason.LATE),
            (S.CONFIRMED, TODAY, C.OPERATOR, Reason.CLINIC),
            (S.CHECKED_IN, TODAY, C.OPERATOR, Reason.CLINIC),
        ],
    )
    def test_what_it_is_called_follows_from_who_and_when(self, status, now, by, reason):
        assert cancel_reason(status, NINE, now, by) is reason

    @pytest.mark.parametrize("reason", Reason)
    def test_only_the_late_get_a_share(self, reason):
        shared = replace(NINE, late_refund_share=Decimal("0.3"))
        expected = Decimal("0.3") if reason is Reason.LATE else Decimal(1)
        assert refund_share(reason, shared) == expected
