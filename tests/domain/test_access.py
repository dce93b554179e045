"""Who may do what: every role, action and capacity, written out once more by hand."""

import pytest

from domain.access import (
    APPOINTMENT,
    BY_ROLE,
    CONSULTATION,
    FILE,
    WORK_ITEM,
    Action,
    Caller,
    Capacity,
    Role,
    Stake,
    Verdict,
    acting_as,
    capacities,
    judge,
    may,
)

A, C, R, V = Action, Capacity, Role, Verdict
STAKE = Stake(account_id=1, doctor_id=70)


def caller(*roles, account_id=9, doctor_id=None):
    return Caller(account_id, 1, 1, frozenset(roles), doctor_id)


# Capacities, in the order owner, its doctor, operator, nurse.
ALLOWED = {
    A.SEE: "oduN",
    A.PAY: "o",
    A.CANCEL: "ou",
    A.CHECK_IN: "ou",
    A.COMPLETE: "du",
    A.RESCHEDULE: "o",
    A.CHOOSE: "ou",
    A.CALL: "d",
    A.EXTEND: "u",
    A.REASSIGN_ORDER: "u",
    A.RETRY: "u",
    A.CANCEL_AND_REFUND: "u",
}
OF_CONSULTATIONS = {
    A.SEE: "odcu",
    A.PAY: "o",
    A.CANCEL: "ou",
    A.ACCEPT: "dc",
    A.DECLINE: "dc",
    A.ASK_EVIDENCE: "dc",
    A.GIVE_EVIDENCE: "o",
    A.PROLONG: "d",
    A.COMPLETE: "d",
    A.UNSUITABLE: "d",
    A.CALL: "d",
    A.SEE_BACKGROUND: "dc",
    A.WRITE: "od",
    A.JOIN: "od",
    A.SWITCH: "od",
    A.RATE: "o",
    A.EXTEND: "u",
    A.REASSIGN_ORDER: "u",
    A.RETRY: "u",
    A.CANCEL_AND_REFUND: "u",
}
OF_WORK_ITEMS = {
    A.SEE: "su",
    A.CLAIM: "s",
    A.RELEASE: "su",
    A.REASSIGN: "u",
    A.DECIDE: "s",
}
OF_FILES = {A.SEE: "odc"}
LETTERS = {
    "o": C.OWNER,
    "d": C.ITS_DOCTOR,
    "s": C.ITS_STAFF,
    "c": C.CANDIDATE,
    "u": C.OPERATOR,
    "N": C.NURSE,
}
TABLES = [
    (APPOINTMENT, ALLOWED),
    (CONSULTATION, OF_CONSULTATIONS),
    (WORK_ITEM, OF_WORK_ITEMS),
    (FILE, OF_FILES),
]
EACH = [(rules, by_hand, action) for rules, by_hand in TABLES for action in by_hand]


def test_the_table_is_whole():
    for rules, by_hand in TABLES:
        assert set(by_hand) == set(rules)
    assert set(A) == set(APPOINTMENT) | set(CONSULTATION) | set(WORK_ITEM) | set(BY_ROLE)
    assert set(LETTERS.values()) == set(C)


@pytest.mark.parametrize("capacity", C)
@pytest.mark.parametrize(("rules", "by_hand", "action"), EACH)
def test_each_capacity_alone(rules, by_hand, action, capacity):
    allowed = capacity in {LETTERS[letter] for letter in by_hand[action]}
    sees = capacity in {LETTERS[letter] for letter in by_hand[A.SEE]}
    verdict = judge(rules, action, frozenset({capacity}))
    assert verdict is (V.ALLOWED if allowed else V.FORBIDDEN if sees else V.HIDDEN)


@pytest.mark.parametrize(("rules", "by_hand", "action"), EACH)
def test_what_does_not_concern_one_does_not_exist(rules, by_hand, action):
    assert judge(rules, action, frozenset()) is V.HIDDEN


