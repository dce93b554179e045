"""Files that people send."""

import sqlalchemy as sa
from alembic import op

revision = "0011_file"
down_revision = "0010_care"


def upgrade() -> None:
    op.create_table(
        "file",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=True),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("thumbnail", sa.Text(), nullable=True),
        sa.Column("thumbnail_size", sa.BigInteger(), nullable=True),
        sa.Column("data_key_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("attached_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.CheckConstraint(
            "(order_no is null) = (attached_at is null)", name=op.f("ck_file_attached_to_an_order")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_file_account_id")),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_file_patient_id")),
        sa.ForeignKeyConstraint(["data_key_id"], ["data_key.id"], name=op.f("fk_file_data_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file")),
        sa.UniqueConstraint("name", name=op.f("uq_file_name")),
        sa.UniqueConstraint("thumbnail", name=op.f("uq_file_thumbnail")),
    )
    op.create_index(
        "ix_file_unattached", "file", ["created_at"],
        postgresql_where=sa.text("attached_at is null"),
    )  # fmt: skip
    op.create_index(
        "ix_file_order_no", "file", ["order_no"],
        postgresql_where=sa.text("order_no is not null"),
    )  # fmt: skip
