"""How values look on the wire."""

from datetime import timedelta

import jsonschema_rs
import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas.base import iso_duration
from api.schemas.paging import Id

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


@pytest.mark.parametrize("sent", ["true", "false", "1.5", '"one"', "null", str(2**63)])
def test_an_id_is_a_number_that_fits(sent: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Id).validate_json(sent)


def test_an_id_is_written_as_a_number_or_as_its_digits() -> None:
    """Clients whose numbers are floats send the digits."""
    assert [TypeAdapter(Id).validate_json(sent) for sent in ("12", '"12"')] == [12, 12]
