"""Appointments (预约订单) as their readers see them: opened seals, nothing decided."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from api.fields import shown_phone
from api.orders import SHREDDED, Orders, holder_name
from api.schemas.appointment import AppointmentOrder, PatientOfOrder, Terms
from db.account import open_patient
from db.appointment import (
    TERMS,
    Appointment,
    find_appointment,
    find_appointment_by_number,
)
from db.keyring import Shredded
from domain.access import APPOINTMENT, Action, Caller, Stake
from domain.account import age_on
from domain.appointment import AppointmentStatus
from domain.order import OrderKind


def stake_of(order: Appointment) -> Stake:
    return Stake(order.account_id, order.doctor_id)


def is_paid(order: Appointment) -> bool:
    return order.payment_no is not None or order.price == 0


def appointment_order(context: Context, order: Appointment) -> AppointmentOrder:
    person = person_of(context, order)
    paid = is_paid(order)
    return AppointmentOrder(
        id=order.id,
        order_no=order.order_no,
        user_id=order.account_id,
        user_name=holder_name(context, order) or person["name"],
        phone=person["phone"],
        id_card=person["id_card"],
        hospital_id=order.hospital_id,
        hospital_name=context.config.hospital.name,
        department_id=order.department_id,
        department_name=order.department_name,
        doctor_id=order.doctor_id,
        doctor_name=order.doctor_name,
        doctor_title=order.doctor_title,
        schedule_date=order.date,
        time_slot=order.time_slot,
        source_id=order.source_id,
        status=AppointmentStatus(order.status),
        price=order.price,
        paid=paid,
        patient_info=PatientOfOrder(**person),
        check_in=order.check_in_time is not None,
        check_in_time=order.check_in_time,
        created_at=order.created_at,
        patient_id=order.patient_id,
        schedule_id=order.schedule_id,
        location=order.location,
        starts_at=order.starts_at,
        symptoms=symptoms_of(context, order),
        pay_by=order.pay_by,
        queue_number=order.queue_number if paid else None,
        reason=order.reason,
        refund_status=order.refund_status,
        refunded_amount=order.refunded_amount,
        choose_by=order.choose_by,
        terms=Terms.model_validate(TERMS.validate_python(order.terms)),
        version=order.version,
    )


def person_of(context: Context, order: Appointment) -> dict[str, Any]:
    """Whom it is for. An order outlives a person whose key was thrown away: theirs is empty."""
    try:
        patient = open_patient(context.keyring, order.patient_key, order.patient_sealed)
    except Shredded:
        return {"name": SHREDDED, "gender": None, "id_card": "", "phone": "", "age": None}
    return {
        "name": patient.name,
        "gender": patient.gender,
        "id_card": patient.id_card,
        "phone": shown_phone(patient.phone),
        "age": age_on(patient.birth_date, order.date),
    }


def symptoms_of(context: Context, order: Appointment) -> str | None:
    if order.symptoms is None or order.patient_key is None:
        return None
    opened: str = context.keyring.unwrap(order.patient_key).open(order.symptoms)["symptoms"]
    return opened


async def _stake(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    order: Appointment,
    action: Action,
) -> Stake:
    return stake_of(order)


APPOINTMENTS = Orders(
    OrderKind.APPOINTMENT,
    rules=APPOINTMENT,
    find=find_appointment,
    find_by_number=find_appointment_by_number,
    stake=_stake,
    show=lambda context, caller, order, capacity: appointment_order(context, order),
)
