"""Online consultations (在线问诊): ordering one, and looking."""

import datetime as dt
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, NoReturn

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from api.cases import (
    allowed_case,
    consultation_order,
    flags_seen,
    may_read_words,
    note_case_reading,
    opened_notes,
)
from api.catalogue import consultation_price
from api.context import Context, CurrentCaller, InContext, Transaction, require
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
from api.orders import timeline_entry
from api.problems import Problem
from api.schemas.allergy import Allergy
from api.schemas.appointment import TimelineEntry
from api.schemas.base import Page
from api.schemas.consultation import (
    Background,
    ConsultationNote,
    ConsultationOrder,
    ConsultationStory,
    EarlierVisit,
    ListedConsultation,
    NewConsultation,
)
from api.schemas.paging import Id, InPages
from api.schemas.phone_call import PhoneCall
from db.account import Patient, own_person, patients_by_id, sealing_key_of_patient
from db.allergy import allergies_of
from db.catalogue import find_department, find_doctor
from db.consultation import (
    Consultation,
    ConsultationFilter,
    NoteKind,
    create_consultation,
    earlier_visits,
    find_consultation_by_number,
    list_consultations,
    notes_of,
    waiting_of,
    write_note,
)
from db.consultation import NewConsultation as NewRow
from db.conversation import unread
from db.journal import read_timeline
from db.phone_call import calls_of
from domain.access import Action, Caller, Capacity, Role
from domain.consultation import (
    Case,
    ConsultationStatus,
    Progress,
    Terms,
    Urgency,
    VisitKind,
)
from domain.consultation.changes import paid
from domain.conversation import Side
from domain.hospital import Compliance, Feature
from domain.order import NumberPrefix, new_number
from domain.red_flags import RedFlag

router = APIRouter(prefix="/consultations", tags=["consultations"])

SEEN = refusals("not_authenticated", "not_found")


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
    person = emergency.patient.details
    words = f"{person.name} {shown_phone(person.phone)}: {new.complaint} {new.description}".strip()
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
    if Feature.ONLINE_CONSULTATION not in context.config.hospital.features:
        raise Problem("not_offered")
    patient_id = new.patient_id or await own_person(connection, caller.account_id)
    if patient_id is None:
        raise Problem.of_field("patientId", "name the person (就诊人) it is for")
    key = await sealing_key_of_patient(connection, context.keyring, caller.account_id, patient_id)
    found = await patients_by_id(connection, context.keyring, context.hospital_id, [patient_id])
    if key is None or patient_id not in found:
        raise Problem("not_found")
    details = found[patient_id].details
    # Before anything else that could be wrong with the order.
    flags = flags_of(context, new, details)
    if flags and new.urgency is Urgency.EMERGENCY:
        raise _Emergency(found[patient_id], flags)
    department_id, price = await _whom(context, connection, new)
    await refuse_without_consent(context, connection, caller, patient_id, details.birth_date)
    lawful = context.config.compliance is Compliance.CN_2022
    follow_up = new.visit_kind is VisitKind.FOLLOW_UP
    if lawful and follow_up and (new.evidence is None or not new.evidence.given):
        raise Problem("evidence_missing", rule="R03")
    now = datetime.now(UTC)
    case = Case(
        order_no=new_number(NumberPrefix.CONSULTATION, today_at(context.config.hospital)),
        type=new.type,
        way=new.way,
        department_id=department_id,
        patient_id=patient_id,
        terms=Terms.of(context.config.policies.consultation, new.type, new.urgency),
        scheduled_at=_scheduled(context, new, now),
        judged=lawful and follow_up,
    )
    words = {
        "complaint": new.complaint,
        "description": new.description,
        "symptoms": new.symptoms,
        "duration": new.duration,
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
        red_flags=tuple(flag.id for flag in flags),
        created_at=now,
    )
    if new.evidence is not None and new.evidence.given:
        files = file_ids(new.evidence.attachments, "evidence.attachments")
        note_id = await write_note(
            connection,
            hospital_id=context.hospital_id,
            order_no=case.order_no,
            kind=NoteKind.EVIDENCE,
            account_id=caller.account_id,
            sealed=key.key.seal({"description": new.evidence.description or ""}),
            files=files,
        )
        row = replace(row, note_ids=(note_id,))
    else:
        files = ()
    await create_consultation(connection, row)
    await attach(
        context,
        connection,
        caller,
        (*row.attachments, *files),
        order_no=case.order_no,
        patient_id=patient_id,
    )
    return case.order_no


async def _whom(
    context: Context, connection: AsyncConnection, new: NewConsultation
) -> tuple[int, Decimal]:
    """Of which department, and for how much. Problem `not_offered` where there is no price."""
    config = context.config
    if new.doctor_id is not None:
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


# Looking


