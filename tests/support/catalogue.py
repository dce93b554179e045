"""A hospital with a doctor, and slots to book."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.catalogue import NewDoctor, create_doctor, load_config
from db.schedule import Batch, check_doctor, create_batch
from domain.hospital import (
    ConsultationPrices,
    Department,
    DoctorLevel,
    Feature,
    Hospital,
    HospitalConfig,
    LevelPrice,
)
from domain.schedule import TimeSlot, session

ZONE = ZoneInfo("Asia/Shanghai")


def a_config(*departments: Department, hospital_id: int = 1) -> HospitalConfig:
    fees = {DoctorLevel.RESIDENT: 0, DoctorLevel.ATTENDING: 20, DoctorLevel.CHIEF: 50}
    return HospitalConfig(
        hospital=Hospital(hospital_id, "示例医院", "", "", "", frozenset({Feature.APPOINTMENT})),
        departments=departments
        or (Department(1, "内科"), Department(2, "外科"), Department(11, "心血管内科", 1)),
        consultation_prices=ConsultationPrices(
            text=(LevelPrice(DoctorLevel.CHIEF, "主任医师", Decimal("99.90")),)
        ),
        registration_fees=tuple(
            LevelPrice(level, level, Decimal(fee)) for level, fee in fees.items()
        ),
    )


async def a_doctor(
    connection: AsyncConnection,
    name: str = "示例医生",
    *,
    pinyin: str = "shiliyisheng slys",
    department_id: int = 11,
    level: str = "chief",
    speciality: str = "",
) -> int:
    return await create_doctor(
        connection,
        1,
        NewDoctor(department_id, name, pinyin, level, "主任医师", speciality=speciality),
    )


async def a_hospital_with_a_doctor(engine: AsyncEngine) -> int:
    """The doctor's id. The doctor is of department 11."""
    async with engine.begin() as connection:
        await load_config(connection, a_config())
        return await a_doctor(connection)


def tomorrow() -> date:
    return datetime.now(ZONE).date() + timedelta(days=1)


async def a_slot(
    connection: AsyncConnection,
    doctor_id: int,
    *,
    day: date | None = None,
    hour: int = 9,
    sources: int = 10,
) -> int:
    """A bookable schedule's id."""
    slot = TimeSlot(time(hour), time(hour + 1))
    sessions = [session(day or tomorrow(), slot, ZONE)]
    at = await check_doctor(connection, 1, doctor_id, 11)
    created, _ = await create_batch(
        connection, Batch(1, doctor_id, 11, sessions, sources, "101", at)
    )
    assert created == 1
    found = await connection.execute(
        text("select id from schedule where doctor_id = :doctor and starts_at = :at"),
        {"doctor": doctor_id, "at": sessions[0].starts_at.astimezone(UTC)},
    )
    return int(found.scalar_one())
