"""Who logs in. Phone, name and e-mail address lie sealed under the account's data key."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.data_keys import drop_unused_key, new_sealing_key
from db.account.rows import AccountRow, DataKeyRow
from db.catalogue import DoctorRow
from db.keyring import Keyring
from domain.access import Role


@dataclass(frozen=True)
class Account:
    id: int
    hospital_id: int
    phone: str  # E.164
    name: str | None
    email: str | None
    password_hash: str
    roles: frozenset[Role]
    language: str | None  # None: the hospital's
    channels: tuple[str, ...] | None  # the order to try; None: the hospital's
    created_at: datetime
    doctor_id: int | None


async def create_account(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    *,
    phone: str,
    name: str | None,
    password_hash: str,
    roles: Collection[Role] = (Role.PATIENT,),
    language: str | None = None,
) -> int:
    """The account of this phone (E.164), made when there is none. One that exists is left as it
    is. Answers its id."""
    found = await account_id_of(connection, hospital_id, keyring.blind("phone", phone))
    if found is not None:
        return found
    made = await register_account(
        connection,
        keyring,
        hospital_id,
        phone=phone,
        name=name,
        password_hash=password_hash,
        roles=roles,
        language=language,
    )
    if made is not None:
        return made
    found = await account_id_of(connection, hospital_id, keyring.blind("phone", phone))
    if found is None:
        raise RuntimeError("the account that was in the way is gone")
    return found


async def register_account(
    connection: AsyncConnection,
    keyring: Keyring,
    hospital_id: int,
    *,
    phone: str,
    name: str | None,
    password_hash: str,
    roles: Collection[Role] = (Role.PATIENT,),
    language: str | None = None,
) -> int | None:
    """A new account's id, or None when the phone (E.164) has one. Of parallel calls one wins."""
    key = await new_sealing_key(connection, keyring)
    made = await connection.execute(
        insert(AccountRow)
        .values(
            hospital_id=hospital_id,
            data_key_id=key.id,
            phone_index=keyring.blind("phone", phone),
            sealed=key.key.seal({"phone": phone, "name": name, "email": None}),
            password_hash=password_hash,
            roles=sorted(roles),
            language=language,
        )
        .on_conflict_do_nothing(index_elements=["hospital_id", "phone_index"])
        .returning(AccountRow.id)
    )
    account_id = made.scalar()
    if account_id is None:
        await drop_unused_key(connection, key)
    return account_id


async def account_id_of(
    connection: AsyncConnection, hospital_id: int, phone_index: bytes
) -> int | None:
    found = await connection.execute(
        select(AccountRow.id).where(
            AccountRow.hospital_id == hospital_id, AccountRow.phone_index == phone_index
        )
    )
    return found.scalar()


async def find_account(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, phone: str
) -> Account | None:
    """The account with this phone (E.164), closed ones and shredded ones excepted."""
    index = keyring.blind("phone", phone)
    return await _load(connection, keyring, hospital_id, AccountRow.phone_index == index)


async def read_account(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, account_id: int
) -> Account | None:
    """The account with this id, closed ones and shredded ones excepted."""
    return await _load(connection, keyring, hospital_id, AccountRow.id == account_id)


async def grant_role(connection: AsyncConnection, account_id: int, role: Role) -> bool:
    """Whether the account lacked it. Who is logged in has it from their next refresh on."""
    granted = await connection.execute(
        update(AccountRow)
        .where(AccountRow.id == account_id, ~AccountRow.roles.contains([role]))
        .values(roles=func.array_append(AccountRow.roles, role))
    )
    return granted.rowcount == 1


async def set_password(
    connection: AsyncConnection,
    account_id: int,
    password_hash: str,
    *,
    instead_of: str | None = None,
) -> None:
    """`instead_of`: only while the account still has this hash, so that a hash that was merely
    made anew never puts a password back that was changed meanwhile."""
    change = update(AccountRow).where(AccountRow.id == account_id)
    if instead_of is not None:
        change = change.where(AccountRow.password_hash == instead_of)
    await connection.execute(change.values(password_hash=password_hash))


async def set_preferences(
    connection: AsyncConnection,
    keyring: Keyring,
    account_id: int,
    *,
    channels: Sequence[str],
    language: str,
    email: str | None,
) -> None:
    found = await connection.execute(
        select(AccountRow.sealed, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == AccountRow.data_key_id)
        .where(AccountRow.id == account_id)
        .with_for_update(of=AccountRow)  # two writers would each lose the other's sealed field
    )
    row = found.one()
    key = keyring.unwrap(row.wrapped)
    await connection.execute(
        update(AccountRow)
        .where(AccountRow.id == account_id)
        .values(
            channels=list(channels),
            language=language,
            sealed=key.seal({**key.open(row.sealed), "email": email}),
        )
    )


async def _load(
    connection: AsyncConnection, keyring: Keyring, hospital_id: int, which: ColumnElement[bool]
) -> Account | None:
    a = AccountRow
    found = await connection.execute(
        select(
            a.id, a.sealed, a.password_hash, a.roles, a.language, a.channels,
            a.created_at, DataKeyRow.wrapped, DoctorRow.id.label("doctor_id"),
        )
        .join(DataKeyRow, DataKeyRow.id == a.data_key_id)
        .outerjoin(DoctorRow, (DoctorRow.account_id == a.id) & DoctorRow.active)
        .where(a.hospital_id == hospital_id, a.active, DataKeyRow.wrapped.is_not(None), which)
    )  # fmt: skip
    row = found.first()
    if row is None:
        return None
    opened: dict[str, Any] = keyring.unwrap(row.wrapped).open(row.sealed)
    return Account(
        id=row.id,
        hospital_id=hospital_id,
        phone=opened["phone"],
        name=opened["name"],
        email=opened["email"],
        password_hash=row.password_hash,
        roles=frozenset(Role(role) for role in row.roles),
        language=row.language,
        channels=None if row.channels is None else tuple(row.channels),
        created_at=row.created_at,
        doctor_id=row.doctor_id,
    )
