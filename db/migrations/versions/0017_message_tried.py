"""When a provider may last have taken a message: until it shows there, nobody sends it again"""

import sqlalchemy as sa
from alembic import op

revision = "0017_message_tried"
down_revision = "0016_sealed_red_flags"


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.add_column(
        "message", sa.Column("tried_at", instant, server_default=sa.text("now()"), nullable=True)
    )
