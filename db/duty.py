"""Who is on duty (值班) for online consultations, and whose turn it is to be rung."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Index, Text, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.catalogue import DoctorRow, within_department
from db.credential import DoctorCredentialRow
from domain.duty import SEEN_WITHIN, DutyType


class DutyRow(Base):
    """A doctor's own word, and when it was last heard. Who said nothing for long does not count,
    whatever `online` says: see `on_duty`."""

    __tablename__ = "duty"
    __table_args__ = (Index("ix_duty_online", "hospital_id", postgresql_where=text("online")),)

    doctor_id: Mapped[int] = mapped_column(
        ForeignKey("doctor.id"), primary_key=True, autoincrement=False
    )
    hospital_id: Mapped[int]
    online: Mapped[bool]
    types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    since: Mapped[datetime]  # on duty, or off, without a break
    last_seen_at: Mapped[datetime]
    last_rung_at: Mapped[datetime | None]


@dataclass(frozen=True)
class Duty:
    online: bool
    types: tuple[DutyType, ...]
    since: datetime
    last_seen_at: datetime
    counted: bool  # on duty, and seen lately


SET = text("""
    insert into duty (doctor_id, hospital_id, online, types, since, last_seen_at)
    values (:doctor_id, :hospital_id, :online, :types, now(), now())
    on conflict (doctor_id) do update
       set online = excluded.online, types = excluded.types, last_seen_at = excluded.last_seen_at,
           -- Who was away for long did not wait all that time.
           since = case when duty.online = excluded.online
                         and duty.last_seen_at > excluded.last_seen_at - :seen_within
                        then duty.since else excluded.since end
""")


async def set_duty(
    connection: AsyncConnection,
    hospital_id: int,
    doctor_id: int,
    *,
    online: bool,
    types: tuple[DutyType, ...],
    seen_within: timedelta = SEEN_WITHIN,
) -> None:
    """Also the heartbeat: the same word again is heard again and changes nothing else."""
    await connection.execute(
        SET,
        {
            "hospital_id": hospital_id,
            "doctor_id": doctor_id,
            "online": online,
            "types": [kind.value for kind in types],
            "seen_within": seen_within,
        },
    )


async def duty_of(
    connection: AsyncConnection, doctor_id: int, seen_within: timedelta = SEEN_WITHIN
) -> Duty | None:
    """None: never was on duty."""
    d = DutyRow
    rows = await connection.execute(
        select(
            d.online, d.types, d.since, d.last_seen_at,
            (d.online & (d.last_seen_at > func.now() - seen_within)).label("counted"),
        ).where(d.doctor_id == doctor_id)
    )  # fmt: skip
    row = rows.one_or_none()
    if row is None:
        return None
    types = tuple(DutyType(kind) for kind in row.types)
    return Duty(row.online, types, row.since, row.last_seen_at, row.counted)


async def on_duty(
    connection: AsyncConnection,
    hospital_id: int,
    department_id: int | None,
    type: DutyType,
    within: timedelta,
    *,
    but_not: int = 0,
) -> list[int]:
    """The doctors who take this type now, in the order in which to ring them: who was never rung,
    then whose last ring is longest ago; among these who waits longest.

    Of a department and those below it (None: of all). Who was not seen `within` does not count,
    nor does who has left or whose licence has expired, or whose account is `but_not`: nobody
    treats themselves.
    """
    d, doctor, credential = DutyRow, DoctorRow, DoctorCredentialRow
    wanted = (
        select(d.doctor_id)
        .join(doctor, doctor.id == d.doctor_id)
        .outerjoin(credential, credential.doctor_id == d.doctor_id)
        .where(
            d.hospital_id == hospital_id,
            d.online,
            d.types.contains([type.value]),
            d.last_seen_at > func.now() - within,
            doctor.active,
            func.coalesce(doctor.account_id != but_not, True),
            func.coalesce(credential.licence_valid_until >= func.current_date(), True),
        )
        .order_by(d.last_rung_at.asc().nulls_first(), d.since, d.doctor_id)
    )
    if department_id is not None:
        wanted = wanted.where(
            doctor.department_id.in_(within_department(hospital_id, department_id))
        )
    return list((await connection.execute(wanted)).scalars())


async def online_among(
    connection: AsyncConnection, doctor_ids: Iterable[int], seen_within: timedelta = SEEN_WITHIN
) -> frozenset[int]:
    """Those of them who are on duty for some type, and were seen lately."""
    d = DutyRow
    rows = await connection.execute(
        select(d.doctor_id).where(
            d.doctor_id.in_(list(doctor_ids)), d.online, d.last_seen_at > func.now() - seen_within
        )
    )
    return frozenset(rows.scalars())


async def note_rings(connection: AsyncConnection, doctor_ids: Iterable[int]) -> None:
    """These doctors were rung now, and come behind the others. Twice is once."""
    for doctor_id in sorted(doctor_ids):  # two emergencies at once never wait crosswise
        await connection.execute(
            update(DutyRow).where(DutyRow.doctor_id == doctor_id).values(last_rung_at=func.now())
        )
