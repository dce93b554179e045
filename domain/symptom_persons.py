"""Whom a text names: 老婆怀孕8周, 宝宝40天. Many order under their own person for somebody else."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from domain.account import Gender
from domain.symptom_phrases import NUMBER, normalised, number

ADULT = 18 * 12  # months
DAYS_OF_A_MONTH = 30.44


@dataclass(frozen=True)
class Person:
    """Of an age between these, in months. `gender` is None where nobody knows it."""

    from_months: float = 0
    under_months: float = float("inf")
    gender: Gender | None = None

    @classmethod
    def aged(cls, months: int | None, gender: Gender | None) -> "Person":
        return cls(gender=gender) if months is None else cls(months, months + 1, gender)

    @property
    def is_minor(self) -> bool:
        return self.under_months <= ADULT


@dataclass(frozen=True)
class Named:
    """Words for a person, and what they tell. `vague`: of the age only a guess, such as 孩子."""

    words: tuple[str, ...]
    gender: Gender | None = None
    from_years: int | None = None
    under_months: int | None = None
    vague: bool = False

    def presumed(self, own: Person) -> Person:
        """Where no age is told. A child of whom a child's order speaks is the one it is for."""
        if self.vague and own.is_minor:
            return Person(own.from_months, own.under_months, self.gender)
        under = float("inf") if self.under_months is None else self.under_months
        return Person(12 * (self.from_years or 0), under, self.gender)


_MONTHS = (  # in a unit, by what stands in it first: 周岁 is a 岁
    ("岁", 12), ("year", 12),
    ("天", 1 / DAYS_OF_A_MONTH), ("日", 1 / DAYS_OF_A_MONTH), ("day", 1 / DAYS_OF_A_MONTH),
    ("周", 7 / DAYS_OF_A_MONTH), ("星期", 7 / DAYS_OF_A_MONTH), ("礼拜", 7 / DAYS_OF_A_MONTH),
    ("week", 7 / DAYS_OF_A_MONTH), ("月", 1), ("month", 1),
)  # fmt: skip
_AGE = (
    rf"(?P<count>{NUMBER})[多来余]?[ -]?(?P<unit>周?岁|天|周|个?星期|个?礼拜|个(?:多|半){{0,2}}月"
    r"|[日月](?=[龄大])|(?:year|day|week|month)s?(?![a-z]))"
)
# 宝宝3天没拉, 8 weeks pregnant: that is not how old the person is.
_NO_AGE = r"(?! ?(?:没|不|未|前|后|内|来|以|怀|孕|pregnant|ago|of|without))"
_FILLER = (
    r"(?:\n|出生|生下来|刚|才|今年|现在|目前|快|已|有|是|满|大概|差不多|了|后|第|is|aged|now|'s| )"
)
_BEHIND = re.compile(rf"{_FILLER}{{0,5}}{_AGE}{_NO_AGE}")
_BEFORE = re.compile(rf"{_AGE}[ -]?(?:大|龄|old)?的?[ -]?[男女小]?$")
_BORN = re.compile(rf"(?:出生|生下来|生后){_FILLER}{{0,2}}{_AGE}{_NO_AGE}")
_OLD = re.compile(rf"{_AGE}(?:龄|[ -]?old|大(?=$|[\n的了男女宝婴孩娃]))")
LONGEST_AGE = 24  # characters before a person in which the age may stand


class PersonReader:
    """Finds the persons of whom a text speaks."""

    def __init__(self, named: Iterable[Named]) -> None:
        self._named = {normalised(word): entry for entry in named for word in entry.words}
        words = sorted(self._named, key=len, reverse=True)
        lettered = "|".join(re.escape(word) for word in words if word.isascii())
        others = "|".join(re.escape(word) for word in words if not word.isascii())
        self._word = re.compile(rf"(?<![a-z])(?:{lettered or '(?!)'})(?![a-z])|{others or '(?!)'}")

    def persons(self, text: str, own: Person) -> frozenset[Person]:
        """Those beside `own`, for whom the order is. `text` has a line for each clause."""
        ages: dict[Named, set[int]] = {}
        for found in self._word.finditer(text):
            stated = ages.setdefault(self._named[found[0]], set())
            stated |= set(_ages_at(text, found.start(), found.end()))
        persons = {Person.aged(age, None) for age in _ages_alone(text)}
        for entry, stated in ages.items():
            persons |= _persons_of(entry, stated, own)
        return frozenset(persons)


def _persons_of(entry: Named, stated: Iterable[int], own: Person) -> set[Person]:
    aged = {Person.aged(age, entry.gender) for age in stated if age >= 12 * (entry.from_years or 0)}
    return aged or {entry.presumed(own)}


def _ages_at(text: str, begin: int, end: int) -> Iterator[int]:
    if behind := _BEHIND.match(text, end):
        yield _months(behind["count"], behind["unit"])
    if before := _BEFORE.search(text[max(0, begin - LONGEST_AGE) : begin]):
        yield _months(before["count"], before["unit"])


def _ages_alone(text: str) -> Iterator[int]:
    """出生40天, two-month-old: of a person who is not named."""
    for pattern in (_BORN, _OLD):
        for found in pattern.finditer(text):
            yield _months(found["count"], found["unit"])


def _months(count: str, unit: str) -> int:
    each = next(months for part, months in _MONTHS if part in unit)
    return int(number(count) * each)
