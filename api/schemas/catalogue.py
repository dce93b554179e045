"""Departments and doctors on the wire."""

from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import Money, Schema


class Department(Schema):
    """科室. `level` 1 is a top one; `parentId` names the one above."""

    id: int
    name: str
    parent_id: int | None
    level: int

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": 11, "name": "心血管内科", "parentId": 1, "level": 2}]
        }
    )


class DoctorPrices(Schema):
    """Yuan. Null: this doctor's level does not offer it."""

    registration: Money | None
    text: Money | None
    video: Money | None
    phone: Money | None


class Doctor(Schema):
    """医生. `level` is a code, `title` what patients read."""

    id: int
    name: str
    title: str
    level: str
    department_id: int
    department_name: str
    introduction: str
    speciality: str
    rating: Annotated[float, Field(ge=1, le=5)] | None
    prices: DoctorPrices
    online: bool = Field(description="on duty (值班) for online consultations now")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "name": "示例医生甲",
                    "title": "主任医师",
                    "level": "chief",
                    "departmentId": 11,
                    "departmentName": "心血管内科",
                    "introduction": "演示数据。",
                    "speciality": "高血压、冠心病",
                    "rating": 4.9,
                    "prices": {"registration": 50, "text": 99.9, "video": 129.9, "phone": 109.9},
                    "online": True,
                }
            ]
        }
    )
