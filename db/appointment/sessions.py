"""A doctor's sessions (出诊): slots with how far each has come."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import Fields


@dataclass(frozen=True)
class SessionFigures:
    """A slot, and how many of its orders stand where. `waiting` are here and not called."""

    id: int
    doctor_id: int
    department_id: int
    date: date
    time_slot: str
    starts_at: datetime
    ends_at: datetime
    location: str
    withdrawn: bool
    total_sources: int
    used_sources: int
    confirmed: int
    checked_in: int
    waiting: int
    completed: int
    no_show: int


SESSIONS = """
    select s.id, s.doctor_id, s.department_id, s.date, s.time_slot, s.starts_at, s.ends_at,
           s.location, s.withdrawn, s.total_sources, s.used_sources,
           count(*) filter (where a.status = 'confirmed') as confirmed,
           count(*) filter (where a.status = 'checked_in') as checked_in,
           count(*) filter (where a.status = 'checked_in' and a.called_at is null) as waiting,
           count(*) filter (where a.status = 'completed') as completed,
           count(*) filter (where a.status = 'no_show') as no_show
      from schedule s left join appointment a on a.schedule_id = s.id
     where s.hospital_id = :hospital_id and """
OF_DOCTOR = "s.doctor_id = :doctor_id and s.date between :first and :last"
PAGE = text(
    SESSIONS
    + OF_DOCTOR
    + " group by s.id order by s.starts_at limit :size offset (:page - 1) * :size"
)
TOTAL = text("select count(*) from schedule s where s.hospital_id = :hospital_id and " + OF_DOCTOR)
ONE = text(SESSIONS + "s.id = :id group by s.id")


@dataclass(frozen=True)
class SessionsWanted:
    """Both days included."""

    hospital_id: int
    doctor_id: int
    first: date
    last: date
    page: int = 1
    size: int = 100


async def list_sessions(
    connection: AsyncConnection, wanted: SessionsWanted
) -> tuple[list[SessionFigures], int]:
    """A page in order of time, and how many there are in all."""
    rows = await connection.execute(PAGE, vars(wanted))
    total = await connection.scalar(TOTAL, vars(wanted))
    return [SessionFigures(**row._mapping) for row in rows], total or 0


async def find_session(
    connection: AsyncConnection, hospital_id: int, id: int
) -> SessionFigures | None:
    values: Fields = {"hospital_id": hospital_id, "id": id}
    row = (await connection.execute(ONE, values)).one_or_none()
    return SessionFigures(**row._mapping) if row else None
