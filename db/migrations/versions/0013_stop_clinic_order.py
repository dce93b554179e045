"""Every stop knows its orders, also those that another one calls off later, and whom it cannot tell"""

import sqlalchemy as sa
from alembic import op

revision = "0013_stop_clinic_order"
down_revision = "0008_video"


def upgrade() -> None:
    op.create_table(
        "stop_clinic_order",
        sa.Column("stop_id", sa.BigInteger(), nullable=False),
        sa.Column("appointment_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["appointment_id"],
            ["appointment.id"],
            name=op.f("fk_stop_clinic_order_appointment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["stop_id"], ["stop_clinic.id"], name=op.f("fk_stop_clinic_order_stop_id")
        ),
        sa.PrimaryKeyConstraint("stop_id", "appointment_id", name=op.f("pk_stop_clinic_order")),
    )
    op.create_index("ix_stop_clinic_order_appointment", "stop_clinic_order", ["appointment_id"])
    op.execute(
        """insert into stop_clinic_order (stop_id, appointment_id)
           select stop_id, id from appointment where stop_id is not null"""
    )
    op.add_column(
        "stop_clinic",
        sa.Column("failing", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
    )
