"""The data keys of persons and accounts, made when there is first something to seal."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.rows import AccountRow, DataKeyRow, PatientRow
from db.keyring import DataKey, Keyring
from db.message import MessageRow


@dataclass(frozen=True)
class SealingKey:
    id: int
    key: DataKey


async def new_sealing_key(connection: AsyncConnection, keyring: Keyring) -> SealingKey:
    key = keyring.new_data_key()
    made = await connection.execute(
        insert(DataKeyRow).values(wrapped=keyring.wrap(key)).returning(DataKeyRow.id)
    )
    return SealingKey(made.scalar_one(), key)


async def drop_unused_key(connection: AsyncConnection, key: SealingKey) -> None:
    """Its row was not needed after all: somebody else was first."""
    await connection.execute(delete(DataKeyRow).where(DataKeyRow.id == key.id))


async def sealing_key_for_phone(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, phone_index: bytes
) -> SealingKey:
    """The key of the phone's account; for a phone without one, the key of the last message to
    it, so that a phone that asks again and again has one key and not one a message."""
    of_account = select(AccountRow.data_key_id).where(
        AccountRow.hospital_id == hospital_id, AccountRow.phone_index == phone_index
    )
    of_last_message = (
        select(MessageRow.data_key_id)
        .where(
            MessageRow.hospital_id == hospital_id,
            MessageRow.to_index == phone_index,
            MessageRow.account_id.is_(None),
        )
        .order_by(MessageRow.id.desc())
        .limit(1)
    )
    for owner in (of_account, of_last_message):
        found = await connection.execute(
            select(DataKeyRow.id, DataKeyRow.wrapped).where(
                DataKeyRow.id.in_(owner), DataKeyRow.wrapped.is_not(None)
            )
        )
        if row := found.first():
            return SealingKey(row.id, keyring.unwrap(row.wrapped))
    return await new_sealing_key(connection, keyring)


async def sealing_key_of_patient(
    connection: AsyncConnection, keyring: Keyring, account_id: int, patient_id: int
) -> SealingKey | None:
    """The key of a person that this account holds, or None when it holds no such person."""
    found = await connection.execute(
        select(DataKeyRow.id, DataKeyRow.wrapped)
        .join(PatientRow, PatientRow.data_key_id == DataKeyRow.id)
        .where(PatientRow.id == patient_id, PatientRow.account_id == account_id)
    )
    row = found.one_or_none()
    return SealingKey(row.id, keyring.unwrap(row.wrapped)) if row else None


async def sealing_key_of_account(
    connection: AsyncConnection, keyring: Keyring, account_id: int
) -> SealingKey:
    """The account's own key. Raises NoResultFound without such an account."""
    found = await connection.execute(
        select(DataKeyRow.id, DataKeyRow.wrapped)
        .join(AccountRow, AccountRow.data_key_id == DataKeyRow.id)
        .where(AccountRow.id == account_id)
    )
    row = found.one()
    return SealingKey(row.id, keyring.unwrap(row.wrapped))
