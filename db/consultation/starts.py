"""What a workflow is told when it begins, from the rows as they stand."""

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.consultation.rows import ConsultationRow
from domain.consultation import (
    Case,
    ConsultationStart,
    ConsultationType,
    Progress,
    Terms,
    Way,
)

TERMS = TypeAdapter(Terms)
PROGRESS = TypeAdapter(Progress)
C = ConsultationRow


async def load_consultations(
    connection: AsyncConnection, order_nos: list[str]
) -> dict[str, ConsultationStart]:
    rows = await connection.execute(
        select(
            C.order_no, C.type, C.way, C.department_id, C.patient_id, C.terms, C.scheduled_at,
            C.judged, C.progress,
        ).where(C.order_no.in_(order_nos))
    )  # fmt: skip
    return {row.order_no: ConsultationStart(case_of(row), progress_of(row)) for row in rows}


def case_of(row: Any) -> Case:
    return Case(
        order_no=row.order_no,
        type=ConsultationType(row.type),
        way=Way(row.way),
        department_id=row.department_id,
        patient_id=row.patient_id,
        terms=TERMS.validate_python(row.terms),
        scheduled_at=row.scheduled_at,
        judged=row.judged,
    )


def progress_of(row: Any) -> Progress:
    return PROGRESS.validate_python(row.progress)
