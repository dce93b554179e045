"""A doctor's credentials (执业资质), and what they do not allow: rule R07 of `cn-2022`."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from domain.account import age_on
from domain.hospital import Compliance

YEARS = 3  # of independent practice before any online care


class CredentialRefusal(StrEnum):
    LICENCE_EXPIRED = "licence_expired"
    LICENCE_MISSING = "licence_missing"
    TOO_FEW_YEARS = "too_few_years"
    INSTITUTION_CONSENT_MISSING = "institution_consent_missing"


@dataclass(frozen=True)
class Credential:
    """What is recorded; None is not recorded. The last day of each is a good one."""

    has_licence: bool
    licence_valid_until: date | None = None
    practising_since: date | None = None
    institution_consent_until: date | None = None


def refusal(
    credential: Credential | None, today: date, compliance: Compliance
) -> CredentialRefusal | None:
    """Why this doctor may take no new case today, or None. An expired licence refuses under any
    profile; what is missing, under `cn-2022` alone."""
    until = credential.licence_valid_until if credential else None
    if until is not None and until < today:
        return CredentialRefusal.LICENCE_EXPIRED
    if compliance is not Compliance.CN_2022:
        return None
    if credential is None or not credential.has_licence or until is None:
        return CredentialRefusal.LICENCE_MISSING
    since = credential.practising_since
    if since is None or age_on(since, today) < YEARS:
        return CredentialRefusal.TOO_FEW_YEARS
    consent = credential.institution_consent_until
    if consent is None or consent < today:
        return CredentialRefusal.INSTITUTION_CONSENT_MISSING
    return None
