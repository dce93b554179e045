"""Departments and doctors, for everybody to see."""

from decimal import Decimal
from typing import Annotated

from fastapi import Query

from api.context import Context, InContext, Transaction
from api.documented import refusals
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Page
from api.schemas.catalogue import Department, Doctor, DoctorPrices
from api.schemas.paging import Id, InPages
from db.catalogue import ListedDoctor, find_doctor, list_departments, list_doctors
from db.duty import online_among
from domain.consultation import ConsultationType
from domain.hospital import DoctorLevel, HospitalConfig

router = Router(tags=["catalogue"])


@router.get("/departments", summary="List departments", responses=refusals("invalid"))
async def get_departments(
    context: InContext,
    connection: Transaction,
    paging: InPages,
    hospital_id: Annotated[Id | None, Query(alias="hospitalId")] = None,
    level: Annotated[Id | None, Query(description="1 = top")] = None,
) -> Page[Department]:
    """A tree as rows (科室), in the hospital's order. An unknown hospital has none."""
    hospital = context.hospital_id if hospital_id is None else hospital_id
    found, total = await list_departments(
        connection, hospital, level=level, page=paging.page, size=paging.size
    )
    items = [Department.model_validate(department) for department in found]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.get("/doctors", summary="List and search doctors", responses=refusals("invalid"))
async def get_doctors(
    context: InContext,
    connection: Transaction,
    paging: InPages,
    department_id: Annotated[
        Id | None, Query(alias="departmentId", description="And all departments below it.")
    ] = None,
    keyword: Annotated[
        str | None,
        Query(max_length=50, description="Name, pinyin (zhangsan), initials (zs) or speciality."),
    ] = None,
) -> Page[Doctor]:
    """Active doctors (医生) with what they cost."""
    found, total = await list_doctors(
        connection,
        context.hospital_id,
        department_id=department_id,
        keyword=(keyword or "").strip() or None,
        page=paging.page,
        size=paging.size,
    )
    online = await online_among(connection, [doctor.id for doctor in found])
    items = [_doctor(context, doctor, doctor.id in online) for doctor in found]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


@router.get("/doctors/{id}", summary="Show a doctor", responses=refusals("not_found", "invalid"))
async def get_doctor(context: InContext, connection: Transaction, id: Id) -> Doctor:
    found = await find_doctor(connection, context.hospital_id, id)
    if found is None:
        raise Problem("not_found")
    return _doctor(context, found, bool(await online_among(connection, [id])))


def _doctor(context: Context, doctor: ListedDoctor, online: bool) -> Doctor:
    prices = _prices(context.config, doctor)
    return Doctor.model_validate({**vars(doctor), "prices": prices, "online": online})


def _prices(config: HospitalConfig, doctor: ListedDoctor) -> DoctorPrices:
    return DoctorPrices(
        registration=config.registration_fee(DoctorLevel(doctor.level)),
        **{kind: consultation_price(config, doctor, kind) for kind in ConsultationType},
    )


def consultation_price(
    config: HospitalConfig, doctor: ListedDoctor, type: ConsultationType
) -> Decimal | None:
    """By type and level; of an expert (专家: a chief) who has one, their own. None: not offered."""
    level = DoctorLevel(doctor.level)
    own = (doctor.own_prices or {}).get(type) if level is DoctorLevel.CHIEF else None
    return config.consultation_price(type, level) if own is None else Decimal(own)
