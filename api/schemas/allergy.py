"""Allergies (过敏史) on the wire, in the words of FHIR's AllergyIntolerance."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import NO_NUL, Schema
from domain.allergy import AllergySeverity, AllergyStatus


class AllergyRecorded(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"substance": "青霉素", "reaction": "皮疹", "severity": "moderate"}]
        }
    )

    substance: Annotated[str, Field(min_length=1, max_length=100), NO_NUL]
    reaction: Annotated[str, Field(min_length=1, max_length=200), NO_NUL] | None = None
    severity: AllergySeverity | None = None


class Allergy(Schema):
    id: int
    substance: str
    reaction: str | None
    severity: AllergySeverity | None
    status: AllergyStatus
    recorded_at: dt.datetime
    recorded_by: int = Field(description="the account that recorded it")
    withdrawn_at: dt.datetime | None
