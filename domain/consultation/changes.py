"""What an event changes in how far a consultation is: fields of `Progress` and their new values."""

from datetime import datetime, timedelta
from typing import Any

from domain.consultation.words import (
    Case,
    ConsultationStatus,
    ConsultationType,
    Progress,
    Reason,
    Way,
    did_their_part,
    expected_by,
)
from domain.phone_call import CallEnded, Outcome, redials

Changes = dict[str, Any]
S = ConsultationStatus
RINGING = timedelta(minutes=3)  # both phones, at most
TIME_TO_LOOK = timedelta(minutes=30)  # that whoever is asked anew has at least, before it goes back


def paid(case: Case, payment_no: str | None, at: datetime) -> Changes:
    """What a payment changes: from now on a doctor is waited for. A scheduled talk is accepted
    before its time, and has at least as long as an unscheduled one."""
    accept_by = at + case.terms.accept_within
    if case.scheduled_at is not None:
        accept_by = max(accept_by, case.scheduled_at)
    ring_at = at if case.way is Way.EMERGENCY else None
    return {"payment_no": payment_no, "paid_at": at, "accept_by": accept_by, "ring_at": ring_at}


def accepted(case: Case, doctor_id: int, account_id: int, now: datetime) -> Changes:
    """What an acceptance changes: the window is open, of a scheduled talk from its time on."""
    begins_at = max(now, case.scheduled_at or now)
    by_video = case.type is ConsultationType.VIDEO
    return {
        "status": S.CONSULTING,
        "doctor_id": doctor_id,
        "doctor_account_id": account_id,
        "begins_at": begins_at,
        "join_by": begins_at + case.terms.join_within if by_video else None,
        "window_ends": begins_at + case.terms.window,
        "ring_at": None,
        "rung": (),
    }


def silence_is_free(case: Case, p: Progress) -> tuple[ConsultationStatus, Reason]:
    """How it ends when its time is over: a doctor who was never there is not paid for."""
    if did_their_part(case, p):
        return S.COMPLETED, Reason.WINDOW
    return come_to_nothing(p), Reason.NO_ANSWER


def somebody_came_or_left(
    case: Case, p: Progress, role: str, *, here: bool, now: datetime
) -> Changes:
    """Of a video call. The talk begins when both are there for the first time. A doctor who tried
    the room before an agreed talk has not come to it."""
    in_time = p.begins_at is None or now >= p.begins_at
    doctor = here if role == "doctor" else p.doctor_here
    patient = here if role == "patient" else p.patient_here
    changes: Changes = {
        "doctor_here": doctor,
        "patient_here": patient,
        "answered": p.answered or doctor,
        "came": p.came or (doctor and patient) or (in_time and (doctor or p.doctor_here)),
        "left_at": None if doctor or patient else now,
    }
    if doctor and patient and not p.talking:
        changes |= _talk_began(case, p, now)
    return changes


def call_ended(case: Case, p: Progress, call: CallEnded, now: datetime) -> Changes:
    """Of a phone call: one that found nobody is repeated, so many times. The doctor who was on the
    line has done their part, whether or not the patient answered."""
    again = redials(call.outcome, call.attempt, case.terms.redials)
    talked = call.outcome is Outcome.TALKED
    there = talked or call.outcome in (Outcome.PATIENT_NO_ANSWER, Outcome.PATIENT_BUSY)
    changes: Changes = {
        "calling_until": None,
        "answered": p.answered or there,
        "came": p.came or there,
        "redial_at": now + case.terms.redial_after if again else None,
    }
    if talked and not p.talking:
        changes |= _talk_began(case, p, now)
    return changes


