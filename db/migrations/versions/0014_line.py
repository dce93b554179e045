"""A freed source passes by nobody in line"""

from pathlib import Path

from alembic import op

SQL = Path(__file__).parent.parent / "sql"

revision = "0014_line"
down_revision = "0013_stop_clinic_order"


def upgrade() -> None:
    op.execute((SQL / "0014_line.sql").read_text())