@pytest.mark.parametrize(
    ("who", "held"),
    [
        (caller(R.PATIENT, account_id=1), {C.OWNER}),
        (caller(R.PATIENT), set()),
        (caller(R.DOCTOR, doctor_id=70), {C.ITS_DOCTOR}),
        (caller(R.DOCTOR, doctor_id=71), set()),
        (caller(R.OPERATOR), {C.OPERATOR}),
        (caller(R.NURSE), {C.NURSE}),
        (caller(R.PHARMACIST), set()),
        (caller(R.CHIEF_PHARMACIST), set()),
        (caller(), set()),
        (
            caller(R.PATIENT, R.DOCTOR, R.OPERATOR, R.NURSE, account_id=1, doctor_id=70),
            {C.OWNER, C.ITS_DOCTOR, C.OPERATOR, C.NURSE},
        ),
    ],
)
def test_in_which_capacity_one_comes(who, held):
    assert capacities(who, STAKE) == held


def test_an_object_without_a_doctor_is_no_doctors():
    assert capacities(caller(R.PATIENT), Stake(account_id=1)) == set()
    assert capacities(caller(R.DOCTOR, doctor_id=70), Stake(account_id=1)) == set()


def test_what_waits_for_a_role_concerns_its_people():
    waiting = Stake(None, roles=frozenset({R.PHARMACIST, R.CHIEF_PHARMACIST}))
    assert capacities(caller(R.PHARMACIST), waiting) == {C.ITS_STAFF}
    assert capacities(caller(R.CHIEF_PHARMACIST, R.DOCTOR), waiting) == {C.ITS_STAFF}
    assert capacities(caller(R.OPERATOR), waiting) == {C.OPERATOR}
    assert capacities(caller(R.DOCTOR, doctor_id=70), waiting) == set()


def test_whoever_could_accept_comes_as_a_candidate_and_nobody_else():
    asked = Stake(account_id=1, candidate_id=70)
    assert capacities(caller(R.DOCTOR, doctor_id=70), asked) == {C.CANDIDATE}
    assert capacities(caller(R.DOCTOR, doctor_id=71), asked) == set()


@pytest.mark.parametrize(
    ("action", "held", "capacity"),
    [
        (A.CANCEL, {C.OWNER, C.OPERATOR}, C.OWNER),  # an operator's own visit has his own deadline
        (A.CANCEL_AND_REFUND, {C.OWNER, C.OPERATOR}, C.OPERATOR),
        (A.COMPLETE, {C.ITS_DOCTOR, C.OPERATOR}, C.ITS_DOCTOR),
        (A.COMPLETE, {C.OWNER, C.ITS_DOCTOR}, C.ITS_DOCTOR),
    ],
)
def test_ones_own_interest_comes_before_ones_office(action, held, capacity):
    assert acting_as(APPOINTMENT, action, frozenset(held)) is capacity


BY_HAND = {
    A.STEER_STOPS: {R.OPERATOR},
    A.OVERSEE: {R.OPERATOR},
    A.BOOK: {R.PATIENT},
    A.MANAGE_SCHEDULES: {R.OPERATOR},
    A.HOLD_SESSIONS: {R.DOCTOR},
    A.SEE_QUEUES: {R.OPERATOR, R.NURSE},
    A.DECODE_PAYLOADS: {R.OPERATOR},
    A.KEEP_PATIENTS: {R.PATIENT},
    A.WORK: {R.DOCTOR, R.CHIEF_PHARMACIST, R.PHARMACIST, R.NURSE, R.OPERATOR},
    A.APPEAL: {R.PATIENT},
    A.RECONCILE: {R.OPERATOR},
    A.SEE_CASES: {R.DOCTOR},
    A.GO_ON_DUTY: {R.DOCTOR},
    A.KEEP_TEMPLATES: {R.DOCTOR},
    A.KEEP_CREDENTIALS: {R.OPERATOR},
    A.CONSENT: {R.PATIENT},
}


@pytest.mark.parametrize("role", R)
@pytest.mark.parametrize("action", BY_ROLE)
def test_what_a_role_may_do_to_no_object_in_particular(action, role):
    assert may(caller(role), action) is (role in BY_HAND[action])
    assert not may(caller(), action)
