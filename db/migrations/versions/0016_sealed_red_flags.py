"""Which signs of danger somebody wrote of is health: it is sealed with their words. No release has
read the column that goes."""

from pathlib import Path

from alembic import op

SQL = Path(__file__).parent.parent / "sql"

revision = "0016_sealed_red_flags"
down_revision = "0015_booking"


def upgrade() -> None:
    op.execute("drop view consultation_order")
    op.drop_column("consultation", "red_flags")
    op.execute((SQL / "0016_consultation_order.sql").read_text())
    op.execute("update work_item set details = details - 'flags' where kind = 'red_flag'")
