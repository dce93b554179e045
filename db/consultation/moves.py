"""What the workflow writes: how far the order is, and all that follows, in one transaction."""

from typing import Any

from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.bell import call
from db.consultation.rows import ConsultationRow, HealthRecordRow
from db.consultation.starts import PROGRESS, case_of
from db.duty import note_rings
from db.journal import append_timeline
from domain.consultation import Case, ConsultationMove, ConsultationStatus, Progress, next_step

C = ConsultationRow
KEEP_NOTE = text(
    """update consultation set note_ids = note_ids || cast(:note_id as bigint)
        where id = :id and not :note_id = any(note_ids)"""
)
# After a switch a word is owed anew, and the workflow hears of the first one again: of one that was
# written since, the row tells.
OWE_A_WORD = text(
    """update consultation c
          set answered_at = (select min(m.created_at) from consultation_message m
                              where m.order_no = c.order_no and m.side = 'doctor'
                                and m.created_at >= :at)
        where c.id = :id"""
)


def shown_columns(case: Case, progress: Progress) -> dict[str, Any]:
    """What queries look at, out of how far an order is."""
    due = next_step(case, progress) if progress.status.open else None
    return {
        "status": progress.status,
        "version": progress.version,
        "reason": progress.reason,
        "doctor_id": progress.doctor_id,
        "payment_no": progress.payment_no,
        "pay_by": progress.pay_by,
        "paid_at": progress.paid_at,
        "due_at": due.at if due else None,
        "next_step": due.step if due else None,
        "waiting_for": due.waiting_for if due else None,
        "rung": list(progress.rung),
        "window_ends": progress.window_ends,
    }


async def record_move(connection: AsyncConnection, move: ConsultationMove) -> bool:
    """Whether it was news: an older version than the row's changes nothing but its own timeline
    entry. The row is locked until the transaction ends."""
    row = (
        await connection.execute(
            C.__table__.select().where(C.order_no == move.order_no).with_for_update()
        )
    ).one()
    news: bool = row.version < move.version
    if news:
        columns = shown_columns(case_of(row), move.progress)
        await connection.execute(
            update(C)
            .where(C.id == row.id)
            .values(
                **columns,
                **_moments(row, move),
                progress=PROGRESS.dump_python(move.progress, mode="json"),
            )
        )
        if move.event == "ring":
            rung = move.progress.rung
            await note_rings(connection, [d for d in rung if d not in row.rung] or rung)
        if move.event == "switch" and not move.progress.answered:
            await connection.execute(OWE_A_WORD, {"id": row.id, "at": move.at})
    if move.note_id is not None:
        await connection.execute(KEEP_NOTE, {"id": row.id, "note_id": move.note_id})
    await append_timeline(connection, move)
    await call(connection, [move.order_no])  # who has the conversation open sees it move
    return news


def _moments(row: Any, move: ConsultationMove) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if move.to_status == ConsultationStatus.CONSULTING and row.started_at is None:
        values["started_at"] = move.at
    if not ConsultationStatus(move.to_status).open:
        values["ended_at"] = move.at
    if move.event in ("complete", "unsuitable"):
        values["conclusion_id"] = move.note_id
    return values


async def enter_visit(connection: AsyncConnection, order_no: str, sealed: bytes) -> None:
    """A visit enters the health record, once. `sealed` is {diagnosis, content} under the person's
    data key."""
    row = (await connection.execute(C.__table__.select().where(C.order_no == order_no))).one()
    await connection.execute(
        insert(HealthRecordRow)
        .values(
            hospital_id=row.hospital_id,
            patient_id=row.patient_id,
            type="visit",
            record_date=row.ended_at.date(),
            department_id=row.department_id,
            doctor_id=row.doctor_id,
            order_no=order_no,
            sealed=sealed,
            attachments=row.attachments,
        )
        .on_conflict_do_nothing()
    )
