"""Who waited in line is told when their place ends"""

from pathlib import Path

from alembic import op

SQL = Path(__file__).parent.parent / "sql"

revision = "0014_waitlist_ended"
down_revision = "0014_line"


def upgrade() -> None:
    op.execute((SQL / "0014_waitlist_ended.sql").read_text())
