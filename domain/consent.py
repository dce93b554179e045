"""Consents (知情同意): the texts a person accepts before care. Rule R20 of `cn-2022`."""

import hashlib
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from domain.words import Words

OF_AGE = 18


class ConsentKind(StrEnum):
    ONLINE_CARE = "online_care"  # 互联网诊疗知情同意
    GUARDIAN = "guardian"  # 监护人同意, for a minor


@dataclass(frozen=True)
class ConsentText:
    """One version. It is never edited: another text is another version."""

    kind: ConsentKind
    version: str
    valid_from: date
    title: Words
    text: Words

    @property
    def digest(self) -> bytes:
        """Of everything a person read, so that it can be proved later which text it was."""
        parts = (self.title.zh, self.text.zh, self.title.en, self.text.en)
        return hashlib.sha256("\0".join(parts).encode()).digest()


@dataclass(frozen=True)
class ConsentTexts:
    """The file, whole: also past versions, and those to come."""

    consents: tuple[ConsentText, ...]

    def current(self, kind: ConsentKind, today: date) -> ConsentText | None:
        """The newest that is valid today."""
        begun = [text for text in self.consents if text.kind is kind and text.valid_from <= today]
        return max(begun, key=lambda text: text.valid_from, default=None)


def needed_consents(age: int) -> tuple[ConsentKind, ...]:
    """What must be accepted for a patient of this age (full years)."""
    if age < OF_AGE:
        return (ConsentKind.ONLINE_CARE, ConsentKind.GUARDIAN)
    return (ConsentKind.ONLINE_CARE,)
