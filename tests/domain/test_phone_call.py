"""How a call ended, and whether it is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.phone_call import Leg, Outcome, outcome_of, redials, talk_time

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("talked", "doctor_joined", "doctor", "patient", "outcome"),
    [
        (True, True, Leg.COMPLETED, Leg.COMPLETED, Outcome.TALKED),
        (True, True, Leg.COMPLETED, None, Outcome.TALKED),
        (True, True, None, Leg.COMPLETED, Outcome.TALKED),
        # The doctor's phone
        (False, False, Leg.NO_ANSWER, None, Outcome.DOCTOR_NO_ANSWER),
        (False, False, Leg.CANCELED, None, Outcome.DOCTOR_NO_ANSWER),
        (False, False, Leg.BUSY, None, Outcome.DOCTOR_BUSY),
        (False, False, Leg.FAILED, None, Outcome.FAILED),
        # A voicemail picks up and presses nothing
        (False, False, Leg.COMPLETED, None, Outcome.DOCTOR_NO_ANSWER),
        # The patient's phone
        (False, True, None, Leg.NO_ANSWER, Outcome.PATIENT_NO_ANSWER),
        (False, True, None, Leg.BUSY, Outcome.PATIENT_BUSY),
        (False, True, None, Leg.FAILED, Outcome.FAILED),
        (False, True, None, Leg.COMPLETED, Outcome.PATIENT_NO_ANSWER),
        (False, True, Leg.COMPLETED, Leg.BUSY, Outcome.PATIENT_BUSY),
        # The doctor hangs up while it rings
        (False, True, Leg.COMPLETED, Leg.CANCELED, Outcome.DOCTOR_LEFT),
        (False, True, Leg.COMPLETED, None, Outcome.DOCTOR_LEFT),
    ],
)
def test_how_a_call_ended_is_told_by_keys_and_legs(
    talked: bool, doctor_joined: bool, doctor: Leg | None, patient: Leg | None, outcome: Outcome
) -> None:
    found = outcome_of(talked=talked, doctor_joined=doctor_joined, doctor=doctor, patient=patient)
    assert found is outcome


@pytest.mark.parametrize(
    ("seconds", "told", "talk"),
    [(90.7, None, 90), (90, 85, 85), (90, 95, 90), (-3, None, 0), (90, 0, 0)],
)
def test_a_talk_lasts_from_the_patients_key_and_no_longer_than_the_provider_says(
    seconds: float, told: int | None, talk: int
) -> None:
    assert talk_time(NOON, NOON + timedelta(seconds=seconds), told) == talk


def test_without_a_talk_there_is_no_time() -> None:
    assert talk_time(None, NOON, 20) == 0


@pytest.mark.parametrize("outcome", Outcome)
def test_a_call_that_found_nobody_is_repeated_twice(outcome: Outcome) -> None:
    again = [redials(outcome, attempt, limit=2) for attempt in (1, 2, 3, 4)]
    assert again == ([False] * 4 if outcome == "talked" else [True, True, False, False])


def test_without_a_limit_above_nothing_it_is_not_repeated() -> None:
    assert not redials(Outcome.DOCTOR_NO_ANSWER, 1, limit=0)
