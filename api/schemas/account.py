"""Accounts and persons on the wire."""

from datetime import date, datetime
from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from api.fields import Code, Email, IdCard, Name, Phone, ShownPhone
from api.problems import Problem
from api.schemas.base import NO_TRUTH, Schema
from domain.access import Role
from domain.account import (
    PASSWORD_LONGEST,
    PASSWORD_SHORTEST,
    CodePurpose,
    Gender,
    NewPatient,
    Relation,
    password_refusal,
    person_refusal,
)
from domain.message import Channel, Language

Password = Annotated[SecretStr, Field(max_length=PASSWORD_LONGEST)]
RefreshToken = Annotated[SecretStr, Field(min_length=1, max_length=200)]


class AsTyped(Schema):
    """A password keeps its spaces; the other fields look after their own."""

    model_config = ConfigDict(str_strip_whitespace=False)


class CodeWanted(Schema):
    phone: Phone
    purpose: CodePurpose


class CodeSent(Schema):
    expires_in: Annotated[int, Field(description="Seconds.", examples=[300])]
    resend_in: Annotated[int, Field(description="Seconds.", examples=[60])]


class NewPassword(AsTyped):
    phone: Phone
    code: Code
    password: Annotated[
        Password,
        Field(
            description=f"{PASSWORD_SHORTEST} to {PASSWORD_LONGEST} characters of any kind; not "
            "the phone number, nor one of the commonest.",
            examples=["clear-water-7"],
        ),
    ]

    @field_validator("password")
    @classmethod
    def _acceptable(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        refused = password_refusal(password.get_secret_value(), info.data.get("phone", ""))
        if refused:
            raise PydanticCustomError("password", "{refused}", {"refused": refused})
        return password


class Registration(NewPassword):
    name: Name | None = None


class Login(AsTyped):
    phone: Phone
    password: Annotated[Password | None, Field(examples=["clear-water-7"])] = None
    code: Code | None = None

    @model_validator(mode="after")
    def _one_proof(self) -> "Login":
        if (self.password is None) == (self.code is None):
            raise PydanticCustomError("proof", "give either password or code")
        return self


class Refresh(Schema):
    refresh_token: RefreshToken


class User(Schema):
    id: int
    phone: ShownPhone
    name: str | None
    roles: list[Role]
    doctor_id: int | None = None
    created_at: datetime


class LoggedIn(Schema):
    access_token: str
    refresh_token: str
    expires_in: Annotated[int, Field(description="Seconds that the access token lives.")]
    user: User


class Preferences(Schema):
    channels: Annotated[
        list[Channel],
        Field(
            max_length=len(Channel),
            description="By which ways to try, in this order. In-app messages come in any case.",
        ),
    ]
    language: Language
    email: Email | None = None

    @field_validator("channels")
    @classmethod
    def _distinct(cls, channels: list[Channel]) -> list[Channel]:
        if len(set(channels)) < len(channels):
            raise PydanticCustomError("channels", "must not name a channel twice")
        return channels

    @field_validator("email")
    @classmethod
    def _needed(cls, email: str | None, info: ValidationInfo) -> str | None:
        if email is None and Channel.EMAIL in info.data.get("channels", ()):
            raise PydanticCustomError("email", "is needed for the channel email")
        return email


class PatientInfo(Schema):
    """A person as the specification's booking names them."""

    name: Name
    gender: Gender
    age: Annotated[int, Field(ge=0, le=150, examples=[36]), NO_TRUTH]
    id_card: IdCard
    phone: Phone

    def person(self, today: date, within: str = "patientInfo.") -> NewPatient:
        """Raises Problem `invalid` that names `<within>idCard` and the rule it breaks: birth
        date, gender or age. `today` is the hospital's."""
        _check(self.id_card, self.gender, today, self.age, within)
        return NewPatient(self.name, self.gender, self.id_card, self.phone)


class PatientAdded(Schema):
    name: Name
    gender: Gender
    id_card: IdCard
    phone: Phone
    relation: Annotated[
        Relation, Field(description="What the person is to the account's holder.")
    ] = Relation.OTHER

    def person(self, today: date) -> NewPatient:
        """Raises Problem `invalid` that names `idCard`. `today` is the hospital's."""
        _check(self.id_card, self.gender, today, None, "")
        return NewPatient(self.name, self.gender, self.id_card, self.phone, self.relation)


class Patient(Schema):
    """Shown whole: only to the account that holds the person."""

    id: int
    name: str
    gender: Gender
    age: Annotated[int, Field(description="Full years (周岁).")]
    birth_date: date
    id_card: str
    phone: ShownPhone
    relation: Relation
    created_at: datetime


def _check(id_card: str, gender: Gender, today: date, age: int | None, within: str) -> None:
    if refused := person_refusal(id_card, gender, today, age):
        raise Problem.of_field(f"{within}idCard", refused)
