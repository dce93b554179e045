"""Another slot, a line for a full one, a clinic called off"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

SQL = Path(__file__).parent.parent / "sql"

revision = "0004"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "stop_clinic",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("stop_no", sa.Text(), nullable=False),
        sa.Column("doctor_id", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("schedule_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("choose_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["doctor_id"], ["doctor.id"], name=op.f("fk_stop_clinic_doctor_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stop_clinic")),
        sa.UniqueConstraint("stop_no", name=op.f("uq_stop_clinic_stop_no")),
    )
    op.create_table(
        "waitlist_entry",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.BigInteger(), nullable=False),
        sa.Column("person_index", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_waitlist_entry_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_waitlist_entry_patient_id")
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedule.id"], name=op.f("fk_waitlist_entry_schedule_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waitlist_entry")),
        sa.UniqueConstraint("order_no", name=op.f("uq_waitlist_entry_order_no")),
    )
    op.create_index("ix_waitlist_entry_account", "waitlist_entry", ["account_id", "id"])
    op.create_index(
        "ix_waitlist_entry_line",
        "waitlist_entry",
        ["schedule_id", "id"],
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index(
        "uq_waitlist_entry_person",
        "waitlist_entry",
        ["schedule_id", "person_index"],
        unique=True,
        postgresql_where=sa.text("status in ('waiting', 'offered')"),
    )
    op.add_column("appointment", sa.Column("stop_id", sa.BigInteger(), nullable=True))
    op.add_column("appointment", sa.Column("choose_by", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(
        op.f("fk_appointment_stop_id"), "appointment", "stop_clinic", ["stop_id"], ["id"]
    )
    op.create_index(
        "ix_appointment_stop",
        "appointment",
        ["stop_id", "id"],
        postgresql_where=sa.text("stop_id is not null"),
    )
    for statements in ("0004_reschedule_waitlist.sql", "0004_appointment_order.sql"):
        op.execute((SQL / statements).read_text())
