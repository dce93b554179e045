"""Phone calls of orders: who is rung how often, and how each call ended.

A row only ever goes on: news that comes late, twice or in another order changes nothing that a
later step has settled. Found by the order's number alone, so that any kind of order can have calls.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ForeignKey,
    Index,
    Interval,
    Row,
    UniqueConstraint,
    case,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.account import open_patient
from db.account.rows import DataKeyRow, PatientRow
from db.base import Base, Numbered
from db.keyring import Keyring, Shredded
from domain.phone_call import CallEnded, CallStatus, Leg, Outcome, Refusal, outcome_of, talk_time


class PhoneCallRow(Numbered, Base):
    """One attempt to bring doctor and patient together. Phones stand in no column: they are looked
    up when they are needed."""

    __tablename__ = "phone_call"
    __table_args__ = (
        UniqueConstraint("order_no", "attempt"),
        Index("ix_phone_call_doctor", "doctor_account_id", "id"),
    )

    hospital_id: Mapped[int]
    call_no: Mapped[str] = mapped_column(unique=True)
    order_no: Mapped[str]
    attempt: Mapped[int]
    doctor_account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    time_limit: Mapped[timedelta] = mapped_column(Interval)
    provider: Mapped[str]
    provider_id: Mapped[str | None]
    status: Mapped[str]
    version: Mapped[int] = mapped_column(server_default="0")  # how often it went on
    placings: Mapped[int] = mapped_column(server_default="0")  # how often it was claimed
    patient_leg: Mapped[str | None]  # how the patient's phone ended, when that was heard first
    outcome: Mapped[str | None]
    refusal: Mapped[str | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]  # the provider took it
    doctor_joined_at: Mapped[datetime | None]  # pressed a key
    answered_at: Mapped[datetime | None]  # the patient pressed one too: the talk began
    ended_at: Mapped[datetime | None]
    duration: Mapped[int | None]  # seconds of talk


P = PhoneCallRow


@dataclass(frozen=True)
class PhoneCall:
    call_no: str
    order_no: str
    attempt: int
    hospital_id: int
    doctor_account_id: int
    patient_id: int
    time_limit: timedelta
    provider: str
    provider_id: str | None
    status: CallStatus
    patient_leg: Leg | None
    outcome: Outcome | None
    refusal: Refusal | None
    created_at: datetime
    started_at: datetime | None
    doctor_joined_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    duration: int | None

    @property
    def ended(self) -> CallEnded | None:
        """What the order's workflow hears of it. None while it lasts."""
        if self.outcome is None or self.ended_at is None:
            return None
        return CallEnded(
            self.call_no, self.attempt, self.outcome, self.duration or 0, self.ended_at
        )


def _call(row: Row[Any]) -> PhoneCall:
    return PhoneCall(
        call_no=row.call_no,
        order_no=row.order_no,
        attempt=row.attempt,
        hospital_id=row.hospital_id,
        doctor_account_id=row.doctor_account_id,
        patient_id=row.patient_id,
        time_limit=row.time_limit,
        provider=row.provider,
        provider_id=row.provider_id,
        status=CallStatus(row.status),
        patient_leg=Leg(row.patient_leg) if row.patient_leg else None,
        outcome=Outcome(row.outcome) if row.outcome else None,
        refusal=Refusal(row.refusal) if row.refusal else None,
        created_at=row.created_at,
        started_at=row.started_at,
        doctor_joined_at=row.doctor_joined_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        duration=row.duration,
    )


@dataclass(frozen=True)
class NewCall:
    hospital_id: int
    call_no: str
    order_no: str
    attempt: int
    doctor_account_id: int
    patient_id: int
    time_limit: timedelta
    provider: str


@dataclass(frozen=True)
class CallClaim:
    """The right to place a call, and what an earlier try left behind."""

    call: PhoneCall
    first: bool  # nobody tried before
    age: timedelta  # since the first try


# Placing


async def claim_call(connection: AsyncConnection, new: NewCall) -> CallClaim:
    """Claim before placing, in a transaction of its own: who is rung is never unknown to us.

    A claim made before stands as it was made, whatever `new` would say by now."""
    claimed = await connection.execute(
        insert(P)
        .values(**vars(new), status=CallStatus.PLACING, placings=1)
        .on_conflict_do_update(
            index_elements=[P.order_no, P.attempt], set_={"placings": P.placings + 1}
        )
        .returning(P, (func.clock_timestamp() - P.created_at).label("age"))
    )
    row = claimed.one()
    return CallClaim(_call(row), row.placings == 1, row.age)


async def give_claim_back(connection: AsyncConnection, call_no: str) -> None:
    """Nobody was rung for certain: the next try is a first one again."""
    await connection.execute(
        update(P).where(P.call_no == call_no, P.status == CallStatus.PLACING).values(placings=0)
    )


async def call_placed(connection: AsyncConnection, call_no: str, provider_id: str) -> bool:
    """The provider has taken it. Also by a callback that was faster than the answer to us. False
    when the call is another of the provider's, or over."""
    placed = await connection.execute(
        update(P)
        .where(P.call_no == call_no, P.status != CallStatus.ENDED)
        .where(func.coalesce(P.provider_id, provider_id) == provider_id)
        .values(
            provider_id=provider_id,
            status=case((P.status == CallStatus.PLACING, CallStatus.RINGING), else_=P.status),
            started_at=func.coalesce(P.started_at, func.now()),
            version=P.version + 1,
        )
        .returning(P.id)
    )
    return placed.one_or_none() is not None


