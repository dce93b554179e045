"""Fields that people are known by, as they come in and as they are shown again."""

import re
import unicodedata
from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType
from pydantic import AfterValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError
from stdnum.cn import ric

from domain.account import birth_date_of
from domain.hospital import Hospital

HOME = "CN"
MOBILE = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})


def today_at(hospital: Hospital) -> date:
    """The calendar day at the hospital, whatever the machine's zone."""
    return datetime.now(ZoneInfo(hospital.time_zone)).date()


def to_e164(value: str) -> str:
    """A mobile number as people write it, Chinese unless it begins with +, as +8613800138000."""
    typed = unicodedata.normalize("NFKC", value).strip()  # ten full-width digits are digits
    # The parser would also take letters (1-800-FLOWERS) and extensions.
    if not re.fullmatch(r"\+?[0-9 ()-]+", typed):
        raise PydanticCustomError("phone", "must be a phone number")
    try:
        number = phonenumbers.parse(typed, HOME)
    except NumberParseException:
        raise PydanticCustomError("phone", "must be a phone number") from None
    if not phonenumbers.is_valid_number(number):
        raise PydanticCustomError("phone", "there is no such phone number")
    if phonenumbers.number_type(number) not in MOBILE:
        raise PydanticCustomError("phone", "must be a mobile number")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def shown_phone(e164: str) -> str:
    """As the owner knows it: 13800138000 at home, with + and country code from abroad."""
    return e164.removeprefix("+86") if e164.startswith("+86") else e164


def to_id_card(value: str) -> str:
    """An 18-digit resident identity number, compact, with an upper-case X.

    Not `ric.validate`: it also wants a region that existed in the year of birth, and numbers were
    first given out in 1984, also to people older than their county's code.
    """
    number = ric.compact(value)
    if not re.fullmatch(r"[0-9]{17}[0-9X]", number):
        raise PydanticCustomError("id_card", "must have 18 digits, of which the last may be X")
    try:
        birth_date_of(number)
    except ValueError:
        raise PydanticCustomError("id_card", "birth date: there is no such day") from None
    if number[-1] != ric.calc_check_digit(number):
        raise PydanticCustomError("id_card", "check digit: does not agree with the other digits")
    return number


def to_name(value: str) -> str:
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in value)
    name = unicodedata.normalize("NFC", re.sub(" +", " ", spaced).strip())
    if not 1 <= len(name) <= 50:
        raise PydanticCustomError("name", "must have 1 to 50 characters")
    # Controls, invisible and direction marks, unassigned ones; line and paragraph separators.
    if any(unicodedata.category(c)[0] in "CZ" and c != " " for c in name):
        raise PydanticCustomError("name", "must not contain control characters")
    return name


def to_email(value: str) -> str:
    if not re.fullmatch(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?=.{3,255}$)"
        r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}",
        value,
    ):
        raise PydanticCustomError("email", "must be an e-mail address")
    return value


Phone = Annotated[
    str,
    Field(max_length=32, examples=["13800138000"], description="A mobile number."),
    AfterValidator(to_e164),
]
"""In: as people write it. Inside: E.164."""

ShownPhone = Annotated[str, PlainSerializer(shown_phone), Field(examples=["13800138000"])]
"""E.164 inside; out: as its owner knows it."""

IdCard = Annotated[
    str,
    Field(
        max_length=32,
        examples=["99000019900307003X"],
        description="Resident identity number (GB 11643), 18 digits.",
    ),
    AfterValidator(to_id_card),
]

Name = Annotated[
    str,
    Field(max_length=200, examples=["林小满"], description="1 to 50 characters."),
    AfterValidator(to_name),
]

Email = Annotated[
    str, Field(max_length=254, examples=["lin@example.org"]), AfterValidator(to_email)
]

Code = Annotated[str, Field(pattern=r"^[0-9]{6}$", examples=["204816"])]
