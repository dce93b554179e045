"""Departments, doctors, and when they see patients."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVarTuple

from sqlalchemy import (
    BindParameter,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Numeric,
    Select,
    UniqueConstraint,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered
from domain.hospital import Department, HospitalConfig

Columns = TypeVarTuple("Columns")


class HospitalRow(Base):
    __tablename__ = "hospital"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]


class DepartmentRow(Base):
    __tablename__ = "department"

    hospital_id: Mapped[int] = mapped_column(ForeignKey("hospital.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    parent_id: Mapped[int | None]
    level: Mapped[int]  # 1 = top
    position: Mapped[int]
    active: Mapped[bool] = mapped_column(server_default="true")


class DoctorRow(Numbered, Base):
    __tablename__ = "doctor"
    __table_args__ = (Index("ix_doctor_department", "hospital_id", "department_id"),)

    hospital_id: Mapped[int]
    department_id: Mapped[int]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"), unique=True)
    name: Mapped[str]
    pinyin: Mapped[str]  # "zhangsan zs": whole syllables, then initials
    level: Mapped[str]
    title: Mapped[str]
    speciality: Mapped[str]
    introduction: Mapped[str]
    rating: Mapped[Decimal | None] = mapped_column(Numeric(2, 1))  # 1.0 to 5.0
    own_prices: Mapped[Fields | None]  # an expert's (专家): yuan by consultation type
    active: Mapped[bool] = mapped_column(server_default="true")


class ScheduleRow(Numbered, Base):
    """A slot (时段) of a doctor. `used_sources` counts what orders hold; the rows are `source`."""

    __tablename__ = "schedule"
    __table_args__ = (
        CheckConstraint("used_sources between 0 and total_sources", name="sources_add_up"),
        CheckConstraint("starts_at < ends_at", name="starts_before_it_ends"),
        # A doctor is in one place at a time.
        ExcludeConstraint(
            ("doctor_id", "="),
            (text("tstzrange(starts_at, ends_at)"), "&&"),
            name="ex_schedule_doctor_time",
            using="gist",
        ),
        Index("ix_schedule_doctor_date", "hospital_id", "doctor_id", "date"),
        Index("ix_schedule_department_date", "hospital_id", "department_id", "date"),
        Index("ix_schedule_date", "hospital_id", "date"),
    )

    hospital_id: Mapped[int]
    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctor.id"))
    department_id: Mapped[int]
    date: Mapped[date]
    time_slot: Mapped[str]  # 09:00-10:00
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    location: Mapped[str]
    total_sources: Mapped[int]
    used_sources: Mapped[int] = mapped_column(server_default="0")
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SourceRow(Numbered, Base):
    """One place in a slot (号源). Held by at most one open order."""

    __tablename__ = "source"
    __table_args__ = (
        UniqueConstraint("schedule_id", "number"),
        Index("ix_source_free", "schedule_id", "number", postgresql_where=text("order_no is null")),
    )

    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedule.id"))
    number: Mapped[int]  # 就诊序号 within the slot
    order_no: Mapped[str | None] = mapped_column(unique=True)
    withdrawn: Mapped[bool] = mapped_column(server_default="false")


# Departments


@dataclass(frozen=True)
class ListedDepartment:
    id: int
    name: str
    parent_id: int | None
    level: int  # 1 = top


async def load_config(connection: AsyncConnection, config: HospitalConfig) -> None:
    """Make the hospital and its departments those of the configuration. Safe to run twice.

    A department that is no longer listed becomes inactive: doctors and orders still name it.
    """
    hospital = {"id": config.hospital.id, "name": config.hospital.name}
    await connection.execute(
        insert(HospitalRow)
        .values(hospital)
        .on_conflict_do_update(index_elements=["id"], set_={"name": config.hospital.name})
    )
    rows = insert(DepartmentRow).values(_department_values(config))
    await connection.execute(
        rows.on_conflict_do_update(
            index_elements=["hospital_id", "id"],
            set_={
                name: rows.excluded[name]
                for name in ("name", "parent_id", "level", "position", "active")
            },
        )
    )
    await connection.execute(
        update(DepartmentRow)
        .where(DepartmentRow.hospital_id == config.hospital.id)
        .where(DepartmentRow.id.not_in([department.id for department in config.departments]))
        .values(active=False)
    )


def _department_values(config: HospitalConfig) -> list[dict[str, object]]:
    parents = {department.id: department.parent_id for department in config.departments}
    return [
        {
            "hospital_id": config.hospital.id,
            "id": department.id,
            "name": department.name,
            "parent_id": department.parent_id,
            "level": _level(department, parents),
            "position": position,
            "active": True,
        }
        for position, department in enumerate(config.departments)
    ]


def _level(department: Department, parents: dict[int, int | None]) -> int:
    """How deep in the tree, 1 = top. The loader has made sure that it has no circles."""
    level, parent = 1, department.parent_id
    while parent is not None:
        level, parent = level + 1, parents[parent]
    return level


async def list_departments(
    connection: AsyncConnection, hospital_id: int, *, level: int | None, page: int, size: int
) -> tuple[list[ListedDepartment], int]:
    """The active ones in the configuration's order, and how many there are on all pages."""
    d = DepartmentRow
    wanted = select(d.id, d.name, d.parent_id, d.level).where(
        d.hospital_id == hospital_id, d.active
    )
    if level is not None:
        wanted = wanted.where(d.level == level)
    rows = await connection.execute(_paged(wanted.order_by(d.position), page, size))
    return [ListedDepartment(*row) for row in rows], await _count(connection, wanted)