async def call_refused(
    connection: AsyncConnection, call_no: str, refusal: Refusal, error_code: str | None = None
) -> None:
    """Nobody was rung, and nobody will be."""
    await connection.execute(
        update(P)
        .where(P.call_no == call_no, P.status == CallStatus.PLACING)
        .values(
            status=CallStatus.ENDED,
            outcome=Outcome.FAILED,
            refusal=refusal,
            error_code=error_code,
            ended_at=func.now(),
            duration=0,
            version=P.version + 1,
        )
    )


async def provider_ids_of(connection: AsyncConnection, doctor_account_id: int) -> set[str]:
    """By which the provider knows the doctor's calls of late: the one that is looked for is none
    of them."""
    found = await connection.execute(
        select(P.provider_id)
        .where(P.doctor_account_id == doctor_account_id, P.provider_id.is_not(None))
        .order_by(P.id.desc())
        .limit(200)
    )
    return {str(provider_id) for provider_id in found.scalars()}


async def patient_phone(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, patient_id: int
) -> str | None:
    """E.164, or None when there is no such person, or not any more."""
    found = await connection.execute(
        select(PatientRow.sealed, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == PatientRow.data_key_id)
        .where(PatientRow.id == patient_id, PatientRow.hospital_id == hospital_id)
    )
    row = found.one_or_none()
    if row is None:
        return None
    try:
        return open_patient(keyring, row.wrapped, row.sealed).phone
    except Shredded:
        return None


# While it lasts


async def doctor_joined(connection: AsyncConnection, call_no: str) -> None:
    await connection.execute(
        update(P)
        .where(P.call_no == call_no, P.status != CallStatus.ENDED, P.doctor_joined_at.is_(None))
        .values(doctor_joined_at=func.now(), version=P.version + 1)
    )


async def talk_began(connection: AsyncConnection, call_no: str) -> bool:
    """The patient pressed a key. False when that comes too late: they are not joined then."""
    began = await connection.execute(
        update(P)
        .where(P.call_no == call_no, P.status != CallStatus.ENDED)
        .where(P.doctor_joined_at.is_not(None))
        .values(
            status=CallStatus.TALKING,
            answered_at=func.coalesce(P.answered_at, func.now()),
            version=P.version + 1,
        )
        .returning(P.id)
    )
    return began.one_or_none() is not None


async def patient_leg_ended(connection: AsyncConnection, call_no: str, leg: Leg) -> None:
    """Kept for the case that nothing else is heard of it before the doctor's phone ends."""
    await connection.execute(
        update(P)
        .where(P.call_no == call_no, P.status != CallStatus.ENDED)
        .values(patient_leg=leg, version=P.version + 1)
    )


# The end


async def end_call(
    connection: AsyncConnection,
    call_no: str,
    *,
    doctor: Leg | None = None,
    patient: Leg | None = None,
    bridged: bool = True,
    at: datetime | None = None,
    told: int | None = None,
) -> CallEnded | None:
    """The call is over, as far as these legs tell. None when it was before, or is not known.

    `bridged` false: the provider never joined them, whatever keys were pressed. `at` is the
    provider's time, `told` its count of seconds; without them, ours.
    """
    call = await find_call(connection, call_no, lock=True)
    if call is None or call.status is CallStatus.ENDED:
        return None
    # The clock of this statement: the transaction may have begun before the talk did.
    now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    ended_at = _within(call, at, now)
    talked = call.answered_at is not None and bridged
    outcome = outcome_of(
        talked=talked,
        doctor_joined=call.doctor_joined_at is not None,
        doctor=doctor,
        patient=patient or call.patient_leg,
    )
    duration = talk_time(call.answered_at if talked else None, ended_at, told)
    return await close_call(connection, call_no, outcome, duration=duration, at=ended_at)


async def close_call(
    connection: AsyncConnection,
    call_no: str,
    outcome: Outcome,
    *,
    duration: int = 0,
    at: datetime | None = None,
    error_code: str | None = None,
) -> CallEnded | None:
    """End it with this outcome. None when it was over, or is not known."""
    closed = await connection.execute(
        update(P)
        .where(P.call_no == call_no, P.status != CallStatus.ENDED)
        .values(
            status=CallStatus.ENDED,
            outcome=outcome,
            duration=duration,
            ended_at=func.now() if at is None else at,
            error_code=error_code,
            version=P.version + 1,
        )
        .returning(P)
    )
    row = closed.one_or_none()
    return None if row is None else _call(row).ended


def _within(call: PhoneCall, at: datetime | None, now: datetime) -> datetime:
    """The provider's clock is another: what it says counts between the beginning and now."""
    return now if at is None else max(call.answered_at or call.created_at, min(at, now))


# Reading


async def find_call(
    connection: AsyncConnection, call_no: str, *, lock: bool = False
) -> PhoneCall | None:
    query = select(P).where(P.call_no == call_no)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _call(row)


async def is_wanted(connection: AsyncConnection, order_no: str) -> bool:
    """Whether the order still goes on: nobody is rung about one that just ended."""
    ended: bool | None = await connection.scalar(
        text("select status <> 'consulting' from consultation where order_no = :order_no"),
        {"order_no": order_no},
    )
    return not ended


async def calls_of(connection: AsyncConnection, order_no: str) -> list[PhoneCall]:
    """An order's calls, in the sequence of its attempts."""
    rows = await connection.execute(select(P).where(P.order_no == order_no).order_by(P.attempt))
    return [_call(row) for row in rows]
