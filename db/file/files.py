"""Files being kept, and found again."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.data_keys import sealing_key_of_account
from db.account.rows import DataKeyRow
from db.file.rows import FileRow
from db.keyring import DataKey, Keyring
from db.sealed_stream import ContentKey
from domain.file import FileStatus


@dataclass(frozen=True)
class NewFile:
    hospital_id: int
    account_id: int
    purpose: str | None
    content_type: str
    size: int
    width: int | None
    height: int | None
    sha256: bytes
    name: str
    thumbnail: str | None
    thumbnail_size: int | None


@dataclass(frozen=True)
class File:
    id: int
    account_id: int
    patient_id: int | None
    order_no: str | None
    content_type: str
    size: int
    width: int | None
    height: int | None
    name: str
    thumbnail: str | None
    thumbnail_size: int | None
    created_at: datetime
    wrapped: bytes | None = field(repr=False)  # data key; None: shredded
    sealed_key: bytes = field(repr=False)

    def key(self, keyring: Keyring) -> ContentKey:
        """Raises Shredded."""
        return open_key(keyring.unwrap(self.wrapped), self.sealed_key)


def seal_key(data_key: DataKey, key: ContentKey) -> bytes:
    return data_key.seal({"key": b64encode(key.key).decode()})


def open_key(data_key: DataKey, sealed: bytes) -> ContentKey:
    return ContentKey(b64decode(data_key.open(sealed)["key"]))


async def insert_file(
    connection: AsyncConnection, keyring: Keyring, new: NewFile, key: ContentKey
) -> int:
    """Before its object is put: a process that dies in between leaves a row that tells what to
    throw away."""
    owner = await sealing_key_of_account(connection, keyring, new.account_id)
    made = await connection.execute(
        insert(FileRow)
        .values(
            **vars(new),
            status=FileStatus.UPLOADING,
            data_key_id=owner.id,
            sealed_key=seal_key(owner.key, key),
        )
        .returning(FileRow.id)
    )
    return made.scalar_one()


async def file_stored(connection: AsyncConnection, id: int) -> bool:
    """Its objects are there. False when it took so long that it is being thrown away."""
    moved = await connection.execute(
        update(FileRow)
        .where(FileRow.id == id, FileRow.status == FileStatus.UPLOADING)
        .values(status=FileStatus.STORED)
        .returning(FileRow.id)
    )
    return moved.one_or_none() is not None


async def find_file(connection: AsyncConnection, hospital_id: int, id: int) -> File | None:
    """One that is stored."""
    found = await find_files(connection, hospital_id, [id])
    return found[0] if found else None


async def find_files(
    connection: AsyncConnection, hospital_id: int, ids: Sequence[int]
) -> list[File]:
    """Those of them that are stored, by id."""
    rows = await connection.execute(
        _files().where(FileRow.hospital_id == hospital_id, FileRow.id.in_(ids))
    )
    return [File(*row) for row in rows]


def _files() -> Select[*tuple[Any, ...]]:
    f = FileRow
    return (
        select(
            f.id, f.account_id, f.patient_id, f.order_no, f.content_type, f.size, f.width,
            f.height, f.name, f.thumbnail, f.thumbnail_size, f.created_at, DataKeyRow.wrapped,
            f.sealed_key,
        )
        .join(DataKeyRow, DataKeyRow.id == f.data_key_id)
        .where(f.status == FileStatus.STORED)
        .order_by(f.id)
    )  # fmt: skip
