"""Work items; refunds that a person settles; suspensions that are lifted"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

SQL = Path(__file__).parent.parent / "sql"

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "work_item",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("decisions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("lease", sa.Interval(), nullable=False),
        sa.Column("excluded", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("escalates_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalates_to", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("at_deadline", sa.Text(), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("claimed_by", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalated", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("decision", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("data_key_id", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.LargeBinary(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_key_id"], ["data_key.id"], name=op.f("fk_work_item_data_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_item")),
        sa.UniqueConstraint(
            "hospital_id",
            "kind",
            "subject",
            "round",
            name=op.f("uq_work_item_hospital_id_kind_subject_round"),
        ),
        sa.UniqueConstraint("number", name=op.f("uq_work_item_number")),
    )
    op.create_index(
        "ix_work_item_open",
        "work_item",
        ["hospital_id", "role", "id"],
        unique=False,
        postgresql_where=sa.text("status in ('open', 'claimed')"),
    )
    op.create_index("ix_work_item_order", "work_item", ["order_no"], unique=False)

    # A refund that failed for good may be tried again under a new number.
    op.drop_constraint("uq_refund_payment_no_cause", "refund", type_="unique")
    op.create_index(
        "uq_refund_one_a_cause",
        "refund",
        ["payment_no", "cause"],
        unique=True,
        postgresql_where=sa.text("status <> 'failed'"),
    )
    op.create_index("ix_refund_payment", "refund", ["payment_no"], unique=False)
    op.add_column("refund", sa.Column("settled_by", sa.BigInteger(), nullable=True))
    op.add_column(
        "booking_suspension", sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.execute((SQL / "0004_work_item.sql").read_text())
