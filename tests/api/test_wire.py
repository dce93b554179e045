"""How lengths of time look on the wire."""

from datetime import timedelta

import jsonschema_rs
import pytest

from api.schemas.base import iso_duration

A_LENGTH_OF_TIME = jsonschema_rs.validator_for(
    {"type": "string", "format": "duration"}, validate_formats=True
)


@pytest.mark.parametrize(
    ("length", "spelled"),
    [
        (timedelta(0), "PT0S"),
        (timedelta(microseconds=109_563), "PT0S"),
        (timedelta(minutes=15), "PT15M"),
        (timedelta(hours=20), "PT20H"),
        (timedelta(hours=1, seconds=2), "PT1H0M2S"),
        (timedelta(days=1), "P1D"),
        (timedelta(days=400, seconds=3602.9), "P400DT1H0M2S"),
        (timedelta(seconds=-1), "PT0S"),
    ],
)
def test_a_length_of_time_is_spelled_as_its_schema_says(length: timedelta, spelled: str) -> None:
    assert iso_duration(length) == spelled
    assert A_LENGTH_OF_TIME.is_valid(spelled)
