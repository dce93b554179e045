"""Nobody is booked for whose key was thrown away"""

from pathlib import Path

from alembic import op

SQL = Path(__file__).parent.parent / "sql"

revision = "0015_booking"
down_revision = "0014_waitlist_ended"


def upgrade() -> None:
    op.execute((SQL / "0015_booking.sql").read_text())
