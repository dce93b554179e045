"""`config/hospital.yaml` and `HOSPITAL_POLICIES__…`, checked whole: all problems, one line each.

The shape is that of `domain.hospital.HospitalConfig`: a field added there is known here at once.
What a type cannot say (a duration above zero, channels that exist) is in `RULES`, and what concerns
several entries (a department's parent) in `_across`.
"""

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

from domain.hospital import HospitalConfig, Policies, QuietHours
from domain.symptom_phrases import Phrase
from runtime.config_scalars import expected_of, parse
from runtime.config_source import (
    Entry,
    Place,
    Problem,
    join,
    nearest,
    overlay,
    read_file,
)

Values = TypeVar("Values")


class ConfigError(Exception):
    """The configuration does not fit. The text is the problems, a line each."""

    def __init__(self, problems: list[Problem]) -> None:
        lines = sorted(problems, key=lambda problem: problem.place.line)
        self.problems = tuple(dict.fromkeys(str(problem) for problem in lines))
        super().__init__("\n".join(self.problems))


def load_config(path: Path, environ: Mapping[str, str]) -> HospitalConfig:
    """Raises ConfigError with every problem of the file and of the environment."""
    root, problems = read_file(path)
    if root is None:
        raise ConfigError(problems)
    if isinstance(root.value, dict):
        problems += overlay(root, environ, Policies)
    reader = Reader(problems)
    config = reader.read(HospitalConfig, root, "")
    _across(reader)
    if problems:
        raise ConfigError(problems)
    assert isinstance(config, HospitalConfig)  # noqa: S101 - an unread entry is a problem
    return config


def load_values(
    cls: type[Values], path: Path, across: "Callable[[Reader], None] | None" = None
) -> Values:
    """Another file than the hospital's, in the shape of this dataclass; `across` notes what
    concerns several entries. Raises ConfigError."""
    root, problems = read_file(path)
    if root is None:
        raise ConfigError(problems)
    reader = Reader(problems)
    values = reader.read(cls, root, "")
    if across is not None:
        across(reader)
    if problems:
        raise ConfigError(problems)
    assert isinstance(values, cls)  # noqa: S101 - an unread entry is a problem
    return values


