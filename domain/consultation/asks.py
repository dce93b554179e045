"""What people may ask of a consultation, and when."""

from collections.abc import Callable
from enum import StrEnum

from domain.consultation.words import Case, ConsultationType, Progress, Way
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
        _consults(case, p) and case.type is ConsultationType.PHONE and p.calling_until is None
    ),
    Ask.CANCEL: lambda case, p: p.status.open,
    Ask.REASSIGN: lambda case, p: p.status is S.PENDING and case.way is Way.NAMED,
}


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
    rung = case.way is not Way.EMERGENCY or doctor_id in p.rung
    codes = {
        "not_rung": ask in (Ask.ACCEPT, Ask.DECLINE) and not rung,
        "judgement_missing": ask is Ask.ACCEPT and case.judged and judgement is None,
        "no_more_extensions": ask is Ask.EXTEND and p.extended >= case.terms.extensions,
        "no_more_calls": ask is Ask.CALL and not p.talking and p.calls > case.terms.redials,
        "not_allowed": ask is Ask.CANCEL and by_patient and p.status is not S.PENDING,
    }
    return next((code for code, holds in codes.items() if holds), None)