async def find_department(
    connection: AsyncConnection, hospital_id: int, id: int
) -> ListedDepartment | None:
    d = DepartmentRow
    rows = await connection.execute(
        select(d.id, d.name, d.parent_id, d.level).where(
            d.hospital_id == hospital_id, d.id == id, d.active
        )
    )
    row = rows.one_or_none()
    return ListedDepartment(*row) if row else None


def within_department(
    hospital_id: int | BindParameter[int], department_id: int | BindParameter[int]
) -> Select[int]:
    """The ids of a department and of all below it."""
    d = DepartmentRow
    below = (
        select(d.id)
        .where(d.hospital_id == hospital_id, d.id == department_id)
        .cte("within", recursive=True)
    )
    below = below.union(select(d.id).where(d.hospital_id == hospital_id, d.parent_id == below.c.id))
    return select(below.c.id)


# Doctors


@dataclass(frozen=True)
class NewDoctor:
    """`pinyin` comes from `db.pinyin.search_words`. `account_id` is whom the doctor logs in as."""

    department_id: int
    name: str
    pinyin: str
    level: str  # domain.hospital.DoctorLevel
    title: str
    speciality: str = ""
    introduction: str = ""
    rating: Decimal | None = None
    account_id: int | None = None
    own_prices: Fields | None = None


@dataclass(frozen=True)
class ListedDoctor:
    id: int
    name: str
    title: str
    level: str
    department_id: int
    department_name: str
    introduction: str
    speciality: str
    rating: Decimal | None
    own_prices: Fields | None


async def create_doctor(connection: AsyncConnection, hospital_id: int, doctor: NewDoctor) -> int:
    """The new doctor's id."""
    created = await connection.execute(
        insert(DoctorRow).values(hospital_id=hospital_id, **vars(doctor)).returning(DoctorRow.id)
    )
    return int(created.scalar_one())


def _doctors(hospital_id: int) -> Select[*tuple[Any, ...]]:
    d, department = DoctorRow, DepartmentRow
    return (
        select(
            d.id, d.name, d.title, d.level, d.department_id, department.name,
            d.introduction, d.speciality, d.rating, d.own_prices,
        )
        .join(
            department,
            (department.hospital_id == d.hospital_id) & (department.id == d.department_id),
        )
        .where(d.hospital_id == hospital_id, d.active)
    )  # fmt: skip


async def list_doctors(
    connection: AsyncConnection,
    hospital_id: int,
    *,
    department_id: int | None,
    keyword: str | None,
    page: int,
    size: int,
) -> tuple[list[ListedDoctor], int]:
    """Active doctors of a department and those below it, and how many there are on all pages."""
    wanted = _doctors(hospital_id)
    if department_id is not None:
        inside = within_department(hospital_id, department_id)
        wanted = wanted.where(DoctorRow.department_id.in_(inside))
    if keyword:
        wanted = wanted.where(_matches(keyword))
    rows = await connection.execute(_paged(wanted.order_by(DoctorRow.id), page, size))
    return [ListedDoctor(*row) for row in rows], await _count(connection, wanted)


async def find_doctor(
    connection: AsyncConnection, hospital_id: int, doctor_id: int
) -> ListedDoctor | None:
    rows = await connection.execute(_doctors(hospital_id).where(DoctorRow.id == doctor_id))
    row = rows.one_or_none()
    return ListedDoctor(*row) if row else None


def _matches(keyword: str) -> ColumnElement[bool]:
    """By name, speciality, whole pinyin or initials; `%` and `_` mean themselves."""
    d = DoctorRow
    typed = "".join(keyword.split()).lower()
    return or_(
        d.name.icontains(keyword, autoescape=True),
        d.speciality.icontains(keyword, autoescape=True),
        d.pinyin.contains(typed, autoescape=True),
    )


def _paged(wanted: Select[*Columns], page: int, size: int) -> Select[*Columns]:
    return wanted.limit(size).offset((page - 1) * size)


async def _count(connection: AsyncConnection, wanted: Select[*tuple[object, ...]]) -> int:
    counted = await connection.execute(select(func.count()).select_from(wanted.subquery()))
    return int(counted.scalar_one())