def switched(case: Case, p: Progress, to: ConsultationType, now: datetime) -> Changes:
    """The video call would not work. Nothing is paid again, and the time begins anew: of an agreed
    talk from its time on. What the doctor added stays added. A word that was to hold the patient
    until the call, or a look at the room before its time, is no answer: one is owed as before."""
    begins_at = max(now, p.begins_at or now)
    came = p.came or (p.doctor_here and begins_at == now)
    return {
        "switched_to": to,
        "window_ends": begins_at + talk_limit(case, p),
        "left_at": None,
        "came": came,
        "answered": came,
    }


def dialled(case: Case, p: Progress, now: datetime) -> Changes:
    return {
        "calls": p.calls + 1,
        "call_no": None,
        "calling_until": now + talk_limit(case, p) + RINGING,
        "redial_at": None,
    }


def not_dialled(case: Case, p: Progress, now: datetime) -> Changes:
    """It could not be placed: tried again like one that found nobody."""
    again = p.calls <= case.terms.redials
    return {"calling_until": None, "redial_at": now + case.terms.redial_after if again else None}


def talk_limit(case: Case, p: Progress) -> timedelta:
    return case.terms.window + p.extended * case.terms.extension


def _talk_began(case: Case, p: Progress, now: datetime) -> Changes:
    """The window is of talk: waiting for one another does not count. What the doctor added stays
    added."""
    until = now + talk_limit(case, p)
    return {"talking": True, "window_ends": max(until, p.window_ends or until)}


def evidence_wanted(case: Case, p: Progress, now: datetime) -> Changes:
    """The time to accept stands still until the patient has sent what is missing: of an agreed talk
    before its time, or it would be lost by waiting."""
    evidence_by = now + case.terms.evidence_within
    if case.scheduled_at is not None:
        evidence_by = min(evidence_by, max(case.scheduled_at, now + TIME_TO_LOOK))
    return {
        "asked_for_evidence": True,
        "evidence_by": evidence_by,
        "time_to_accept": max(p.accept_by - now, timedelta(0)) if p.accept_by else timedelta(0),
    }


def evidence_given(case: Case, p: Progress, now: datetime) -> Changes:
    """The doctor is told that it came, and has time to read it; reminders that fell due meanwhile
    are behind."""
    paid_at = p.paid_at or now
    behind = sum(paid_at + after <= now for after in case.terms.escalate_after)
    return {
        "evidence_by": None,
        "accept_by": now + max(p.time_to_accept, TIME_TO_LOOK),
        "reminded": max(p.reminded, behind),
    }


def reassigned(p: Progress, doctor_id: int, now: datetime) -> Changes:
    """Another doctor is asked, and has time to look."""
    changes: Changes = {"doctor_id": doctor_id}
    if p.accept_by is not None and p.evidence_by is None:
        changes["accept_by"] = max(p.accept_by, now + TIME_TO_LOOK)
    return changes


def prolonged(case: Case, p: Progress, now: datetime) -> Changes:
    """By the doctor."""
    later = (p.window_ends or now) + case.terms.extension
    return {"window_ends": later, "extended": p.extended + 1}


def deadline_of(p: Progress) -> datetime:
    """Of what it waits for now."""
    if p.status is S.CONSULTING:
        return expected_by(p) or p.window_ends or p.pay_by
    return p.evidence_by or p.accept_by or p.pay_by


def given_until(p: Progress, until: datetime) -> Changes:
    """By an operator: more time for whatever it waits for now. Never less: what they saw may have
    changed meanwhile."""
    until = max(until, deadline_of(p))
    if (join_by := expected_by(p)) and p.window_ends:
        return {"join_by": until, "window_ends": p.window_ends + (until - join_by)}
    if p.status is S.CONSULTING:
        return {"window_ends": until}
    if p.paid_at is None:
        return {"pay_by": until}
    return {"evidence_by": until} if p.evidence_by else {"accept_by": until}


def come_to_nothing(progress: Progress) -> ConsultationStatus:
    """What an order becomes that ends without a consultation: what was paid goes back."""
    return S.CANCELLED if progress.payment_no is None else S.REFUNDED
