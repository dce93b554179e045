"""Online consultations (在线问诊) as patient, doctor and operator see them."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection

from api.cases import (
    CONSULTATIONS,
    consultation_order,
    may_read_background,
    may_read_words,
    opened_notes,
)
from api.context import Context, CurrentCaller, InContext, Transaction, require
from api.credentials import refuse_unentitled
from api.documented import refusals
from api.orders import timeline_entry
from api.problems import Problem
from api.routing import Router
from api.schemas.allergy import Allergy
from api.schemas.appointment import TimelineEntry
from api.schemas.base import Page
from api.schemas.consultation import (
    Background,
    ConsultationNote,
    ConsultationStory,
    EarlierVisit,
    ListedConsultation,
)
from api.schemas.paging import Id, InPages
from api.schemas.phone_call import PhoneCall
from db.allergy import allergies_of
from db.consultation import (
    Consultation,
    ConsultationFilter,
    earlier_visits,
    list_consultations,
    notes_of,
    waiting_of,
)
from db.conversation import unread
from db.journal import read_timeline
from db.phone_call import calls_of
from domain.access import Action, Caller, Capacity, Role
from domain.consultation import (
    ConsultationStatus,
)
from domain.conversation import Side

router = Router(prefix="/consultations", tags=["consultations"])

SEEN = refusals("not_authenticated", "not_found")


@router.get(
    "",
    summary="List consultations",
    responses=refusals(
        "invalid", "not_authenticated", "forbidden", "licence_expired", "licence_missing",
        "too_few_years", "institution_consent_missing",
    ),
)  # fmt: skip
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
    """A patient's own, a doctor's cases, everything for operators (without what was written). The
    queue is for doctors who may take new cases."""
    account_id, doctor_id, capacity = _scope(caller, mine=mine, queue=queue)
    if queue and doctor_id is not None:
        await refuse_unentitled(context, connection, doctor_id)
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
        await CONSULTATIONS.note_reading(connection, caller, capacity, order, "list")
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
    order, capacity = await CONSULTATIONS.allowed(context, connection, caller, id, Action.SEE)
    await CONSULTATIONS.note_reading(connection, caller, capacity, order, "read")
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
    order, capacity = await CONSULTATIONS.allowed(context, connection, caller, id, Action.SEE)
    await CONSULTATIONS.note_reading(connection, caller, capacity, order, "timeline")
    return [timeline_entry(move) for move in await read_timeline(connection, order.order_no)]


@router.get(
    "/{id}/notes",
    summary="What was written with its commands: evidence, judgement, conclusion",
    responses=refusals("not_authenticated", "forbidden", "not_found"),
)
async def get_notes(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> list[ConsultationNote]:
    order, capacity = await CONSULTATIONS.allowed(context, connection, caller, id, Action.SEE)
    if not may_read_words(order, capacity):
        raise Problem("forbidden")
    await CONSULTATIONS.note_reading(connection, caller, capacity, order, "notes")
    return opened_notes(context, caller, order, await notes_of(connection, order.order_no))


@router.get(
    "/{id}/background",
    summary="The patient's earlier visits, for the doctor of the case",
    responses=refusals("not_authenticated", "forbidden", "not_found"),
)
async def get_background(
    id: Id, caller: CurrentCaller, context: InContext, connection: Transaction
) -> Background:
    order, capacity = await CONSULTATIONS.allowed(
        context, connection, caller, id, Action.SEE_BACKGROUND
    )
    if not (may_read_words(order, capacity) and may_read_background(order)):
        raise Problem("forbidden")
    await CONSULTATIONS.note_reading(connection, caller, capacity, order, "background")
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
