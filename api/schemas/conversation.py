"""Conversations on the wire."""

import datetime as dt
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from api.schemas.base import NO_TRUTH, Schema
from api.schemas.file import StoredFile
from api.schemas.paging import Id
from domain.conversation import TEXT_AT_MOST, MessageType, Side


class NewMessage(Schema):
    content: Annotated[str, StringConstraints(max_length=TEXT_AT_MOST, pattern=r"^[^\x00]*$")] = ""
    type: MessageType
    file_id: Id | None = Field(None, description="of an image that was sent by `POST /files`")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type is MessageType.TEXT and not self.content:
            raise ValueError("a text has content")
        if self.type is MessageType.TEXT and self.file_id is not None:
            raise ValueError("a text has no file")
        return self


class Message(Schema):
    id: int
    seq: int = Field(description="counts from 1 in each consultation, without gaps")
    sender: Side
    mine: bool
    type: MessageType
    content: str | None = Field(description="null once the patient's data was erased")
    file: StoredFile | None
    at: dt.datetime


class Read(Schema):
    patient: int = Field(description="up to this `seq` the patient has read")
    doctor: int


class Messages(Schema):
    items: list[Message] = Field(description="oldest first")
    more: bool = Field(description="whether there are more after the last")
    read: Read


class ReadUpTo(Schema):
    up_to: Annotated[
        int,
        Field(ge=0, le=10**9, description="the `seq` of the last message that was read"),
        NO_TRUTH,
    ]


class Ticket(Schema):
    ticket: str
    expires_at: dt.datetime


class StatusNow(Schema):
    status: str
    version: int
    reason: str
    doctor_id: int | None
