"""Allergies of a person, in the words of FHIR's AllergyIntolerance."""

from dataclasses import dataclass
from enum import StrEnum

MOST_ALLERGIES = 100  # active ones of a person


class AllergySeverity(StrEnum):
    """`reaction.severity`."""

    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"


class AllergyStatus(StrEnum):
    """`active` is `clinicalStatus` active; `withdrawn` is `verificationStatus` entered-in-error."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class NewAllergy:
    substance: str  # `code.text`
    reaction: str | None = None  # `reaction.manifestation`
    severity: AllergySeverity | None = None