class Rule(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str


def _one_of(*words: str) -> Rule:
    return Rule(lambda value: value in words, f"one of {', '.join(words)}")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder of the database, or a path out of it
        return False
    return True


_AT_LEAST_ONE = Rule(lambda number: number >= 1, "a whole number from 1")
_LASTING = Rule(lambda span: span > timedelta(0), "an ISO 8601 duration above zero such as PT15M")

# By the field's path without list positions.
RULES: dict[str, Rule] = {
    "hospital.id": _AT_LEAST_ONE,
    "hospital.time_zone": Rule(_is_zone, "a time zone of the IANA database such as Asia/Shanghai"),
    "departments.id": _AT_LEAST_ONE,
    "prescription_rules.max_days": _AT_LEAST_ONE,
    "prescription_rules.max_drugs": _AT_LEAST_ONE,
    "prescription_rules.audit_type": _one_of("pharmacist"),
    "prescription_rules.control_drugs.max_days": _AT_LEAST_ONE,
    "policies.appointment.payment_window": _LASTING,
    "policies.appointment.reminders": _LASTING,
    "policies.appointment.late_refund_share": Rule(
        lambda share: share <= 1, "a share between 0 and 1"
    ),
    "policies.appointment.horizon_days": _AT_LEAST_ONE,
    "policies.appointment.open_per_day": _AT_LEAST_ONE,
    "policies.appointment.suspend_after_no_shows": _AT_LEAST_ONE,
    "policies.appointment.no_show_period": _LASTING,
    "policies.appointment.offer_window": _LASTING,
    "policies.appointment.choose_within": _LASTING,
    **{
        f"policies.consultation.{name}": _LASTING
        for name in (
            "payment_window",
            "accept_text",
            "accept_live",
            "escalate_after",
            "text_window",
            "text_extension",
            "live_window",
            "live_extension",
            "join_within",
            "leave_grace",
            "redial_after",
            "ring_for",
            "dispatch_for",
            "seen_within",
            "evidence_within",
            "schedule_ahead",
            "rate_within",
        )
    },
    "policies.payment.channels": _one_of("sandbox", "wechat_native", "wechat_jsapi"),
    "policies.payment.refund_retry_for": _LASTING,
    "policies.payment.refund_poll": _LASTING,
    "policies.messages.order": _one_of("sms", "email"),
    "policies.messages.sms": _one_of("console", "twilio"),
    "policies.messages.email": _one_of("console", "smtp"),
    "policies.messages.voice": _one_of("console", "twilio"),
    "policies.messages.receipt_timeout": _LASTING,
    "policies.messages.default_language": _one_of("zh", "en"),
    "policies.accounts.code_valid": _LASTING,
    "policies.accounts.code_tries": _AT_LEAST_ONE,
    "policies.accounts.codes_per_phone_per_day": _AT_LEAST_ONE,
    "policies.accounts.codes_per_address_per_hour": _AT_LEAST_ONE,
    "policies.accounts.failed_logins": _AT_LEAST_ONE,
    "policies.accounts.failed_logins_window": _LASTING,
    "policies.accounts.access_token": _LASTING,
    "policies.accounts.refresh_token": _LASTING,
    "policies.work_items.lease": _LASTING,
    "policies.work_items.remind_after": _LASTING,
    "policies.files.max_bytes": Rule(
        lambda size: 1024 <= size <= 100 * 1024 * 1024, "bytes, from 1024 to 104857600"
    ),
    "policies.files.max_pixels": Rule(
        lambda count: 1 <= count <= 100_000_000, "pixels, from 1 to 100000000"
    ),
    "policies.files.link_valid": _LASTING,
    "policies.files.orphan_after": Rule(
        lambda span: span >= timedelta(hours=1), "an ISO 8601 duration from PT1H"
    ),
}


def _is_phrase(text: str) -> bool:
    try:
        Phrase.of(text)
    except ValueError:
        return False
    return True


# In the other files.
_PHRASE = Rule(_is_phrase, "a phrase such as 胸口|心口~疼|痛, no part of it empty")
_CODE = Rule(
    lambda text: re.fullmatch(r"[a-z][a-z0-9_]*", text) is not None, "a word such as chest_pain"
)
RULES |= {
    "consents.version": Rule(
        lambda text: re.fullmatch(r"[A-Za-z0-9._-]{1,40}", text) is not None,
        "a version such as 2026-01",
    ),
    "denials.now": _PHRASE,
    "ignored": _PHRASE,
    "flags.id": _CODE,
    "flags.terms": _PHRASE,
    "flags.combinations.all_of": _PHRASE,
    "flags.sources.year": Rule(lambda year: 1950 <= year <= 2100, "a year such as 2019"),
}


class _Unread:
    """Stands for a value that did not fit; the problem is noted."""


UNREAD = _Unread()


class Reader:
    """Turns entries into the values of a type, noting every problem, and where each value stood."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.values: dict[str, Any] = {}  # of scalars that fit, by path
        self.places: dict[str, Place] = {}
        self.lengths: dict[str, int] = {}

    def note(self, path: str, text: str) -> None:
        self.problems.append(Problem(self.places[path], path, text))

    def distinct(self, path: str, name: str) -> None:
        """Note the entries of a list that share this field's value."""
        first: dict[Any, Place] = {}
        for index in range(self.lengths.get(path, 0)):
            field = f"{path}[{index}].{name}"
            if field not in self.values:
                continue
            value = self.values[field]
            if value in first:
                self.note(field, f"{value!s} is there twice, first in {first[value]}")
            first.setdefault(value, self.places[field])

    def read(self, hint: Any, entry: Entry, path: str) -> Any:
        self.places[path] = entry.place
        if get_origin(hint) is types.UnionType:
            (hint,) = (arm for arm in get_args(hint) if arm is not types.NoneType)
            if entry.kind == "null":
                self.values[path] = None
                return None
        if is_dataclass(hint):
            return self._group(hint, entry, path)
        if get_origin(hint) in (tuple, frozenset):
            return self._list(hint, entry, path)
        return self._scalar(hint, entry, path)

    def _group(self, cls: Any, entry: Entry, path: str) -> Any:
        known = get_type_hints(cls)
        if not isinstance(entry.value, dict):
            self.note(path, f"expected the fields {', '.join(known)}, got {entry.shown}")
            return UNREAD
        for name, unknown in entry.value.items():
            if name not in known:
                text = f"unknown field; {nearest(name, known)}"
                self.problems.append(Problem(unknown.place, join(path, name), text))
        values = {}
        for field in fields(cls):
            inner = join(path, field.name)
            if field.name in entry.value:
                values[field.name] = self.read(known[field.name], entry.value[field.name], inner)
            elif field.default is MISSING and field.default_factory is MISSING:
                text = f"missing; expected {expected_of(known[field.name])}"
                self.problems.append(Problem(entry.place, inner, text))
                values[field.name] = UNREAD
        return UNREAD if any(value is UNREAD for value in values.values()) else cls(**values)

    def _list(self, hint: Any, entry: Entry, path: str) -> Any:
        if not isinstance(entry.value, list):
            self.note(path, f"expected a list, got {entry.shown}")
            return UNREAD
        self.lengths[path] = len(entry.value)
        values: list[Any] = []
        for index, item in enumerate(entry.value):
            inner = f"{path}[{index}]"
            value = self.read(get_args(hint)[0], item, inner)
            if isinstance(item.value, str) and value is not UNREAD and value in values:
                self.note(inner, f"{item.shown} is listed twice")
            values.append(value)
        return UNREAD if any(value is UNREAD for value in values) else get_origin(hint)(values)

    def _scalar(self, hint: Any, entry: Entry, path: str) -> Any:
        rule = RULES.get(re.sub(r"\[\d+\]", "", path))
        value = parse(hint, entry)
        if value is None or (rule and not rule.holds(value)):
            expected = rule.expected if rule else expected_of(hint)
            self.note(path, f"expected {expected}, got {entry.shown}")
            return UNREAD
        self.values[path] = value
        return value


# What concerns several entries. Entries that did not fit are left out here; they are noted already.


def _across(reader: Reader) -> None:
    _departments(reader)
    for prices in (
        "registration_fees",
        "consultation_prices.text",
        "consultation_prices.video",
        "consultation_prices.phone",
    ):
        reader.distinct(prices, "level")
    _quiet_hours(reader)
    if reader.lengths.get("policies.payment.channels") == 0:
        reader.note("policies.payment.channels", "expected at least one channel")


def _departments(reader: Reader) -> None:
    count = reader.lengths.get("departments", 0)
    if "departments" in reader.lengths and count == 0:
        reader.note("departments", "expected at least one department")
    reader.distinct("departments", "id")
    parents: dict[int, int | None] = {}
    for index in range(count):
        if f"departments[{index}].id" in reader.values:
            parent = reader.values.get(f"departments[{index}].parent_id")
            parents.setdefault(reader.values[f"departments[{index}].id"], parent)
    for index in range(count):
        field = f"departments[{index}].parent_id"
        parent = reader.values.get(field)
        if parent is None:
            continue
        if parent not in parents:
            reader.note(field, f"expected the id of a department, got {parent}")
        elif _comes_back(parents, reader.values.get(f"departments[{index}].id")):
            reader.note(field, f"department {parent} lies below this one: a tree has no circles")


def _comes_back(parents: Mapping[int, int | None], start: int | None) -> bool:
    """Whether going up from `start` arrives at `start` again."""
    seen: set[int] = set()
    at = parents.get(start) if start is not None else None
    while at is not None and at not in seen:
        if at == start:
            return True
        seen.add(at)
        at = parents.get(at)
    return False


def _quiet_hours(reader: Reader) -> None:
    path = "policies.appointment.quiet_hours"
    start = reader.values.get(f"{path}.start", QuietHours.start)
    end = reader.values.get(f"{path}.end", QuietHours.end)
    if start < end:
        field = f"{path}.end" if f"{path}.end" in reader.places else f"{path}.start"
        span = f"{start:%H:%M} to {end:%H:%M}"
        reader.note(field, f"expected a span across midnight (or equal times: none), got {span}")
