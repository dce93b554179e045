"""Which slots a batch comes to."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.schedule import (
    BadTimeSlot,
    Skipped,
    SkipReason,
    TimeSlot,
    days_on,
    expand,
    first_overlap,
    parse_time_slot,
    session,
    weekday,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
MORNING = TimeSlot(time(9), time(10))
LATER = TimeSlot(time(10), time(11))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_a_time_slot_is_read_as_it_is_written() -> None:
    assert parse_time_slot("09:00-10:30") == TimeSlot(time(9), time(10, 30))
    assert str(parse_time_slot("09:00-10:30")) == "09:00-10:30"


@pytest.mark.parametrize(
    "text",
    ["", "9:00-10:00", "09:00 - 10:00", "09:00–10:00", "24:00-25:00", "09:60-10:00", "09:00",
     "09:00-10:00\n", "09:00-10:00 ", "10:00-09:00", "09:00-09:00", "٠٩:٠٠-١٠:٠٠"],
)  # fmt: skip
def test_what_is_no_span_of_one_day_is_refused(text: str) -> None:
    with pytest.raises(BadTimeSlot):
        parse_time_slot(text)


@given(st.times(), st.times())
def test_every_span_of_minutes_reads_back_the_same(one: time, other: time) -> None:
    start, end = sorted((time(one.hour, one.minute), time(other.hour, other.minute)))
    if start < end:
        slot = TimeSlot(start, end)
        assert parse_time_slot(str(slot)) == slot


def test_slots_that_touch_do_not_overlap() -> None:
    assert first_overlap([LATER, MORNING]) is None


def test_slots_that_share_a_minute_overlap_in_any_order() -> None:
    inside = TimeSlot(time(9, 59), time(10, 30))
    assert first_overlap([LATER, inside, MORNING]) == (MORNING, inside)
    assert first_overlap([MORNING, MORNING]) == (MORNING, MORNING)


def test_the_week_begins_with_sunday_as_zero() -> None:
    assert weekday(date(2026, 11, 22)) == 0  # a Sunday
    assert weekday(date(2026, 11, 28)) == 6


def test_only_the_given_weekdays_are_taken_and_both_ends_count() -> None:
    days = days_on(date(2026, 11, 22), date(2026, 11, 29), {0, 3})
    assert days == [date(2026, 11, 22), date(2026, 11, 25), date(2026, 11, 29)]


def test_a_session_is_in_the_hospitals_zone() -> None:
    made = session(date(2026, 11, 22), MORNING, SHANGHAI)
    assert made.starts_at == datetime(2026, 11, 22, 1, tzinfo=UTC)
    assert made.ends_at == datetime(2026, 11, 22, 2, tzinfo=UTC)


def test_sessions_come_in_order_of_time() -> None:
    days = [date(2026, 11, 23), date(2026, 11, 24)]
    wanted, skipped = expand(days, [LATER, MORNING], zone=SHANGHAI, now=LONG_AGO)
    assert skipped == []
    assert wanted == sorted(wanted, key=lambda one: one.starts_at)
    assert len(wanted) == 4


def test_what_has_begun_is_past() -> None:
    day = date(2026, 11, 23)
    nine = datetime(2026, 11, 23, 9, tzinfo=SHANGHAI)
    wanted, skipped = expand([day], [MORNING, LATER], zone=SHANGHAI, now=nine)
    assert skipped == [Skipped(day, MORNING, SkipReason.PAST)]
    assert [one.slot for one in wanted] == [LATER]


def test_holidays_are_skipped_only_when_given() -> None:
    day = date(2027, 1, 1)
    wanted, _ = expand([day], [MORNING], zone=SHANGHAI, now=LONG_AGO)
    assert len(wanted) == 1
    wanted, skipped = expand([day], [MORNING], zone=SHANGHAI, now=LONG_AGO, holidays=[day])
    assert wanted == []
    assert skipped == [Skipped(day, MORNING, SkipReason.HOLIDAY)]


def test_a_slot_in_the_hour_that_summer_time_takes_away_does_not_exist() -> None:
    day, slot = date(2026, 3, 29), TimeSlot(time(2, 30), time(3))
    wanted, skipped = expand([day], [slot], zone=ZoneInfo("Europe/Berlin"), now=LONG_AGO)
    assert wanted == []
    assert skipped == [Skipped(day, slot, SkipReason.NO_SUCH_TIME)]
