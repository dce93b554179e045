"""What a workflow is told when it begins, from the rows as they stand."""

from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.appointment.rows import AppointmentRow, WaitlistRow
from domain.appointment import AppointmentStart, AppointmentStatus, Reason, Terms, plan

TERMS = TypeAdapter(Terms)


async def load_starts(
    connection: AsyncConnection, order_nos: list[str], zone: ZoneInfo
) -> dict[str, AppointmentStart]:
    """What each workflow is told when it begins, from the rows as they stand."""
    a = AppointmentRow
    rows = await connection.execute(
        select(
            a.order_no, a.doctor_id, a.department_id, a.starts_at, a.created_at, a.pay_by,
            a.terms, a.status, a.version, a.payment_no, a.schedule_id, a.choose_by,
            a.reason,
            exists().where(WaitlistRow.order_no == a.order_no).label("offered"),
        ).where(a.order_no.in_(order_nos))
    )  # fmt: skip
    return {
        row.order_no: AppointmentStart(
            booking=plan(
                row.order_no,
                row.doctor_id,
                row.department_id,
                starts_at=row.starts_at,
                booked_at=row.created_at,
                pay_by=row.pay_by,
                terms=TERMS.validate_python(row.terms),
                zone=zone,
                schedule_id=row.schedule_id,
            ),
            status=AppointmentStatus(row.status),
            version=row.version,
            payment_no=row.payment_no,
            offered=row.offered,
            choose_by=row.choose_by,
            reason=Reason(row.reason),
            offer_window=row.pay_by - row.created_at if row.offered else None,
        )
        for row in rows
    }
