"""Who a person may be, and which passwords will do."""

from datetime import date

import pytest

from domain.account import (
    Gender,
    age_on,
    birth_date_of,
    gender_of,
    password_refusal,
    person_refusal,
    searchable,
)

TODAY = date(2026, 11, 22)
BORN_1990 = "99000019900307003X"  # a man's; the check digit is not asked here
PHONE = "+8613800138000"


def test_birth_date_and_gender_are_read_from_the_number() -> None:
    assert birth_date_of(BORN_1990) == date(1990, 3, 7)
    assert gender_of(BORN_1990) is Gender.MALE
    assert gender_of("990000199003070040") is Gender.FEMALE


def test_a_birthday_counts_from_its_day_on() -> None:
    assert age_on(date(1990, 3, 7), date(2026, 3, 6)) == 35
    assert age_on(date(1990, 3, 7), date(2026, 3, 7)) == 36


def test_who_was_born_on_29_february_grows_older_on_1_march() -> None:
    assert age_on(date(2024, 2, 29), date(2025, 2, 28)) == 0
    assert age_on(date(2024, 2, 29), date(2025, 3, 1)) == 1


@pytest.mark.parametrize("age", [35, 36, 37])
def test_a_stated_age_may_differ_by_one(age: int) -> None:
    assert person_refusal(BORN_1990, Gender.MALE, TODAY, age) is None


@pytest.mark.parametrize("age", [34, 38])
def test_a_stated_age_may_not_differ_by_more(age: int) -> None:
    assert (person_refusal(BORN_1990, Gender.MALE, TODAY, age) or "").startswith("age:")


def test_the_gender_must_agree_with_the_number() -> None:
    assert (person_refusal(BORN_1990, Gender.FEMALE, TODAY) or "").startswith("gender:")


def test_a_person_is_born_by_today() -> None:
    tomorrow = "99000020261123003X"
    assert "future" in (person_refusal(tomorrow, Gender.MALE, TODAY) or "")
    assert person_refusal(tomorrow, Gender.MALE, date(2026, 11, 23), 0) is None


def test_nobody_is_older_than_anybody_ever_was() -> None:
    refused = person_refusal("99000018900307003X", Gender.MALE, TODAY)
    assert (refused or "").startswith("birth date:")


def test_two_spellings_of_a_name_are_one() -> None:
    assert searchable("Ｌin  Xiaoman ") == searchable("lin xiaoman")


@pytest.mark.parametrize(
    "password", ["clear-water-7", "八个字的密码也可以", "no digits needed", "x7" * 64]
)
def test_length_is_enough_for_a_password(password: str) -> None:
    assert password_refusal(password, PHONE) is None


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("seven77", "characters"),
        ("x7" * 64 + "x", "characters"),
        ("13800138000", "phone"),
        ("+86 138 0013 8000", "phone"),
        ("00138000", "phone"),
        ("12345678", "first"),
        ("Password", "first"),
        ("aaaaaaaaaa", "first"),
    ],
)
def test_what_everybody_would_guess_is_no_password(password: str, why: str) -> None:
    assert why in (password_refusal(password, PHONE) or "")
