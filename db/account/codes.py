"""One-time codes by SMS: short-lived, single-use, with few tries. Only a keyed hash is kept."""

from datetime import timedelta

from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.rows import SmsCodeRow
from domain.account import CodePurpose


async def issue_code(
    connection: AsyncConnection,
    *,
    hospital_id: int,
    phone_index: bytes,
    purpose: CodePurpose,
    code_hash: bytes,
    valid: timedelta,
    tries: int,
) -> None:
    """Let this code count from now on, and any older one of this phone and purpose no more."""
    row = insert(SmsCodeRow).values(
        hospital_id=hospital_id,
        phone_index=phone_index,
        purpose=purpose,
        code_hash=code_hash,
        tries_left=tries,
        created_at=func.now(),
        expires_at=func.now() + valid,
        used_at=None,
    )
    renewed = ("code_hash", "tries_left", "created_at", "expires_at", "used_at")
    await connection.execute(
        row.on_conflict_do_update(
            index_elements=["hospital_id", "phone_index", "purpose"],
            set_={column: row.excluded[column] for column in renewed},
        )
    )


# One statement: parallel tries queue at the row, and each sees what the one before left.
TRY = text("""
    update sms_code set
        tries_left = tries_left - 1,
        used_at = case when code_hash = :code_hash then now() end
    where hospital_id = :hospital_id and phone_index = :phone_index and purpose = :purpose
      and used_at is null and tries_left > 0 and expires_at > now()
    returning used_at is not null
""")


async def try_code(
    connection: AsyncConnection,
    *,
    hospital_id: int,
    phone_index: bytes,
    purpose: CodePurpose,
    code_hash: bytes,
) -> bool:
    """Spend one try; a right code is then used up. The caller commits also after a False, or
    tries would be free."""
    tried = await connection.execute(
        TRY,
        {
            "hospital_id": hospital_id,
            "phone_index": phone_index,
            "purpose": purpose,
            "code_hash": code_hash,
        },
    )
    return bool(tried.scalar())
