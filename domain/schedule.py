"""When a doctor sees patients (排班): time slots, weekdays, and what a batch comes to."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

MAX_BATCH_DAYS = 366
MAX_BATCH_SLOTS = 48  # a day in half hours
MAX_SOURCES_PER_SLOT = 200
# One batch is one transaction that other schedulers of the same doctor wait for: a few seconds.
MAX_BATCH_SOURCES = 200_000
MAX_LISTED_DAYS = 62


class BadTimeSlot(ValueError):
    """Not a span of one day written `09:00-10:00`."""


class ScheduleStatus(StrEnum):
    AVAILABLE = "available"
    FULL = "full"
    UNAVAILABLE = "unavailable"  # withdrawn, begun, or closed to booking with no source at all


class SkipReason(StrEnum):
    """Why a batch did not create a slot."""

    EXISTS = "exists"
    OVERLAP = "overlap"  # with another slot of this doctor, in whichever department
    HOLIDAY = "holiday"
    PAST = "past"  # has begun
    NO_SUCH_TIME = "no_such_time"  # the clocks go forward over it


@dataclass(frozen=True, order=True)
class TimeSlot:
    """A local span (时段) within one day, `start < end`."""

    start: time
    end: time

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True)
class Session:
    """A slot on a day, with its instants in UTC."""

    date: date
    slot: TimeSlot
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True)
class Skipped:
    date: date
    slot: TimeSlot
    reason: SkipReason


_SLOT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


def parse_time_slot(text: str) -> TimeSlot:
    """`09:00-10:00`, and nothing else. Raises BadTimeSlot."""
    fits = _SLOT.fullmatch(text)
    if not fits:
        raise BadTimeSlot("expected a time slot such as 09:00-10:00")
    start_hour, start_minute, end_hour, end_minute = map(int, fits.groups())
    slot = TimeSlot(time(start_hour, start_minute), time(end_hour, end_minute))
    if slot.start >= slot.end:
        raise BadTimeSlot("a time slot ends after its start, on the same day")
    return slot


def first_overlap(slots: Iterable[TimeSlot]) -> tuple[TimeSlot, TimeSlot] | None:
    """Two slots of one day that meet (or are the same), if there are any."""
    ordered = sorted(slots)
    return next((pair for pair in pairwise(ordered) if pair[1].start < pair[0].end), None)


def weekday(day: date) -> int:
    """0 = Sunday … 6 = Saturday, as the specification counts."""
    return day.isoweekday() % 7


def days_on(first: date, last: date, weekdays: Collection[int]) -> list[date]:
    """The days from first to last, both included, that fall on one of these weekdays."""
    span = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [day for day in span if weekday(day) in weekdays]


def session(day: date, slot: TimeSlot, zone: ZoneInfo) -> Session:
    starts, ends = (
        datetime.combine(day, at, tzinfo=zone).astimezone(UTC) for at in (slot.start, slot.end)
    )
    return Session(day, slot, starts, ends)


def expand(
    days: Sequence[date],
    slots: Sequence[TimeSlot],
    *,
    zone: ZoneInfo,
    now: datetime,
    holidays: Collection[date] = (),
) -> tuple[list[Session], list[Skipped]]:
    """One session per day and slot in order of time, and those that cannot be, with the reason."""
    wanted: list[Session] = []
    skipped: list[Skipped] = []
    for day in days:
        for slot in sorted(slots):
            candidate = session(day, slot, zone)
            if day in holidays:
                skipped.append(Skipped(day, slot, SkipReason.HOLIDAY))
            elif candidate.starts_at >= candidate.ends_at:
                skipped.append(Skipped(day, slot, SkipReason.NO_SUCH_TIME))
            elif candidate.starts_at <= now:
                skipped.append(Skipped(day, slot, SkipReason.PAST))
            else:
                wanted.append(candidate)
    return wanted, skipped
