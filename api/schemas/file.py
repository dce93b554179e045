"""Files on the wire."""

from pydantic import Field

from api.schemas.base import Schema


class StoredFile(Schema):
    id: int
    url: str = Field(description="shows it without a login for a short time")
    thumbnail_url: str | None = Field(description="the same, at most 320 pixels; not for documents")
    content_type: str = Field(examples=["image/jpeg"])
    size: int = Field(description="bytes")
    width: int | None
    height: int | None