@router.get(
    "",
    summary="List consultations",
    responses=refusals("invalid", "not_authenticated", "forbidden"),
)
async def get_consultations(
    caller: CurrentCaller,
    context: InContext,
    connection: Transaction,
    paging: InPages,
    status: ConsultationStatus | None = None,
    queue: Annotated[
        bool, Query(description="For doctors: what they could accept, who waits longest first.")
    ] = False,
    mine: Annotated[
        bool | None, Query(description="A doctor's own cases; false: as a patient.")
    ] = None,
) -> Page[ListedConsultation]:
    """A patient's own, a doctor's cases, everything for operators (without what was written)."""
    account_id, doctor_id, capacity = _scope(caller, mine=mine, queue=queue)
    wanted = ConsultationFilter(
        hospital_id=context.hospital_id,
        reader_id=caller.account_id,
        account_id=account_id,
        doctor_id=doctor_id,
        status=status,
        page=paging.page,
        size=paging.size,
        queue=queue,
    )
    orders, total = await list_consultations(connection, wanted)
    for order in orders:
        await note_case_reading(connection, caller, capacity, order, "list")
    side = Side.of(capacity)
    counts = await unread(connection, [order.order_no for order in orders], side)
    items = [
        ListedConsultation(
            **consultation_order(context, caller, order, capacity).model_dump(),
            unread=counts[order.order_no],
        )
        for order in orders
    ]
    return Page(items=items, total=total, page=paging.page, size=paging.size)


def _scope(
    caller: Caller, *, mine: bool | None, queue: bool
) -> tuple[int | None, int | None, Capacity]:
    if queue:
        require(caller, Action.SEE_CASES)
        return None, caller.doctor_id, Capacity.CANDIDATE
    if Role.OPERATOR in caller.roles and not mine:
        return None, None, Capacity.OPERATOR
    if caller.doctor_id is not None and mine is not False:
        return None, caller.doctor_id, Capacity.ITS_DOCTOR
    return caller.account_id, None, Capacity.OWNER


@router.get("/{id}", summary="One consultation", responses=SEEN)
async def get_consultation(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> ConsultationStory:
    order, capacity = await allowed_case(context, connection, caller, id, Action.SEE)
    await note_case_reading(connection, caller, capacity, order, "read")
    shown = consultation_order(context, caller, order, capacity)
    waits = order.status == "pending" and order.paid_at is not None
    waiting = await waiting_of(connection, order) if waits else None
    return ConsultationStory(
        **shown.model_dump(),
        unread=(await unread(connection, [order.order_no], Side.of(capacity)))[order.order_no],
        calls=[PhoneCall.of(call) for call in await calls_of(connection, order.order_no)],
        ahead=waiting.ahead if waiting else None,
        usual_response=waiting.usual_response if waiting else None,
    )


@router.get("/{id}/timeline", summary="What happened to it, oldest first", responses=SEEN)
async def get_timeline(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> list[TimelineEntry]:
    order, capacity = await allowed_case(context, connection, caller, id, Action.SEE)
    await note_case_reading(connection, caller, capacity, order, "timeline")
    return [timeline_entry(move) for move in await read_timeline(connection, order.order_no)]


@router.get(
    "/{id}/notes",
    summary="What was written with its commands: evidence, judgement, conclusion",
    responses=refusals("not_authenticated", "forbidden", "not_found"),
)
async def get_notes(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> list[ConsultationNote]:
    order, capacity = await allowed_case(context, connection, caller, id, Action.SEE)
    if not may_read_words(order, capacity):
        raise Problem("forbidden")
    await note_case_reading(connection, caller, capacity, order, "notes")
    return opened_notes(context, caller, order, await notes_of(connection, order.order_no))


@router.get(
    "/{id}/background",
    summary="The patient's earlier visits, for the doctor of the case",
    responses=refusals("not_authenticated", "forbidden", "not_found"),
)
async def get_background(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Background:
    order, capacity = await allowed_case(context, connection, caller, id, Action.SEE_BACKGROUND)
    if not may_read_words(order, capacity):
        raise Problem("forbidden")
    await note_case_reading(connection, caller, capacity, order, "background")
    return await background_of(context, connection, order)


async def background_of(
    context: Context, connection: AsyncConnection, order: Consultation
) -> Background:
    visits = await earlier_visits(connection, order.patient_id)
    key = context.keyring.unwrap(order.patient_key)
    shown = []
    for visit in visits:
        words = key.open(visit.sealed)
        shown.append(
            {
                "id": visit.id,
                "date": visit.record_date,
                "department_name": visit.department_name,
                "doctor_name": visit.doctor_name,
                "diagnosis": words.get("diagnosis"),
                "advice": words.get("content", {}).get("advice"),
            }
        )
    allergies = await allergies_of(connection, context.keyring, order.patient_id)
    return Background(
        allergies=[Allergy.model_validate(allergy) for allergy in allergies],
        visits=[EarlierVisit.model_validate(visit) for visit in shown],
    )
