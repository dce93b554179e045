"""Online consultations, what people write with their commands, the health record's first entries"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

SQL = Path(__file__).parent.parent / "sql"

revision = "0006"
down_revision = "0005"

BIGINTS = postgresql.ARRAY(sa.BigInteger())
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("doctor", sa.Column("own_prices", postgresql.JSONB(), nullable=True))
    op.create_table(
        "consultation_note",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("files", BIGINTS, server_default="{}", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consultation_note")),
    )
    op.create_index("ix_consultation_note_order", "consultation_note", ["order_no", "id"])
    op.create_table(
        "consultation",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("doctor_id", sa.BigInteger(), nullable=True),
        sa.Column("department_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("way", sa.Text(), nullable=False),
        sa.Column("visit_kind", sa.Text(), nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.Column("scheduled_at", INSTANT, nullable=True),
        sa.Column("price", sa.Numeric(12, 2), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("attachments", BIGINTS, nullable=False),
        sa.Column("red_flags", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("progress", postgresql.JSONB(), nullable=False),
        sa.Column("payment_no", sa.Text(), nullable=True),
        sa.Column("pay_by", INSTANT, nullable=False),
        sa.Column("paid_at", INSTANT, nullable=True),
        sa.Column("due_at", INSTANT, nullable=True),
        sa.Column("next_step", sa.Text(), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("rung", BIGINTS, server_default="{}", nullable=False),
        sa.Column("started_at", INSTANT, nullable=True),
        sa.Column("window_ends", INSTANT, nullable=True),
        sa.Column("ended_at", INSTANT, nullable=True),
        sa.Column("note_ids", BIGINTS, server_default="{}", nullable=False),
        sa.Column("conclusion_id", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", INSTANT, nullable=True),
        sa.Column("rating", sa.BigInteger(), nullable=True),
        sa.Column("comment", sa.LargeBinary(), nullable=True),
        sa.Column("rated_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.CheckConstraint("rating between 1 and 5", name=op.f("ck_consultation_rating_in_range")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_consultation_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_consultation_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["doctor_id"], ["doctor.id"], name=op.f("fk_consultation_doctor_id")
        ),
        sa.ForeignKeyConstraint(
            ["conclusion_id"],
            ["consultation_note.id"],
            name=op.f("fk_consultation_conclusion_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consultation")),
        sa.UniqueConstraint("order_no", name=op.f("uq_consultation_order_no")),
    )
    op.create_index("ix_consultation_account", "consultation", ["account_id", "id"])
    op.create_index("ix_consultation_doctor", "consultation", ["doctor_id", "id"])
    op.create_index("ix_consultation_patient", "consultation", ["patient_id", "id"])
    op.create_index(
        "ix_consultation_waiting",
        "consultation",
        ["hospital_id", "department_id", "paid_at"],
        postgresql_where=sa.text("status = 'pending' and paid_at is not null"),
    )
    op.create_table(
        "health_record",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("record_date", sa.Date(), nullable=False),
        sa.Column("department_id", sa.BigInteger(), nullable=True),
        sa.Column("doctor_id", sa.BigInteger(), nullable=True),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("attachments", BIGINTS, server_default="{}", nullable=False),
        sa.Column("created_at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_health_record_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["doctor_id"], ["doctor.id"], name=op.f("fk_health_record_doctor_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health_record")),
    )
    op.create_index(
        "uq_health_record_order",
        "health_record",
        ["order_no", "type"],
        unique=True,
        postgresql_where=sa.text("order_no is not null"),
    )
    op.create_index(
        "ix_health_record_patient", "health_record", ["patient_id", "record_date", "id"]
    )
    op.execute((SQL / "0006_consultation.sql").read_text())
