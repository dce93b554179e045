"""Which text counts today, and who needs which (R20)."""

from dataclasses import replace
from datetime import date

import pytest

from domain.consent import ConsentKind, ConsentText, ConsentTexts, needed_consents
from domain.words import Words

CARE, GUARDIAN = ConsentKind.ONLINE_CARE, ConsentKind.GUARDIAN
OLD = ConsentText(CARE, "1", date(2026, 1, 1), Words("同意", "Consent"), Words("甲", "A"))
NEW = replace(OLD, version="2", valid_from=date(2026, 6, 1))


@pytest.mark.parametrize("age", [0, 13, 17])
def test_a_minor_needs_a_guardian(age):
    assert needed_consents(age) == (CARE, GUARDIAN)


@pytest.mark.parametrize("age", [18, 90])
def test_an_adult_needs_none(age):
    assert needed_consents(age) == (CARE,)


@pytest.mark.parametrize(
    ("today", "text"),
    [
        (date(2025, 12, 31), None),
        (date(2026, 1, 1), OLD),
        (date(2026, 5, 31), OLD),
        (date(2026, 6, 1), NEW),
        (date(2030, 1, 1), NEW),
    ],
)
def test_the_newest_text_that_has_begun_counts(today, text):
    assert ConsentTexts((NEW, OLD)).current(CARE, today) is text
    assert ConsentTexts((NEW, OLD)).current(GUARDIAN, today) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(OLD, text=Words("乙", "A")),
        replace(OLD, text=Words("甲", "B")),
        replace(OLD, title=Words("同意书", "Consent")),
        replace(OLD, title=Words("同意", "consent")),
    ],
)
def test_the_hash_is_of_every_word(other):
    assert other.digest != OLD.digest == replace(OLD).digest
