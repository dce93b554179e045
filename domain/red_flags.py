"""Red flags: what no online consultation may keep a person from taking to emergency care.

The rules are the hospital's data (`config/red_flags.yaml`); how they are judged is here. Asked
before anything is charged. When in doubt a flag is raised: see
docs/decisions/0018-red-flags-are-data-asked-before-charging.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from domain.account import Gender
from domain.symptom_denials import Denials
from domain.symptom_persons import Named, Person, PersonReader
from domain.symptom_phrases import Phrase
from domain.symptom_text import Read, Reader, clauses
from domain.words import Words


class Severity(StrEnum):
    IMMEDIATE = "immediate"  # call 120 now
    URGENT = "urgent"  # to an emergency department within hours


@dataclass(frozen=True)
class Source:
    """`checked`: title and year are certain. It says nothing of a physician's review."""

    title: str
    year: int
    checked: bool


@dataclass(frozen=True)
class Combination:
    """Every group is found (one phrase of it), and the person is of this age and gender."""

    all_of: tuple[tuple[str, ...], ...]
    under_months: int | None = None
    from_years: int | None = None
    gender: Gender | None = None

    def is_for(self, person: Person) -> bool:
        """Of an unknown age nothing is presumed; of an unknown gender everything: an age narrows
        what is common, a gender only leaves out what cannot be."""
        if self.under_months is not None and person.under_months > self.under_months:
            return False
        if self.from_years is not None and person.from_months < 12 * self.from_years:
            return False
        return self.gender is None or person.gender in (None, self.gender)


@dataclass(frozen=True)
class RedFlag:
    id: str
    severity: Severity
    name: Words
    advice: Words
    sources: tuple[Source, ...]
    terms: tuple[str, ...] = ()  # each is enough alone
    combinations: tuple[Combination, ...] = ()

    @property
    def written(self) -> Iterable[str]:
        """Every phrase in it."""
        yield from self.terms
        for combination in self.combinations:
            for group in combination.all_of:
                yield from group


@dataclass(frozen=True)
class RedFlags:
    """The file, whole."""

    denials: Denials
    ignored: tuple[str, ...]
    flags: tuple[RedFlag, ...]
    degrees: tuple[str, ...] = ()
    persons: tuple[Named, ...] = ()

    @cached_property
    def _phrases(self) -> dict[str, Phrase]:
        return {text: Phrase.of(text) for flag in self.flags for text in flag.written}

    @cached_property
    def _reader(self) -> Reader:
        families = {
            flag.id: [word for text in flag.written for word in self._phrases[text].words]
            for flag in self.flags
        }
        return Reader(self.denials, families, self.degrees, self.ignored)

    @cached_property
    def _person_reader(self) -> PersonReader:
        return PersonReader(self.persons)

    def read(self, text: str) -> Read:
        return self._reader.read(text)

    def persons_in(self, text: str, own: Person) -> frozenset[Person]:
        """Whom it may be about: for whom it is ordered, and who is named."""
        return self._person_reader.persons("\n".join(clauses(text)), own) | {own}

    def raised(self, flag: RedFlag, read: Read, persons: Iterable[Person]) -> bool:
        if any(read.has(self._phrases[term]) for term in flag.terms):
            return True
        return any(
            any(combination.is_for(person) for person in persons)
            and all(any(read.has(self._phrases[p]) for p in group) for group in combination.all_of)
            for combination in flag.combinations
        )


def red_flags_in(
    rules: RedFlags,
    *texts: str | None,
    age_in_months: int | None = None,
    gender: Gender | None = None,
) -> tuple[RedFlag, ...]:
    """The flags that complaint, description and symptoms raise together, the gravest first.

    A text is never read on into the next one; a combination may be met across several. Age and
    gender are those of the person it is ordered for.
    """
    text = "\n".join(text for text in texts if text)
    read = rules.read(text)
    persons = rules.persons_in(text, Person.aged(age_in_months, gender))
    raised = [flag for flag in rules.flags if rules.raised(flag, read, persons)]
    return tuple(sorted(raised, key=lambda flag: list(Severity).index(flag.severity)))
