"""Video rooms, and who sits in them"""

import sqlalchemy as sa
from alembic import op

revision = "0008_video"
down_revision = "0012_message"


def upgrade() -> None:
    op.create_table(
        "video_room",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="consultation", nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_key_id"], ["data_key.id"], name=op.f("fk_video_room_data_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video_room")),
        sa.UniqueConstraint("order_no", name=op.f("uq_video_room_order_no")),
        sa.UniqueConstraint("number", name=op.f("uq_video_room_number")),
    )
    op.create_index(
        "ix_video_room_live", "video_room", ["id"], postgresql_where=sa.text("destroyed_at is null")
    )
    op.create_table(
        "video_seat",
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("display", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("present", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("first_joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_no"], ["video_room.order_no"], name=op.f("fk_video_seat_order_no")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_video_seat")),
        sa.UniqueConstraint(
            "order_no", "account_id", name=op.f("uq_video_seat_order_no_account_id")
        ),
        sa.UniqueConstraint("display", name=op.f("uq_video_seat_display")),
    )
