"""Who may do what to which object: the only place that says so.

A caller meets an object in one or more capacities (it is mine, I treat it, I run the clinic). A
capacity that may not even see the object is told that it does not exist.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    PATIENT = "patient"
    DOCTOR = "doctor"
    CHIEF_PHARMACIST = "chief_pharmacist"
    PHARMACIST = "pharmacist"
    NURSE = "nurse"
    OPERATOR = "operator"


class Capacity(StrEnum):
    OWNER = "owner"  # the account the object belongs to
    ITS_DOCTOR = "its_doctor"  # the doctor named in it
    ITS_STAFF = "its_staff"  # somebody of a role that it waits for
    CANDIDATE = "candidate"  # a doctor who could accept it
    OPERATOR = "operator"
    NURSE = "nurse"


class Action(StrEnum):
    BOOK = "book"
    SEE = "see"
    PAY = "pay"
    CANCEL = "cancel"
    CHECK_IN = "check_in"
    COMPLETE = "complete"
    RESCHEDULE = "reschedule"
    CHOOSE = "choose"  # another slot or the money, after a stop-clinic
    EXTEND = "extend"
    REASSIGN_ORDER = "reassign_order"  # to another slot, by the clinic
    RETRY = "retry"
    CANCEL_AND_REFUND = "cancel_and_refund"
    MANAGE_SCHEDULES = "manage_schedules"
    OVERSEE = "oversee"  # every open order
    STEER_STOPS = "steer_stops"  # pause and resume a stop-clinic
    CALL = "call"  # 叫号: to the doctor's room; of a phone consultation: dial
    ACCEPT = "accept"
    DECLINE = "decline"
    ASK_EVIDENCE = "ask_evidence"
    GIVE_EVIDENCE = "give_evidence"
    PROLONG = "prolong"  # by the doctor: the window
    UNSUITABLE = "unsuitable"  # 转线下
    WRITE = "write"  # messages
    JOIN = "join"  # the video call
    SWITCH = "switch"  # from video to phone or text
    RATE = "rate"
    SEE_BACKGROUND = "see_background"  # the patient's earlier visits and allergies
    SEE_CASES = "see_cases"  # what waits for a doctor
    HOLD_SESSIONS = "hold_sessions"  # one's own, as a doctor
    SEE_QUEUES = "see_queues"  # at the desk
    DECODE_PAYLOADS = "decode_payloads"
    KEEP_PATIENTS = "keep_patients"  # the persons (就诊人) of one's own account
    CLAIM = "claim"
    RELEASE = "release"
    REASSIGN = "reassign"
    DECIDE = "decide"
    WORK = "work"  # see the worklist
    APPEAL = "appeal"  # against a suspension
    RECONCILE = "reconcile"  # the gateway's bill with our books
    GO_ON_DUTY = "go_on_duty"  # 值班, for online consultations
    KEEP_TEMPLATES = "keep_templates"  # of one's own replies
    KEEP_CREDENTIALS = "keep_credentials"  # of any doctor
    CONSENT = "consent"  # for the persons of one's own account


class Verdict(StrEnum):
    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"  # 403: may know that it exists, may not do this
    HIDDEN = "hidden"  # 404


C = Capacity
APPOINTMENT: dict[Action, frozenset[Capacity]] = {
    Action.SEE: frozenset({C.OWNER, C.ITS_DOCTOR, C.OPERATOR, C.NURSE}),
    Action.PAY: frozenset({C.OWNER}),
    Action.CANCEL: frozenset({C.OWNER, C.OPERATOR}),
    Action.CHECK_IN: frozenset({C.OWNER, C.OPERATOR}),
    Action.COMPLETE: frozenset({C.ITS_DOCTOR, C.OPERATOR}),
    Action.RESCHEDULE: frozenset({C.OWNER}),
    Action.CHOOSE: frozenset({C.OWNER, C.OPERATOR}),
    Action.CALL: frozenset({C.ITS_DOCTOR}),
    Action.EXTEND: frozenset({C.OPERATOR}),
    Action.REASSIGN_ORDER: frozenset({C.OPERATOR}),
    Action.RETRY: frozenset({C.OPERATOR}),
    Action.CANCEL_AND_REFUND: frozenset({C.OPERATOR}),
}
# A consultation (问诊). Who could accept it may look at it; operators see where it stands.
CONSULTATION: dict[Action, frozenset[Capacity]] = {
    Action.SEE: frozenset({C.OWNER, C.ITS_DOCTOR, C.CANDIDATE, C.OPERATOR}),
    Action.PAY: frozenset({C.OWNER}),
    Action.CANCEL: frozenset({C.OWNER, C.OPERATOR}),
    Action.ACCEPT: frozenset({C.ITS_DOCTOR, C.CANDIDATE}),
    Action.DECLINE: frozenset({C.ITS_DOCTOR, C.CANDIDATE}),
    Action.ASK_EVIDENCE: frozenset({C.ITS_DOCTOR, C.CANDIDATE}),
    Action.GIVE_EVIDENCE: frozenset({C.OWNER}),
    Action.PROLONG: frozenset({C.ITS_DOCTOR}),
    Action.COMPLETE: frozenset({C.ITS_DOCTOR}),
    Action.UNSUITABLE: frozenset({C.ITS_DOCTOR}),
    Action.CALL: frozenset({C.ITS_DOCTOR}),
    Action.SEE_BACKGROUND: frozenset({C.ITS_DOCTOR, C.CANDIDATE}),
    Action.WRITE: frozenset({C.OWNER, C.ITS_DOCTOR}),
    Action.JOIN: frozenset({C.OWNER, C.ITS_DOCTOR}),
    Action.SWITCH: frozenset({C.OWNER, C.ITS_DOCTOR}),
    Action.RATE: frozenset({C.OWNER}),
    Action.EXTEND: frozenset({C.OPERATOR}),
    Action.REASSIGN_ORDER: frozenset({C.OPERATOR}),
    Action.RETRY: frozenset({C.OPERATOR}),
    Action.CANCEL_AND_REFUND: frozenset({C.OPERATOR}),
}
# A work item (待办). Staff of other roles do not see it.
WORK_ITEM: dict[Action, frozenset[Capacity]] = {
    Action.SEE: frozenset({C.ITS_STAFF, C.OPERATOR}),
    Action.CLAIM: frozenset({C.ITS_STAFF}),
    Action.RELEASE: frozenset({C.ITS_STAFF, C.OPERATOR}),
    Action.REASSIGN: frozenset({C.OPERATOR}),
    Action.DECIDE: frozenset({C.ITS_STAFF}),
}
# A file: of who sent it, and of whom the order concerns that it is attached to.
FILE: dict[Action, frozenset[Capacity]] = {
    Action.SEE: frozenset({C.OWNER, C.ITS_DOCTOR, C.CANDIDATE}),
}
# What is done to no object in particular: by role alone.
BY_ROLE: dict[Action, frozenset[Role]] = {
    Action.STEER_STOPS: frozenset({Role.OPERATOR}),
    Action.OVERSEE: frozenset({Role.OPERATOR}),
    Action.BOOK: frozenset({Role.PATIENT}),
    Action.SEE_CASES: frozenset({Role.DOCTOR}),
    Action.MANAGE_SCHEDULES: frozenset({Role.OPERATOR}),
    Action.HOLD_SESSIONS: frozenset({Role.DOCTOR}),
    Action.SEE_QUEUES: frozenset({Role.OPERATOR, Role.NURSE}),
    Action.DECODE_PAYLOADS: frozenset({Role.OPERATOR}),
    Action.KEEP_PATIENTS: frozenset({Role.PATIENT}),
    Action.WORK: frozenset(Role) - {Role.PATIENT},
    Action.APPEAL: frozenset({Role.PATIENT}),
    Action.RECONCILE: frozenset({Role.OPERATOR}),
    Action.GO_ON_DUTY: frozenset({Role.DOCTOR}),
    Action.KEEP_TEMPLATES: frozenset({Role.DOCTOR}),
    Action.KEEP_CREDENTIALS: frozenset({Role.OPERATOR}),
    Action.CONSENT: frozenset({Role.PATIENT}),
}


@dataclass(frozen=True)
class Caller:
    """Who is asking, as the access token says. Ids only."""

    account_id: int
    session_id: int
    hospital_id: int
    roles: frozenset[Role]
    doctor_id: int | None = None


@dataclass(frozen=True)
class Stake:
    """Whom an object concerns."""

    account_id: int | None
    doctor_id: int | None = None
    roles: frozenset[Role] = frozenset()  # it waits for somebody of these
    candidate_id: int | None = None  # the doctor who asks, and could accept it


def capacities(caller: Caller, stake: Stake) -> frozenset[Capacity]:
    """In which capacities a caller meets an object, the owner's first."""
    found = set()
    if caller.account_id == stake.account_id:
        found.add(C.OWNER)
    if caller.doctor_id is not None and caller.doctor_id == stake.doctor_id:
        found.add(C.ITS_DOCTOR)
    if caller.doctor_id is not None and caller.doctor_id == stake.candidate_id:
        found.add(C.CANDIDATE)
    if caller.roles & stake.roles:
        found.add(C.ITS_STAFF)
    if Role.OPERATOR in caller.roles:
        found.add(C.OPERATOR)
    if Role.NURSE in caller.roles:
        found.add(C.NURSE)
    return frozenset(found)


def office(caller: Caller) -> Capacity:
    """In which capacity a member of staff meets what is neither theirs nor their patient's."""
    return C.OPERATOR if Role.OPERATOR in caller.roles else C.NURSE


def judge(
    rules: dict[Action, frozenset[Capacity]], action: Action, held: frozenset[Capacity]
) -> Verdict:
    if not held & rules[Action.SEE]:
        return Verdict.HIDDEN
    return Verdict.ALLOWED if held & rules[action] else Verdict.FORBIDDEN


def acting_as(
    rules: dict[Action, frozenset[Capacity]], action: Action, held: frozenset[Capacity]
) -> Capacity:
    """The capacity in which an allowed caller acts: its own interest before its office."""
    return next(capacity for capacity in C if capacity in held & rules[action])


def may(caller: Caller, action: Action) -> bool:
    return bool(caller.roles & BY_ROLE[action])
