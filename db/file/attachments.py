"""Files that belong to an order, and whom that order concerns."""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.account.data_keys import SealingKey
from db.account.rows import DataKeyRow, PatientRow
from db.consultation import find_consultation_by_number, may_accept
from db.file.files import open_key, seal_key
from db.file.rows import FileRow
from db.keyring import Keyring
from domain.access import Stake
from domain.file import FileStatus


class FilesRefused(Exception):
    """This file cannot be attached: not this account's, not there, or on another order."""

    def __init__(self, file_id: int) -> None:
        super().__init__(file_id)
        self.file_id = file_id


async def attach_files(
    connection: AsyncConnection,
    keyring: Keyring,
    *,
    hospital_id: int,
    account_id: int,
    file_ids: Sequence[int],
    order_no: str,
    patient_id: int,
) -> None:
    """Make them the order's, in the caller's transaction. Twice is once.

    Each file's key is sealed anew, under the patient's data key: throwing that away shreds the
    files with everything else. Raises FilesRefused with the first that cannot be attached, whatever
    the reason: a stranger's file is not there.
    """
    wanted = list(dict.fromkeys(file_ids))
    if not wanted:
        return
    f = FileRow
    rows = await connection.execute(
        select(f.id, f.order_no, f.sealed_key, DataKeyRow.wrapped)
        .join(DataKeyRow, DataKeyRow.id == f.data_key_id)
        .where(
            f.id.in_(wanted),
            f.hospital_id == hospital_id,
            f.account_id == account_id,
            f.status == FileStatus.STORED,
        )
        .order_by(f.id)  # two that attach the same files wait for each other, and never cross
        .with_for_update(of=f)
    )
    found = {row.id: row for row in rows}
    for one in wanted:
        if one not in found or found[one].order_no not in (None, order_no):
            raise FilesRefused(one)
    patient = await _key_of(connection, keyring, patient_id)
    for row in found.values():
        if row.order_no is None:
            key = open_key(keyring.unwrap(row.wrapped), row.sealed_key)
            await connection.execute(
                update(f)
                .where(f.id == row.id)
                .values(
                    order_no=order_no,
                    patient_id=patient_id,
                    attached_at=func.now(),
                    data_key_id=patient.id,
                    sealed_key=seal_key(patient.key, key),
                )
            )


async def stake_of_case(
    connection: AsyncConnection, hospital_id: int, order_no: str, doctor_id: int | None
) -> Stake | None:
    """Whom the order that a file is attached to concerns; `doctor_id` is the doctor who asks, and
    who may be one of those that could accept it. None: no such order."""
    order = await find_consultation_by_number(connection, hospital_id, order_no)
    if order is None:
        return None
    candidate = doctor_id is not None and await may_accept(connection, order, doctor_id)
    # Not the doctor of an order that nobody paid for, or that ended without them.
    over_without_them = order.ended_at is not None and order.started_at is None
    theirs = order.paid_at is not None and not over_without_them
    return Stake(
        order.account_id,
        order.doctor_id if theirs else None,
        candidate_id=doctor_id if candidate else None,
    )


async def _key_of(connection: AsyncConnection, keyring: Keyring, patient_id: int) -> SealingKey:
    found = await connection.execute(
        select(DataKeyRow.id, DataKeyRow.wrapped)
        .join(PatientRow, PatientRow.data_key_id == DataKeyRow.id)
        .where(PatientRow.id == patient_id)
    )
    row = found.one()
    return SealingKey(row.id, keyring.unwrap(row.wrapped))
