"""The data keys of persons and accounts, made when there is first something to seal."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.rows import AccountRow, DataKeyRow, PatientRow
from db.keyring import DataKey, Keyring, UnknownKey
from db.message import MessageRow

# `wrapped` begins with the id of the key it is wrapped under, and a NUL.
NOT_UNDER = text(
    """select id, wrapped from data_key
        where wrapped is not null and id > :after
          and substring(wrapped from 1 for octet_length(:prefix)) <> :prefix
        order by id limit :batch"""
)
# Guarded by what was read: somebody who is shredded meanwhile stays shredded.
REWRAP = text("update data_key set wrapped = :wrapped where id = :id and wrapped = :was")
IN_USE = text(
    """select convert_from(substring(wrapped from 1 for position('\\x00' in wrapped) - 1), 'UTF8'),
              count(*)
         from data_key where wrapped is not null group by 1 order by 1"""
)


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
    """The key of a person that this account holds; None when it holds no such person any more."""
    found = await connection.execute(
        select(DataKeyRow.id, DataKeyRow.wrapped)
        .join(PatientRow, PatientRow.data_key_id == DataKeyRow.id)
        .where(
            PatientRow.id == patient_id,
            PatientRow.account_id == account_id,
            DataKeyRow.wrapped.is_not(None),
        )
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


@dataclass(frozen=True)
class Rewrapped:
    """What one batch came to. `last` is where the next begins; None when there is none."""

    done: int
    unknown: tuple[str, ...]  # ids of keys that the keyring lacks
    last: int | None


async def rewrap(
    connection: AsyncConnection, keyring: Keyring, after: int, batch: int = 500
) -> Rewrapped:
    """Wrap data keys with ids above `after` under the current key. What is sealed under them stays
    as it is. Stopped in the middle, it goes on with what is left."""
    found = await connection.execute(
        NOT_UNDER, {"after": after, "prefix": keyring.current.encode() + b"\0", "batch": batch}
    )
    rows, changes, unknown = found.all(), [], []
    for row in rows:
        try:
            key = keyring.unwrap(row.wrapped)
        except UnknownKey as lacking:
            unknown.append(str(lacking))
        else:
            changes.append({"id": row.id, "was": row.wrapped, "wrapped": keyring.wrap(key)})
    if changes:
        await connection.execute(REWRAP, changes)
    return Rewrapped(len(changes), tuple(unknown), rows[-1].id if rows else None)


async def keys_in_use(connection: AsyncConnection) -> Mapping[str, int]:
    """How many data keys are wrapped under each key of the keyring, by its id."""
    rows = (await connection.execute(IN_USE)).all()
    return {row[0]: row[1] for row in rows}
