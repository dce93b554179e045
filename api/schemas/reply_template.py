"""Reply templates (常用回复) on the wire."""

import datetime as dt
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.base import NO_NUL, Schema


class ReplyTemplateWanted(Schema):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"title": "复诊提醒", "text": "请按时服药，一周后复诊。如有不适及时就医。"}
            ]
        }
    )

    title: Annotated[str, Field(min_length=1, max_length=50), NO_NUL]
    text: Annotated[str, Field(min_length=1, max_length=2000), NO_NUL]


class ReplyTemplate(Schema):
    id: int
    title: str
    text: str
    updated_at: dt.datetime
