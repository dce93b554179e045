"""Consultations as their readers see them: who may, opened seals, traces of reading."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from api.credentials import why_unentitled
from api.file_refs import file_urls
from api.orders import SHREDDED, Orders, holder_name
from api.problems import Problem
from api.schemas.consultation import (
    ConsultationNote,
    ConsultationOrder,
    ConsultationPatient,
    ConsultationTerms,
    RedFlagSeen,
)
from db.account import open_patient
from db.consultation import (
    PROGRESS,
    TERMS,
    Consultation,
    Note,
    find_consultation,
    find_consultation_by_number,
    in_department,
    may_accept,
)
from db.keyring import Shredded
from domain.access import CONSULTATION, Action, Caller, Capacity, Stake, capacities
from domain.account import age_on
from domain.consultation import Terms, Way
from domain.order import OrderKind

AFTERCARE = timedelta(hours=24)  # as long as the doctor may still prescribe


def consultation_order(
    context: Context, caller: Caller, order: Consultation, capacity: Capacity
) -> ConsultationOrder:
    """Operators see where it stands and not what was written."""
    terms, progress = TERMS.validate_python(order.terms), PROGRESS.validate_python(order.progress)
    patient = _person(context, order)
    pending, consulting = order.status == "pending", order.status == "consulting"
    evidence_by = progress.evidence_by
    return ConsultationOrder(
        id=order.id,
        order_no=order.order_no,
        user_id=order.account_id,
        user_name=holder_name(context, order) or patient.name,
        doctor_id=order.doctor_id,
        doctor_name=order.doctor_name,
        doctor_title=order.doctor_title,
        department_id=order.department_id,
        department_name=order.department_name,
        type=order.type,
        status=order.status,
        price=order.price,
        paid=order.paid_at is not None,
        start_time=order.started_at,
        end_time=order.ended_at,
        prescription=None,
        created_at=order.created_at,
        patient_id=order.patient_id,
        patient=patient,
        urgency=order.urgency,
        way=order.way,
        visit_kind=order.visit_kind,
        switched_to=progress.switched_to,
        scheduled_time=order.scheduled_at,
        reason=order.reason,
        pay_by=order.pay_by,
        waiting_since=order.paid_at if pending else None,
        accept_by=_local(context, progress.accept_by) if progress.accept_by else None,
        evidence_by=_local(context, evidence_by) if evidence_by and pending else None,
        window_ends=order.window_ends,
        extensions_left=terms.extensions - progress.extended if consulting else None,
        waiting_for=order.waiting_for,
        next_step=order.next_step,
        due=order.due_at,
        refund_status=order.refund_status,
        refunded_amount=order.refunded_amount,
        terms=_terms(terms),
        version=order.version,
        **_written(context, caller, order, capacity),
    )


def _person(context: Context, order: Consultation) -> ConsultationPatient:
    """An order outlives a person whose key was thrown away: theirs is empty."""
    try:
        patient = open_patient(context.keyring, order.patient_key, order.patient_sealed)
    except Shredded:
        return ConsultationPatient(name=SHREDDED, gender=None, age=None)
    return ConsultationPatient(
        name=patient.name,
        gender=patient.gender,
        age=age_on(patient.birth_date, _local(context, order.created_at).date()),
    )


def may_read_words(order: Consultation, capacity: Capacity) -> bool:
    """Operators help without reading. A doctor who declined, or was not there in time, treats
    nobody: they see what became of the order, and no more."""
    over_without_them = order.ended_at is not None and order.started_at is None
    doctors = (Capacity.ITS_DOCTOR, Capacity.CANDIDATE)
    return capacity is not Capacity.OPERATOR and not (capacity in doctors and over_without_them)


def may_read_background(order: Consultation) -> bool:
    """The patient's other visits are for treating this one, and for a day after it: what comes
    later is between the patient and others."""
    over = order.ended_at is not None and datetime.now(UTC) > order.ended_at + AFTERCARE
    return not over


def _written(
    context: Context, caller: Caller, order: Consultation, capacity: Capacity
) -> dict[str, Any]:
    if order.patient_key is None or not may_read_words(order, capacity):
        return {
            "complaint": "", "description": "", "attachments": [], "symptoms": [],
            "duration": None, "diagnosis": None, "advice": None, "rating": order.rating,
            "comment": None, "red_flags": [],
        }  # fmt: skip
    key = context.keyring.unwrap(order.patient_key)
    asked = key.open(order.sealed)
    said = key.open(order.conclusion) if order.conclusion else {}
    return {
        "complaint": asked["complaint"],
        "description": asked["description"],
        "attachments": file_urls(context, caller, order.attachments),
        "symptoms": asked["symptoms"],
        "duration": asked["duration"],
        "diagnosis": said.get("diagnosis") or None,
        "advice": said.get("advice"),
        "rating": order.rating,
        "comment": key.open(order.comment)["comment"] if order.comment else None,
        "red_flags": flags_seen(context, asked.get("red_flags", [])),
    }


def flags_seen(context: Context, ids: Sequence[str]) -> list[RedFlagSeen]:
    english = context.config.policies.messages.default_language == "en"
    return [
        RedFlagSeen(id=flag.id, advice=flag.advice.en if english else flag.advice.zh)
        for flag in context.red_flags.flags
        if flag.id in ids
    ]


def _terms(terms: Terms) -> ConsultationTerms:
    return ConsultationTerms.model_validate(terms)


def opened_notes(
    context: Context, caller: Caller, order: Consultation, notes: list[Note]
) -> list[ConsultationNote]:
    key = context.keyring.unwrap(order.patient_key)
    return [
        ConsultationNote(
            id=note.id,
            kind=note.kind,
            by=note.account_id,
            text={name: words for name, words in key.open(note.sealed).items() if words},
            attachments=file_urls(context, caller, note.files),
            at=note.created_at,
        )
        for note in notes
    ]


def _local(context: Context, at: datetime) -> datetime:
    """As the columns of a row come; what lies in its `progress` is in UTC."""
    return at.astimezone(ZoneInfo(context.config.hospital.time_zone))


async def _stake(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    order: Consultation,
    action: Action,
) -> Stake:
    """Nobody but its owner knows of an order before it is paid. Nobody treats themselves. Who may
    take no new case reads of none; who tries to is told why."""
    doctor_id = order.doctor_id if order.paid_at is not None else None
    own = caller.account_id == order.account_id
    candidate = None
    if caller.doctor_id is not None and not own and caller.doctor_id != doctor_id:
        could = await may_accept(connection, order, caller.doctor_id)
        if could and action is not Action.ACCEPT:
            could = await why_unentitled(context, connection, caller.doctor_id) is None
        candidate = caller.doctor_id if could else None
    stake = Stake(order.account_id, None if own else doctor_id, candidate_id=candidate)
    if action in (Action.ACCEPT, Action.DECLINE) and not capacities(caller, stake):
        await _refuse_who_came_second(connection, caller, order)
    return stake


async def _refuse_who_came_second(
    connection: AsyncConnection, caller: Caller, order: Consultation
) -> None:
    """A doctor of the pool saw it in the queue a moment ago: it is not unknown, but gone."""
    if caller.doctor_id is None or order.way == Way.NAMED or order.paid_at is None:
        return
    if await in_department(connection, order, caller.doctor_id):
        rings = order.way == Way.EMERGENCY and order.status == "pending"
        raise Problem("not_rung" if rings else "not_allowed", orderStatus=order.status)


CONSULTATIONS = Orders(
    OrderKind.CONSULTATION,
    rules=CONSULTATION,
    find=find_consultation,
    find_by_number=find_consultation_by_number,
    stake=_stake,
    show=consultation_order,
)
