"""Idempotency keys are kept as hashes (see `api/idempotency.py`): what was remembered stays so"""

from alembic import op

revision = "0007_idempotency"
down_revision = "0006"

HASHED = r"""encode(sha256(convert_to(account_id::text, 'UTF8') || '\x00'::bytea
                           || convert_to(key, 'UTF8')), 'hex')"""


def upgrade() -> None:
    op.execute(f"update idempotency set key = {HASHED}")
