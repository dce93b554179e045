"""Asking for an online consultation: red flags, whom and for how much, consent, evidence."""

import datetime as dt
from datetime import UTC, datetime
from decimal import Decimal
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection

from api.cases import consultation_order, flags_seen
from api.catalogue import consultation_price
from api.context import Context, CurrentCaller, InContext, require
from api.documented import refusals
from api.fields import shown_phone, today_at
from api.file_refs import attach, file_ids
from api.gates import (
    flags_of,
    have_a_nurse_call,
    refuse_doctor_who_takes_nobody,
    refuse_without_consent,
)
from api.idempotency import Once, OnceOnly
from api.problems import Problem
from api.routing import Router
from api.schemas.consultation import ConsultationOrder, NewConsultation
from db.account import (
    Patient,
    SealingKey,
    own_person,
    patients_by_id,
    sealing_key_of_patient,
)
from db.catalogue import find_department, find_doctor
from db.consultation import (
    Consultation,
    NoteKind,
    create_consultation,
    find_consultation_by_number,
    write_note,
)
from db.consultation import NewConsultation as NewRow
from db.keyring import DataKey
from domain.access import Action, Caller, Capacity
from domain.consultation import Case, Progress, Terms, Urgency, VisitKind
from domain.consultation.changes import paid
from domain.hospital import Compliance, Feature
from domain.order import NumberPrefix, new_number
from domain.red_flags import RedFlag

router = Router(prefix="/consultations", tags=["consultations"])


@router.post(
    "",
    status_code=201,
    summary="Ask for a consultation",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "invalid", "not_offered", "red_flag",
        "consent_missing", "evidence_missing", "doctor_unavailable", "file_unknown",
        "idempotency_mismatch",
        "unavailable",
    ),
)  # fmt: skip
async def order_consultation(
    new: NewConsultation, caller: CurrentCaller, context: InContext, once: Once
) -> ConsultationOrder:
    """The price is fixed now and paid by `POST /payments` until `payBy`. An emergency with signs
    that want an ambulance is refused (`red_flag`) before anything is charged: call 120."""
    require(caller, Action.BOOK)
    try:
        order = await _ordered(context, caller, new, once)
    except _Emergency as emergency:
        await _send_to_hospital(context, caller, new, emergency)
    context.doorbell.ring()
    return consultation_order(context, caller, order, Capacity.OWNER)


class _Emergency(Exception):
    """Not for online care. What was begun for this request is rolled back."""

    def __init__(self, patient: Patient, flags: tuple[RedFlag, ...]) -> None:
        super().__init__()
        self.patient, self.flags = patient, flags


async def _send_to_hospital(
    context: Context, caller: Caller, new: NewConsultation, emergency: _Emergency
) -> NoReturn:
    """Problem `red_flag`: call 120. A nurse calls the patient."""
    words = _for_nurse(emergency.patient, new)
    async with context.engine.begin() as connection:
        key = await sealing_key_of_patient(
            connection, context.keyring, caller.account_id, emergency.patient.id
        )
        if key is None:
            raise Problem("not_found")
        await have_a_nurse_call(
            context, connection, caller, emergency.patient.id, key, words, emergency.flags
        )
    context.doorbell.ring()
    seen = flags_seen(context, [flag.id for flag in emergency.flags])
    raise Problem("red_flag", redFlags=[flag.model_dump(by_alias=True) for flag in seen])


def _for_nurse(patient: Patient, new: NewConsultation) -> str:
    person = patient.details
    return f"{person.name} {shown_phone(person.phone)}: {new.complaint} {new.description}".strip()


async def _ordered(
    context: Context, caller: Caller, new: NewConsultation, once: OnceOnly
) -> Consultation:
    async with context.engine.begin() as connection:
        order_no = await once.answered(connection)
        if order_no is None:
            order_no = await _order(context, connection, caller, new)
            await once.remember(connection, order_no)
        order = await find_consultation_by_number(connection, context.hospital_id, order_no)
        if order is None:
            raise Problem("not_found")
        return order


