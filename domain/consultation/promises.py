"""What a consultation does by itself, and when: everything that was promised in time."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.consultation.words import (
    Case,
    ConsultationType,
    Progress,
    did_their_part,
    expected_by,
    form_of,
)
from domain.consultation.words import ConsultationStatus as S


class Step(StrEnum):
    CLOSE_UNPAID = "close_unpaid"
    RING = "ring"  # the next doctor on duty
    REMIND_DOCTOR = "remind_doctor"
    GIVE_UP_EVIDENCE = "give_up_evidence"
    GIVE_UP_WAITING = "give_up_waiting"  # nobody accepted
    DOCTOR_ABSENT = "doctor_absent"
    ASK_TO_CONCLUDE = "ask_to_conclude"
    REDIAL = "redial"
    SETTLE_CALL = "settle_call"  # nobody told how it ended: the provider is asked
    END_WINDOW = "end_window"


BY_ITSELF: dict[Step, str] = {
    Step.CLOSE_UNPAID: "it is cancelled",
    Step.RING: "the next doctor is rung",
    Step.REMIND_DOCTOR: "the doctor is reminded",
    Step.GIVE_UP_EVIDENCE: "the money goes back",
    Step.GIVE_UP_WAITING: "the money goes back",
    Step.DOCTOR_ABSENT: "the money goes back",
    Step.ASK_TO_CONCLUDE: "the doctor is asked to conclude",
    Step.REDIAL: "the patient is dialled again",
    Step.SETTLE_CALL: "the phone company is asked how the call ended",
    Step.END_WINDOW: "it is completed, or refunded if the doctor never answered",
}
"""As operators read it in the Temporal web UI."""


@dataclass(frozen=True)
class Due:
    """The next thing that happens by itself, when, and for whom the order waits until then."""

    at: datetime
    step: Step
    waiting_for: str


def next_step(case: Case, progress: Progress) -> Due:
    """What an open order does next when nobody does anything."""
    return min(_steps(case, progress), key=lambda due: due.at)


def _steps(case: Case, p: Progress) -> list[Due]:
    if p.status is S.CONSULTING:
        return _while_consulting(case, p)
    if p.paid_at is None or p.accept_by is None:
        return [Due(p.pay_by, Step.CLOSE_UNPAID, "payment")]
    if p.evidence_by is not None:
        return [Due(p.evidence_by, Step.GIVE_UP_EVIDENCE, "evidence")]
    steps = [Due(p.accept_by, Step.GIVE_UP_WAITING, "doctor")]
    if p.ring_at is not None:
        steps.append(Due(p.ring_at, Step.RING, "doctor"))
    if p.reminded < len(case.terms.escalate_after):
        at = p.paid_at + case.terms.escalate_after[p.reminded]
        steps.append(Due(at, Step.REMIND_DOCTOR, "doctor"))
    return steps


def _while_consulting(case: Case, p: Progress) -> list[Due]:
    if p.begins_at is None or p.window_ends is None:
        raise ValueError(f"{case.order_no} is being consulted on and has no window")
    steps = []
    if p.calling_until is not None:
        steps.append(Due(p.calling_until, Step.SETTLE_CALL, "call"))
    if p.redial_at is not None:
        steps.append(Due(p.redial_at, Step.REDIAL, "patient"))
    # Nobody is cut off while they talk, or before a call that is to be repeated was.
    ends = max(at for at in (p.window_ends, p.calling_until, p.redial_at) if at is not None)
    steps.append(Due(ends, Step.END_WINDOW, _awaited(case, p)))
    if form_of(case, p) is ConsultationType.VIDEO:
        if (absent := expected_by(p)) is not None:
            steps.append(Due(absent, Step.DOCTOR_ABSENT, "doctor"))
        if p.left_at is not None and p.talking:
            asked = p.left_at + case.terms.leave_grace
            steps.append(Due(asked, Step.ASK_TO_CONCLUDE, "conclusion"))
    return steps


def _awaited(case: Case, p: Progress) -> str:
    """By whoever looks at a consultation that goes on. A talk that is over waits for the doctor's
    conclusion."""
    form = form_of(case, p)
    if form is ConsultationType.VIDEO and (p.doctor_here or p.patient_here):
        if p.doctor_here and p.patient_here:
            return "call"
        return "patient" if p.doctor_here else "doctor"
    if not did_their_part(case, p):
        return "doctor"
    talked = p.talking and form is not ConsultationType.TEXT
    return "conclusion" if talked else "patient"
