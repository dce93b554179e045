"""Phone calls: who is rung for an order, and how each call ended"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0009_phone_call"
down_revision = "0007_idempotency"


def _when(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def upgrade() -> None:
    op.create_table(
        "phone_call",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("call_no", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("doctor_account_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("time_limit", sa.Interval(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("placings", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("patient_leg", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        _when("started_at"),
        _when("doctor_joined_at"),
        _when("answered_at"),
        _when("ended_at"),
        sa.Column("duration", sa.BigInteger(), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["doctor_account_id"],
            ["account.id"],
            name=op.f("fk_phone_call_doctor_account_id"),
        ),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_phone_call_patient_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phone_call")),
        sa.UniqueConstraint("call_no", name=op.f("uq_phone_call_call_no")),
        sa.UniqueConstraint("order_no", "attempt", name=op.f("uq_phone_call_order_no_attempt")),
    )
    op.create_index("ix_phone_call_doctor", "phone_call", ["doctor_account_id", "id"])
