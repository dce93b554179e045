"""The table of files."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Numbered


class FileRow(Numbered, Base):
    """One file that an account sent. Its key lies sealed under the account's data key, and once it
    is attached to an order under that of the order's patient, so that it can be shredded with them.
    """

    __tablename__ = "file"
    __table_args__ = (
        CheckConstraint("(order_no is null) = (attached_at is null)", name="attached_to_an_order"),
        Index("ix_file_unattached", "created_at", postgresql_where=text("attached_at is null")),
        Index("ix_file_order_no", "order_no", postgresql_where=text("order_no is not null")),
    )

    hospital_id: Mapped[int]
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patient.id"))
    order_no: Mapped[str | None]
    purpose: Mapped[str | None]
    status: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int]  # as it is given out
    width: Mapped[int | None]
    height: Mapped[int | None]
    sha256: Mapped[bytes]  # of the sealed object: a backup can be checked without any key
    name: Mapped[str] = mapped_column(unique=True)  # in the storage
    thumbnail: Mapped[str | None] = mapped_column(unique=True)
    thumbnail_size: Mapped[int | None]
    data_key_id: Mapped[int] = mapped_column(ForeignKey("data_key.id"))
    sealed_key: Mapped[bytes]  # {key}
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    attached_at: Mapped[datetime | None]