async def _order(
    context: Context, connection: AsyncConnection, caller: Caller, new: NewConsultation
) -> str:
    """Signs of an emergency come before anything else that could be wrong with the order."""
    if Feature.ONLINE_CONSULTATION not in context.config.hospital.features:
        raise Problem("not_offered")
    patient, key = await _for_whom(context, connection, caller, new)
    flags = flags_of(context, new, patient.details)
    if flags and new.urgency is Urgency.EMERGENCY:
        raise _Emergency(patient, flags)
    department_id, price = await _whom(context, connection, caller, new)
    birth_date = patient.details.birth_date
    await refuse_without_consent(context, connection, caller, patient.id, birth_date)
    _refuse_without_evidence(context, new)
    now = datetime.now(UTC)
    case = _case(context, new, department_id, patient.id, now)
    notes, files = await _evidence(context, connection, caller, case, key.key, new)
    words = {
        "complaint": new.complaint,
        "description": new.description,
        "symptoms": new.symptoms,
        "duration": new.duration,
        "red_flags": [flag.id for flag in flags],
    }
    row = NewRow(
        hospital_id=context.hospital_id,
        account_id=caller.account_id,
        case=case,
        progress=_beginning(case, new, price, now),
        urgency=new.urgency,
        visit_kind=new.visit_kind,
        price=price,
        sealed=key.key.seal(words),
        attachments=file_ids(new.attachments, "attachments"),
        created_at=now,
        note_ids=notes,
    )
    await create_consultation(connection, row)
    if flags:
        await have_a_nurse_call(
            context, connection, caller, patient.id, key, _for_nurse(patient, new), flags
        )
    await attach(
        context,
        connection,
        caller,
        (*row.attachments, *files),
        order_no=case.order_no,
        patient_id=patient.id,
    )
    return case.order_no


async def _for_whom(
    context: Context, connection: AsyncConnection, caller: Caller, new: NewConsultation
) -> tuple[Patient, SealingKey]:
    patient_id = new.patient_id or await own_person(connection, caller.account_id)
    if patient_id is None:
        raise Problem.of_field("patientId", "name the person (就诊人) it is for")
    key = await sealing_key_of_patient(connection, context.keyring, caller.account_id, patient_id)
    found = await patients_by_id(connection, context.keyring, context.hospital_id, [patient_id])
    if key is None or patient_id not in found:
        raise Problem("not_found")
    return found[patient_id], key


async def _whom(
    context: Context, connection: AsyncConnection, caller: Caller, new: NewConsultation
) -> tuple[int, Decimal]:
    """Of which department, and for how much. Problem `not_offered` where there is no price."""
    config = context.config
    if new.doctor_id is not None:
        if new.doctor_id == caller.doctor_id:
            raise Problem.of_field("doctorId", "is yourself")
        doctor = await find_doctor(connection, context.hospital_id, new.doctor_id)
        if doctor is None:
            raise Problem("not_found")
        if new.department_id not in (None, doctor.department_id):
            raise Problem.of_field("departmentId", "is not this doctor's")
        await refuse_doctor_who_takes_nobody(context, connection, doctor.id)
        department_id, price = doctor.department_id, consultation_price(config, doctor, new.type)
    else:
        department_id = new.department_id or 0
        if await find_department(connection, context.hospital_id, department_id) is None:
            raise Problem("not_found")
        emergency = new.urgency is Urgency.EMERGENCY
        price = config.consultation_prices.emergency if emergency else config.quick_price(new.type)
    if price is None:
        raise Problem("not_offered")
    return department_id, price


def _lawful_follow_up(context: Context, new: NewConsultation) -> bool:
    lawful = context.config.compliance is Compliance.CN_2022
    return lawful and new.visit_kind is VisitKind.FOLLOW_UP


def _refuse_without_evidence(context: Context, new: NewConsultation) -> None:
    given = new.evidence is not None and new.evidence.given
    if _lawful_follow_up(context, new) and not given:
        raise Problem("evidence_missing")


def _case(
    context: Context, new: NewConsultation, department_id: int, patient_id: int, now: datetime
) -> Case:
    return Case(
        order_no=new_number(NumberPrefix.CONSULTATION, today_at(context.config.hospital)),
        type=new.type,
        way=new.way,
        department_id=department_id,
        patient_id=patient_id,
        terms=Terms.of(context.config.policies.consultation, new.type, new.urgency),
        scheduled_at=_scheduled(context, new, now),
        judged=_lawful_follow_up(context, new),
    )


async def _evidence(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    case: Case,
    key: DataKey,
    new: NewConsultation,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids of the note it is kept in, and of its files; none where none was given."""
    if new.evidence is None or not new.evidence.given:
        return (), ()
    files = file_ids(new.evidence.attachments, "evidence.attachments")
    note_id = await write_note(
        connection,
        hospital_id=context.hospital_id,
        order_no=case.order_no,
        kind=NoteKind.EVIDENCE,
        account_id=caller.account_id,
        sealed=key.seal({"description": new.evidence.description or ""}),
        files=files,
    )
    return (note_id,), files


def _scheduled(context: Context, new: NewConsultation, now: datetime) -> dt.datetime | None:
    if new.scheduled_time is None:
        return None
    policy = context.config.policies.consultation
    if not now + policy.payment_window < new.scheduled_time <= now + policy.schedule_ahead:
        raise Problem.of_field("scheduledTime", "must be later than `payBy` and not too far ahead")
    return new.scheduled_time


def _beginning(case: Case, new: NewConsultation, price: Decimal, now: datetime) -> Progress:
    """What costs nothing waits for its doctor at once."""
    pay_by = now + case.terms.payment_window
    free = paid(case, None, now) if price == 0 else {}
    return Progress(pay_by=pay_by, doctor_id=new.doctor_id, **free)
