"""What the hospital says to people, in the languages it speaks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    zh: str
    en: str
