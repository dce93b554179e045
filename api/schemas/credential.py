"""A doctor's credentials (执业资质) on the wire: operators see them."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from api.schemas.base import NO_NUL, Schema
from api.schemas.paging import Day
from domain.credential import CredentialRefusal

EXAMPLE: JsonDict = {
    "licenceNo": "110990000000001",
    "licenceValidUntil": "2030-12-31",
    "practisingSince": "2012-07-01",
    "institution": "示例医院",
    "institutionConsentUntil": "2030-12-31",
}


class CredentialWanted(Schema):
    """Each day is the last good one. Null or not sent: not recorded."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    licence_no: Annotated[
        str | None, Field(pattern=r"^[0-9A-Za-z-]{6,40}$", description="执业证书编码")
    ] = None
    licence_valid_until: Day | None = None
    practising_since: Annotated[Day | None, Field(description="independent practice began")] = None
    institution: Annotated[
        str,
        Field(max_length=100, description="主要执业机构: where the doctor is registered"),
        NO_NUL,
    ] = ""
    institution_consent_until: Annotated[
        Day | None, Field(description="its consent to online care ends")
    ] = None


class Credential(CredentialWanted):
    doctor_id: int
    refusal: CredentialRefusal | None = Field(
        description="why the doctor may take no new case today, or null"
    )
