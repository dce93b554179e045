"""Whatever happens to an open consultation in whatever order, it always knows what is next."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.consultation import (
    BY_ITSELF,
    Ask,
    Case,
    ConsultationType,
    Progress,
    Step,
    Way,
    changes,
    next_step,
    refusal,
)
from domain.consultation import ConsultationStatus as S
from domain.phone_call import CallEnded, Outcome
from tests.support.consulting import a_case

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TEXT = ConsultationType.TEXT
Change = Callable[[Case, Progress, datetime], dict[str, Any]]
# As the workflow keeps its promises; every other step ends the order.
BY_STEP: dict[Step, Change] = {
    Step.RING: lambda case, p, now: {
        "rung": (*p.rung, len(p.rung)), "ring_at": now + case.terms.ring_for,
    },
    Step.REMIND_DOCTOR: lambda case, p, now: {"reminded": p.reminded + 1},
    Step.ASK_TO_CONCLUDE: lambda case, p, now: {"left_at": None},
    Step.REDIAL: changes.dialled,
    Step.SETTLE_CALL: changes.not_dialled,
    Step.END_WINDOW: lambda case, p, now: {"status": changes.silence_is_free(case, p)[0]},
}  # fmt: skip
# As it does what people ask for; whatever else is asked ends the order.
BY_PEOPLE: dict[Ask, Change] = {
    Ask.ACCEPT: lambda case, p, now: changes.accepted(case, 7, 12, now),
    Ask.ASK_EVIDENCE: changes.evidence_wanted,
    Ask.GIVE_EVIDENCE: changes.evidence_given,
    Ask.EXTEND: changes.prolonged,
    Ask.CALL: changes.dialled,
    Ask.REASSIGN: lambda case, p, now: {"doctor_id": 8},
}


EVENTS = st.sampled_from(["step", *Ask, "answer", "come", "leave", "talked", "nobody", "more_time"])


@settings(max_examples=300)
@given(
    type=st.sampled_from(ConsultationType),
    way=st.sampled_from(Way),
    ahead=st.sampled_from([None, MINUTE, 9 * HOUR]),
    events=st.lists(
        st.tuples(EVENTS, st.integers(0, 4000), st.sampled_from(["doctor", "patient"])),
        max_size=30,
    ),
)
def test_an_open_order_always_has_a_next_step_that_is_explained(
    type: ConsultationType,
    way: Way,
    ahead: timedelta | None,
    events: list[tuple[str, int, str]],
) -> None:
    scheduled = NOON + ahead if ahead and type is not TEXT else None
    case = a_case(type, way, scheduled_at=scheduled)
    named = 7 if way is Way.NAMED else None
    now, p = NOON, Progress(pay_by=NOON + 15 * MINUTE, doctor_id=named)
    p = replace(p, **changes.paid(case, "P-1", now))
    for event, minutes, role in events:
        if event == "step":
            promised = next_step(case, p)
            now = max(now, promised.at)
            p = replace(p, **by_itself(case, p, promised.step, now))
        else:
            now += minutes * MINUTE / 60
            p = replace(p, **said(case, p, event, role, now))
        if not p.status.open:
            return
        found = next_step(case, p)
        assert found.waiting_for in {
            "payment", "doctor", "patient", "evidence", "call", "conclusion",
        }  # fmt: skip
        assert BY_ITSELF[found.step]


def by_itself(case: Case, p: Progress, step: Step, now: datetime) -> dict[str, Any]:
    if step in BY_STEP:
        return BY_STEP[step](case, p, now)
    return {"status": changes.come_to_nothing(p)}


def said(case: Case, p: Progress, event: str, role: str, now: datetime) -> dict[str, Any]:
    """What people and machines say; nothing changes where the workflow refuses them."""
    if event == "more_time":
        return changes.given_until(p, now + HOUR)
    if event in set(Ask):
        return asked(case, p, Ask(event), now)
    return heard(case, p, event, role, now) if p.status is S.CONSULTING else {}


def asked(case: Case, p: Progress, ask: Ask, now: datetime) -> dict[str, Any]:
    if refusal(ask, case, p, doctor_id=(p.rung or (p.doctor_id or 7,))[0], judgement=1):
        return {}
    if ask is Ask.DECLINE and case.way is Way.EMERGENCY:
        return {"ring_at": now, "declined": (*p.declined, p.rung[0])}
    return BY_PEOPLE[ask](case, p, now) if ask in BY_PEOPLE else {"status": S.COMPLETED}


def heard(case: Case, p: Progress, event: str, role: str, now: datetime) -> dict[str, Any]:
    if event in ("come", "leave"):
        return changes.somebody_came_or_left(case, p, role, here=event == "come", now=now)
    if event == "answer":
        return {"answered": True}
    if p.calling_until is None:
        return {}
    outcome = Outcome.TALKED if event == "talked" else Outcome.PATIENT_NO_ANSWER
    return changes.call_ended(case, p, CallEnded("T-1", p.calls, outcome, 0, now), now)
