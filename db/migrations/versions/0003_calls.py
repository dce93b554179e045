"""Calls of patients to the doctor (叫号)"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "appointment", sa.Column("calls", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("appointment", sa.Column("called_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("appointment", sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True))
