"""What one value of a configuration may be, and how it is read from its text."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, get_origin

from runtime.config_source import FROM_ENVIRONMENT, Entry


def expected_of(hint: Any) -> str:
    if is_dataclass(hint):
        return f"the fields {', '.join(field.name for field in fields(hint))}"
    if get_origin(hint) in (tuple, frozenset):
        return "a list"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    expected: str = _SCALARS[hint][0]
    return expected


def parse(hint: Any, entry: Entry) -> Any:
    """The value, or None when the entry is none of this type."""
    if not isinstance(entry.value, str) or entry.kind == "null":
        return None
    if issubclass(hint, Enum):
        return next((member for member in hint if member.value == entry.value), None)
    _, kinds, read = _SCALARS[hint]
    if kinds and entry.kind not in (*kinds, FROM_ENVIRONMENT):
        return None
    return read(entry.value)


def _text(text: str) -> str | None:
    return text if text.strip() else None


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,8}", text) else None


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _amount(text: str) -> Decimal | None:
    fits = re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,2})?", text)
    return Decimal(text).quantize(Decimal("0.01")) if fits else None


def _local_time(text: str) -> time | None:
    fits = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", text)
    return time(int(fits[1]), int(fits[2])) if fits else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>[0-9]{1,4})W)?(?:(?P<days>[0-9]{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,7})M)?"
    r"(?:(?P<seconds>[0-9]{1,8}(?:\.[0-9]{1,6})?)S)?)?"
)


def _duration(text: str) -> timedelta | None:
    """ISO 8601 without years and months, whose length depends on the calendar."""
    fits = _DURATION.fullmatch(text)
    if not fits:
        return None
    return timedelta(**{unit: float(count) for unit, count in fits.groupdict(default="0").items()})


# What is expected, what YAML must take it for (any, when empty), and how it is read.
_SCALARS: dict[Any, tuple[str, tuple[str, ...], Callable[[str], Any]]] = {
    str: ("a text (in quotes where YAML would take it for something else)", ("str",), _text),
    int: ("a whole number from 0, without quotes", ("int",), _whole),
    bool: ("true or false", ("bool",), _truth),
    Decimal: ("a number with at most two decimals such as 19.90, not negative", (), _amount),
    date: ("a day such as 2027-01-01", (), _day),
    time: ('a time of day such as "07:30"', (), _local_time),
    timedelta: ("an ISO 8601 duration such as PT15M", (), _duration),
}
