"""What doctor and patient write to each other in a consultation, and how far each has read"""

import sqlalchemy as sa
from alembic import op

revision = "0012_message"
down_revision = "0011_file"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "consultation_message",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data_key_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_consultation_message_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["data_key_id"], ["data_key.id"], name=op.f("fk_consultation_message_data_key_id")
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["file.id"], name=op.f("fk_consultation_message_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consultation_message")),
        sa.UniqueConstraint("order_no", "seq", name=op.f("uq_consultation_message_order_no_seq")),
    )
    op.create_table(
        "consultation_reading",
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("read_up_to", sa.BigInteger(), nullable=False),
        sa.Column("at", INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_consultation_reading_account_id")
        ),
        sa.PrimaryKeyConstraint("order_no", "side", name=op.f("pk_consultation_reading")),
    )
    op.execute(
        """create trigger append_only before update or delete or truncate on consultation_message
           for each statement execute function refuse_change()"""
    )
