"""What people wrote with their commands. Sealed under the person's data key, and append-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.consultation.rows import ConsultationNoteRow, ConsultationRow

N = ConsultationNoteRow


class NoteKind(StrEnum):
    JUDGEMENT = "judgement"  # the doctor's, on accepting: why this is a follow-up (R03)
    DECLINE = "decline"
    EVIDENCE_WANTED = "evidence_wanted"
    EVIDENCE = "evidence"  # the patient's
    CONCLUSION = "conclusion"  # {diagnosis, advice}
    UNSUITABLE = "unsuitable"  # {reason, advice} (R04)
    CANCEL = "cancel"


@dataclass(frozen=True)
class Note:
    id: int
    kind: NoteKind
    account_id: int
    sealed: bytes
    files: tuple[int, ...]
    created_at: datetime


async def write_note(
    connection: AsyncConnection,
    *,
    hospital_id: int,
    order_no: str,
    kind: NoteKind,
    account_id: int,
    sealed: bytes,
    files: Sequence[int] = (),
) -> int:
    """The note's id, which commands carry."""
    made = await connection.execute(
        insert(N)
        .values(
            hospital_id=hospital_id,
            order_no=order_no,
            kind=kind,
            account_id=account_id,
            sealed=sealed,
            files=list(files),
        )
        .returning(N.id)
    )
    return int(made.scalar_one())


async def notes_of(connection: AsyncConnection, order_no: str) -> list[Note]:
    """Those whose command was carried out, oldest first. What a refused one said was not said."""
    kept = select(func.unnest(ConsultationRow.note_ids)).where(ConsultationRow.order_no == order_no)
    rows = await connection.execute(
        select(N.id, N.kind, N.account_id, N.sealed, N.files, N.created_at)
        .where(N.id.in_(kept))
        .order_by(N.id)
    )
    return [_note(row) for row in rows]


def _note(row: Any) -> Note:
    return Note(
        row.id, NoteKind(row.kind), row.account_id, row.sealed, tuple(row.files), row.created_at
    )
