"""A consultation is ordered: the row, its first timeline entry, the promise of its workflow."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.consultation.moves import shown_columns
from db.consultation.rows import ConsultationRow
from db.consultation.starts import PROGRESS, TERMS
from db.journal import append_timeline
from db.outbox import promise
from domain.consultation import Case, Progress, Urgency, VisitKind
from domain.order import Move


@dataclass(frozen=True)
class NewConsultation:
    """`sealed` is under the person's data key: {complaint, description, symptoms, duration,
    red_flags}."""

    hospital_id: int
    account_id: int
    case: Case
    progress: Progress
    urgency: Urgency
    visit_kind: VisitKind
    price: Decimal
    sealed: bytes
    attachments: tuple[int, ...]
    created_at: datetime
    note_ids: tuple[int, ...] = ()  # what was written with it


async def create_consultation(connection: AsyncConnection, new: NewConsultation) -> int:
    """The new row's id."""
    case, progress = new.case, new.progress
    made = await connection.execute(
        insert(ConsultationRow)
        .values(
            hospital_id=new.hospital_id,
            order_no=case.order_no,
            account_id=new.account_id,
            patient_id=case.patient_id,
            department_id=case.department_id,
            type=case.type,
            urgency=new.urgency,
            way=case.way,
            visit_kind=new.visit_kind,
            judged=case.judged,
            scheduled_at=case.scheduled_at,
            price=new.price,
            terms=TERMS.dump_python(case.terms, mode="json"),
            progress=PROGRESS.dump_python(progress, mode="json"),
            sealed=new.sealed,
            attachments=list(new.attachments),
            note_ids=list(new.note_ids),
            created_at=new.created_at,
            **shown_columns(case, progress),
        )
        .returning(ConsultationRow.id)
    )
    await append_timeline(
        connection,
        Move(
            case.order_no, 0, "ordered", progress.status, new.created_at, "patient", new.account_id
        ),
    )
    await promise(connection, stream=case.order_no, workflow="consultation", subject=case.order_no)
    return int(made.scalar_one())
