"""Rooms and who may sit in them: written before the video server is asked for anything."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered

LIVE = "destroyed_at is null"


class VideoRoomRow(Numbered, Base):
    """The room of one order of any kind, there until the video server says that it is gone."""

    __tablename__ = "video_room"
    __table_args__ = (Index("ix_video_room_live", "id", postgresql_where=text(LIVE)),)

    hospital_id: Mapped[int]
    order_no: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(server_default="consultation")  # whose workflow is told
    number: Mapped[int] = mapped_column(unique=True)
    # The room's own key, under which its secret and its seats' tokens are sealed. Both null in a
    # room that was closed before anybody opened it.
    data_key_id: Mapped[int | None] = mapped_column(ForeignKey("data_key.id"))
    sealed: Mapped[bytes | None]  # {secret}
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())
    closed_at: Mapped[datetime | None]
    destroyed_at: Mapped[datetime | None]


class VideoSeatRow(Numbered, Base):
    """One person's place. `display` is what the others see of them."""

    __tablename__ = "video_seat"
    __table_args__ = (UniqueConstraint("order_no", "account_id"),)

    order_no: Mapped[str] = mapped_column(ForeignKey("video_room.order_no"))
    account_id: Mapped[int]
    role: Mapped[str]  # patient | doctor | …
    display: Mapped[str] = mapped_column(unique=True)
    sealed: Mapped[bytes]  # {token}
    present: Mapped[bool] = mapped_column(server_default="false")
    first_joined_at: Mapped[datetime | None]
    joined_at: Mapped[datetime | None]  # the last time, as is `left_at`
    left_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
