"""Accounts and the persons (就诊人) they hold: what may be said about them."""

import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

PASSWORD_SHORTEST = 8
PASSWORD_LONGEST = 128
OLDEST = 130  # years; nobody was ever older, so the date is mistyped


class CodePurpose(StrEnum):
    REGISTER = "register"
    LOGIN = "login"
    RESET_PASSWORD = "reset_password"  # noqa: S105 (a purpose, no password)


class Gender(StrEnum):
    MALE = "male"
    FEMALE = "female"


class Relation(StrEnum):
    """What the person is to the account's holder."""

    SELF = "self"  # 本人
    SPOUSE = "spouse"  # 配偶
    CHILD = "child"  # 子女
    PARENT = "parent"  # 父母
    SIBLING = "sibling"  # 兄弟姐妹
    RELATIVE = "relative"  # 亲属
    FRIEND = "friend"  # 朋友
    OTHER = "other"  # 其他


@dataclass(frozen=True)
class NewPatient:
    """A person as an account names them. Checked at the edge: see `api/schemas/account.py`."""

    name: str
    gender: Gender
    id_card: str  # 18 characters, X upper-case
    phone: str  # E.164
    relation: Relation = Relation.OTHER

    @property
    def birth_date(self) -> date:
        return birth_date_of(self.id_card)


# Resident identity numbers (GB 11643): 6 digits of region, 8 of birth date, 3 of sequence whose
# last is odd for men, and a check digit.


def birth_date_of(id_card: str) -> date:
    """Raises ValueError when there is no such day."""
    return date(int(id_card[6:10]), int(id_card[10:12]), int(id_card[12:14]))


def gender_of(id_card: str) -> Gender:
    return Gender.MALE if int(id_card[16]) % 2 else Gender.FEMALE


def age_on(birth_date: date, today: date) -> int:
    """Full years (周岁). Who was born on 29 February grows older on 1 March."""
    before_birthday = (today.month, today.day) < (birth_date.month, birth_date.day)
    return today.year - birth_date.year - before_birthday


def person_refusal(id_card: str, gender: Gender, today: date, age: int | None = None) -> str | None:
    """What the ID number contradicts, or None when all agree. `today` is the hospital's.

    A stated age may differ by one year: many count 虚岁, a year ahead of full years, and forms
    filled in before a birthday come in after it.
    """
    birth_date = birth_date_of(id_card)
    if birth_date > today:
        return "birth date: lies in the future"
    years = age_on(birth_date, today)
    if years > OLDEST:
        return f"birth date: more than {OLDEST} years ago"
    if gender is not gender_of(id_card):
        return "gender: does not agree with the ID number"
    if age is not None and abs(age - years) > 1:
        return "age: does not agree with the birth date in the ID number"
    return None


def searchable(name: str) -> str:
    """The form in which two spellings of one name are equal."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


# After NIST SP 800-63B: length and a list of the commonest, no rules of composition.
COMMONEST = frozenset({
    "12345678", "123456789", "1234567890", "0123456789", "87654321", "987654321", "password",
    "password1", "passw0rd", "qwertyui", "qwertyuiop", "1qaz2wsx", "1q2w3e4r", "asdfghjkl",
    "abc12345", "iloveyou", "sunshine", "princess", "football", "baseball", "superman",
    "woaini1314", "woaini520", "5201314520", "a12345678", "a123456789", "123456abc",
})  # fmt: skip


def password_refusal(password: str, phone: str) -> str | None:
    """Why this may not be the password of the account with this phone (E.164), or None."""
    if not PASSWORD_SHORTEST <= len(password) <= PASSWORD_LONGEST:
        return f"must have {PASSWORD_SHORTEST} to {PASSWORD_LONGEST} characters"
    bare = password.translate(dict.fromkeys(map(ord, "+- ()")))
    if len(bare) >= PASSWORD_SHORTEST and phone.endswith(bare):
        return "must not be the phone number"
    if password.casefold() in COMMONEST or len(set(password)) == 1:
        return "is among the first that anybody would try"
    return None
