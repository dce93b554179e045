"""Accounts, their sessions, and the persons (就诊人) they hold."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered


class DataKeyRow(Numbered, Base):
    """The wrapped key of one person or account. `wrapped` set to null shreds them."""

    __tablename__ = "data_key"

    wrapped: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    shredded_at: Mapped[datetime | None]


class AccountRow(Numbered, Base):
    """Who logs in. A person who is treated is a `PatientRow`, also when it is the same human."""

    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("hospital_id", "phone_index"),)

    hospital_id: Mapped[int]
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    phone_index: Mapped[bytes]
    sealed: Mapped[bytes]  # {phone, name, email}
    password_hash: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    language: Mapped[str | None]
    channels: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SessionRow(Numbered, Base):
    """One login. Its refresh tokens follow one another; an old one seen again ends them all."""

    __tablename__ = "login_session"

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None] = mapped_column(index=True)
    revoked_why: Mapped[str | None]


class RefreshTokenRow(Numbered, Base):
    __tablename__ = "refresh_token"

    session_id: Mapped[int] = mapped_column(ForeignKey("login_session.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    used_at: Mapped[datetime | None]


class SmsCodeRow(Numbered, Base):
    """The newest code of a phone and purpose: a new one takes its place, so one at most counts."""

    __tablename__ = "sms_code"
    __table_args__ = (UniqueConstraint("hospital_id", "phone_index", "purpose"),)

    hospital_id: Mapped[int]
    phone_index: Mapped[bytes]
    purpose: Mapped[str]
    code_hash: Mapped[bytes]
    tries_left: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class RateLimitRow(Base):
    """How often something happened in the present window, counted where all processes see it."""

    __tablename__ = "rate_limit"

    key: Mapped[str] = mapped_column(primary_key=True)  # what and a blind index of whom
    count: Mapped[int]
    window_ends: Mapped[datetime]


class PatientRow(Numbered, Base):
    """A person who is treated (就诊人), as one account holds them.

    `person_index` is the blind index of the ID number: the same human in two accounts has two
    patient rows and one person index, and the booking rules count by the index.
    """

    __tablename__ = "patient"
    __table_args__ = (
        UniqueConstraint("account_id", "person_index"),
        Index("ix_patient_person", "hospital_id", "person_index"),
        Index("ix_patient_name", "hospital_id", "name_index"),
        Index("ix_patient_phone", "hospital_id", "phone_index"),
    )

    hospital_id: Mapped[int]
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    person_index: Mapped[bytes]
    name_index: Mapped[bytes]
    phone_index: Mapped[bytes]
    sealed: Mapped[bytes]  # {name, gender, idCard, phone, birthDate}
    relation: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
