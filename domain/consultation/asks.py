"""What people may ask of a consultation, and when."""

from collections.abc import Callable
from enum import StrEnum

from domain.consultation.words import Case, ConsultationType, Progress, Way, form_of
from domain.consultation.words import ConsultationStatus as S


class Ask(StrEnum):
    """What is asked of an open consultation."""

    ACCEPT = "accept"
    DECLINE = "decline"
    ASK_EVIDENCE = "ask_evidence"
    GIVE_EVIDENCE = "give_evidence"
    EXTEND = "extend"
    COMPLETE = "complete"
    UNSUITABLE = "unsuitable"
    CALL = "call"
    SWITCH = "switch"  # from video to phone or text
    CANCEL = "cancel"
    REASSIGN = "reassign"


def _waits(p: Progress) -> bool:
    return p.status is S.PENDING and p.paid_at is not None


def _consults(case: Case, p: Progress) -> bool:
    return p.status is S.CONSULTING


OPEN_TO: dict[Ask, Callable[[Case, Progress], bool]] = {
    Ask.ACCEPT: lambda case, p: _waits(p) and p.evidence_by is None,
    # Of a pool nobody in particular is asked.
    Ask.DECLINE: lambda case, p: _waits(p) and p.evidence_by is None and case.way is not Way.QUICK,
    Ask.ASK_EVIDENCE: lambda case, p: (
        _waits(p) and case.way is not Way.EMERGENCY and not p.asked_for_evidence
    ),
    Ask.GIVE_EVIDENCE: lambda case, p: _waits(p) and p.evidence_by is not None,
    Ask.EXTEND: _consults,
    Ask.COMPLETE: _consults,
    Ask.UNSUITABLE: _consults,
    Ask.CALL: lambda case, p: (
        _consults(case, p)
        and form_of(case, p) is ConsultationType.PHONE
        and p.calling_until is None
    ),
    Ask.SWITCH: lambda case, p: _consults(case, p) and form_of(case, p) is ConsultationType.VIDEO,
    Ask.CANCEL: lambda case, p: p.status.open,
    Ask.REASSIGN: lambda case, p: p.status is S.PENDING and case.way is Way.NAMED,
}

BY_WHO_IS_ASKED = frozenset({Ask.ACCEPT, Ask.DECLINE, Ask.ASK_EVIDENCE})


def refusal(
    ask: Ask,
    case: Case,
    p: Progress,
    *,
    doctor_id: int | None = None,
    judgement: int | None = None,
    by_patient: bool = False,
) -> str | None:
    """Why a person's command is not allowed (a problem code), or None when it is.

    `judgement` is the note in which the doctor wrote that this is a follow-up (R03).
    """
    if not OPEN_TO[ask](case, p):
        return "not_allowed"
    if ask in BY_WHO_IS_ASKED and (code := _unasked(case, p, doctor_id)):
        return code
    codes = {
        "judgement_missing": ask is Ask.ACCEPT and case.judged and judgement is None,
        "no_more_extensions": ask is Ask.EXTEND and p.extended >= case.terms.extensions,
        "no_more_calls": ask is Ask.CALL and not p.talking and p.calls > case.terms.redials,
        "not_allowed": (ask is Ask.CANCEL and by_patient and p.status is not S.PENDING)
        or (ask is Ask.DECLINE and doctor_id in p.declined),
    }
    return next((code for code, holds in codes.items() if holds), None)


def _unasked(case: Case, p: Progress, doctor_id: int | None) -> str | None:
    """A doctor whom nobody asks, or nobody any more: another one was meanwhile."""
    if case.way is Way.EMERGENCY:
        return None if doctor_id in p.rung else "not_rung"
    return "not_allowed" if case.way is Way.NAMED and doctor_id != p.doctor_id else None
