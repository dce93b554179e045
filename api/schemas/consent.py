"""Consents (知情同意) on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import NO_NUL, Schema
from api.schemas.paging import Id
from domain.consent import ConsentKind


class InBothLanguages(Schema):
    zh: str
    en: str


class ConsentText(Schema):
    kind: ConsentKind
    version: str
    valid_from: dt.date
    title: InBothLanguages
    text: InBothLanguages


class ConsentGiven(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "online_care", "version": "2026-01", "patientId": 1}]
        }
    )

    kind: ConsentKind
    version: Annotated[str, Field(min_length=1, max_length=40), NO_NUL]
    patient_id: Id


class Consent(Schema):
    id: int
    patient_id: int
    kind: ConsentKind
    version: str
    text_hash: str = Field(description="SHA-256 of the text that was accepted, hexadecimal")
    at: dt.datetime
