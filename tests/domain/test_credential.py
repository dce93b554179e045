"""When a doctor may take a case (R07)."""

from dataclasses import replace
from datetime import date

import pytest

from domain.credential import Credential, CredentialRefusal, refusal
from domain.hospital import Compliance

TODAY = date(2026, 11, 23)
R = CredentialRefusal
GOOD = Credential(True, date(2027, 1, 1), date(2010, 7, 1), date(2027, 1, 1))
WHOLE = [
    (GOOD, None),
    (None, R.LICENCE_MISSING),
    (replace(GOOD, has_licence=False), R.LICENCE_MISSING),
    (replace(GOOD, licence_valid_until=None), R.LICENCE_MISSING),
    (replace(GOOD, licence_valid_until=TODAY), None),
    (replace(GOOD, licence_valid_until=date(2026, 11, 22)), R.LICENCE_EXPIRED),
    (replace(GOOD, practising_since=None), R.TOO_FEW_YEARS),
    (replace(GOOD, practising_since=date(2023, 11, 24)), R.TOO_FEW_YEARS),
    (replace(GOOD, practising_since=date(2023, 11, 23)), None),
    (replace(GOOD, institution_consent_until=None), R.INSTITUTION_CONSENT_MISSING),
    (replace(GOOD, institution_consent_until=date(2026, 11, 22)), R.INSTITUTION_CONSENT_MISSING),
    (replace(GOOD, institution_consent_until=TODAY), None),
]


@pytest.mark.parametrize(("credential", "why"), WHOLE)
def test_the_law_asks_for_licence_years_and_consent(credential, why):
    assert refusal(credential, TODAY, Compliance.CN_2022) is why


@pytest.mark.parametrize(("credential", "why"), WHOLE)
def test_without_the_profile_only_an_expired_licence_refuses(credential, why):
    expected = why if why is R.LICENCE_EXPIRED else None
    assert refusal(credential, TODAY, Compliance.NONE) is expected
