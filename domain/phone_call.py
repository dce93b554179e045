"""A phone call (电话问诊): two legs, one bridge, one end.

The doctor is rung first and presses a key, then the patient is rung and presses one; only then do
they hear each other. So a voicemail is nobody: it presses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class CallStatus(StrEnum):
    """A call only ever goes on to the right; `ended` is for good."""

    PLACING = "placing"  # claimed; the provider may not know of it yet
    RINGING = "ringing"  # with the provider: the doctor's phone, then the patient's
    TALKING = "talking"  # both pressed a key
    ENDED = "ended"


class Outcome(StrEnum):
    TALKED = "talked"
    DOCTOR_NO_ANSWER = "doctor_no_answer"  # did not pick up, or pressed nothing (a voicemail)
    DOCTOR_BUSY = "doctor_busy"
    DOCTOR_LEFT = "doctor_left"  # hung up while the patient's phone rang
    PATIENT_NO_ANSWER = "patient_no_answer"  # did not pick up, or pressed nothing
    PATIENT_BUSY = "patient_busy"
    FAILED = "failed"  # the networks; or it could not be placed


class Refusal(StrEnum):
    """Why a call cannot be placed, now or later."""

    NO_DOCTOR_PHONE = "no_doctor_phone"  # the account was closed
    NO_PATIENT_PHONE = "no_patient_phone"  # no such person, or shredded
    SAME_PHONE = "same_phone"  # one phone cannot be both ends
    UNREACHABLE = "unreachable"  # the provider never reaches the doctor's number
    ORDER_CLOSED = "order_closed"  # it ended meanwhile
    NOT_POSSIBLE = "not_possible"  # our account with the provider: an operator must look


class Leg(StrEnum):
    """What the provider says in the end of one of the two phones."""

    COMPLETED = "completed"  # was picked up, by whatever
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    CANCELED = "canceled"  # given up before somebody picked up
    FAILED = "failed"


@dataclass(frozen=True)
class CallEnded:
    """What the order's workflow hears, once a call: the signal `call_ended`."""

    call_no: str
    attempt: int
    outcome: Outcome
    duration: int  # whole seconds of talk
    at: datetime


OF_DOCTOR: Mapping[Leg | None, Outcome] = {
    Leg.BUSY: Outcome.DOCTOR_BUSY,
    Leg.FAILED: Outcome.FAILED,
}
# When the patient's phone was given up, or never heard of, the doctor was gone first.
OF_PATIENT: Mapping[Leg | None, Outcome] = {
    Leg.BUSY: Outcome.PATIENT_BUSY,
    Leg.FAILED: Outcome.FAILED,
    Leg.NO_ANSWER: Outcome.PATIENT_NO_ANSWER,
    Leg.COMPLETED: Outcome.PATIENT_NO_ANSWER,
}


def outcome_of(
    *, talked: bool, doctor_joined: bool, doctor: Leg | None, patient: Leg | None
) -> Outcome:
    """How a call ended, from what is known of both legs. None: nothing was heard of this one.

    Whether they talked and whether the doctor joined is known by the keys that were pressed: the
    legs alone cannot tell a person from a voicemail.
    """
    if talked:
        return Outcome.TALKED
    if not doctor_joined:
        return OF_DOCTOR.get(doctor, Outcome.DOCTOR_NO_ANSWER)
    return OF_PATIENT.get(patient, Outcome.DOCTOR_LEFT)


def talk_time(began: datetime | None, ended: datetime, told: int | None = None) -> int:
    """Whole seconds of talk. `told` is the provider's own count of the patient's leg, which has the
    time until the key in it: it only ever makes the talk shorter."""
    if began is None:
        return 0
    seconds = max(0, int((ended - began) / timedelta(seconds=1)))
    return seconds if told is None else min(seconds, told)


def redials(outcome: Outcome, attempt: int, limit: int) -> bool:
    """Whether to ring again after attempt number `attempt` (the first is 1) when a call that found
    nobody is repeated at most `limit` times."""
    return outcome is not Outcome.TALKED and attempt <= limit
