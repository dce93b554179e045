"""Commands on a consultation: accept or decline, ask for more, extend, call, conclude, rate."""

from typing import Any

from api.case_commands import Writing, by_doctor, by_itself, command, reason_of, with_note
from api.cases import CONSULTATIONS, consultation_order
from api.context import Context, CurrentCaller, InContext
from api.credentials import refuse_unentitled
from api.documented import refusals
from api.file_refs import file_ids
from api.idempotency import Once
from api.orders import COMMANDED
from api.problems import Problem
from api.routing import Router
from api.schemas.consultation import (
    Accepting,
    AskingForEvidence,
    Conclusion,
    ConsultationOrder,
    GivingEvidence,
    Rating,
    Saying,
    Switch,
    Unsuitable,
)
from api.schemas.paging import Id
from api.schemas.video import VideoSession
from api.video import video_session
from db.consultation import Consultation, NoteKind, rate
from db.consultation.starts import PROGRESS, TERMS
from domain.access import Action, Caller
from domain.consultation import ConsultationStatus, ConsultationType, VisitKind
from domain.hospital import Compliance
from domain.order import Actor
from workflows.commands import Command as ByPerson
from workflows.commands import Switched

router = Router(prefix="/consultations", tags=["consultations"])


@router.post(
    "/{id}/accept",
    summary="A doctor takes it on",
    response_model=ConsultationOrder,
    responses=COMMANDED
    | refusals(
        "not_allowed",
        "not_rung",
        "judgement_missing",
        "licence_expired",
        "licence_missing",
        "too_few_years",
        "institution_consent_missing",
    ),
)
async def accept(
    id: Id,
    caller: CurrentCaller,
    context: InContext,
    once: Once,
    wanted: Accepting | None = None,
) -> Any:
    """The first who accepts has it. A follow-up under cn-2022 wants the doctor's `judgement`."""
    if caller.doctor_id is not None:
        async with context.engine.connect() as connection:
            await CONSULTATIONS.allowed(context, connection, caller, id, Action.ACCEPT)
            await refuse_unentitled(context, connection, caller.doctor_id)
    words = wanted.judgement if wanted else None
    writing = Writing(NoteKind.JUDGEMENT, {"judgement": words}) if words else None
    return await command(
        context, caller, id, Action.ACCEPT, "accept", once, by_doctor(caller), writing
    )


@router.post(
    "/{id}/decline",
    summary="A doctor does not take it on; what was paid goes back",
    response_model=ConsultationOrder,
    responses=COMMANDED | refusals("not_allowed", "not_rung"),
)
async def decline(
    id: Id, caller: CurrentCaller, context: InContext, once: Once, said: Saying | None = None
) -> Any:
    """Of an emergency: the next doctor is rung at once."""
    writing = reason_of(NoteKind.DECLINE, said)
    return await command(
        context, caller, id, Action.DECLINE, "decline", once, by_doctor(caller), writing
    )


@router.post(
    "/{id}/ask-evidence",
    summary="Ask the patient for earlier records, once",
    response_model=ConsultationOrder,
    responses=COMMANDED,
)
async def ask_evidence(
    id: Id, wanted: AskingForEvidence, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """The time to accept stands still meanwhile. Without an answer by `evidenceBy` the money goes
    back."""
    writing = Writing(NoteKind.EVIDENCE_WANTED, {"wanted": wanted.wanted})
    return await command(
        context, caller, id, Action.ASK_EVIDENCE, "ask_evidence", once, by_doctor(caller), writing
    )


@router.post(
    "/{id}/evidence",
    summary="Send the records that the doctor asked for",
    response_model=ConsultationOrder,
    responses=COMMANDED | refusals("invalid", "file_unknown", "idempotency_mismatch"),
)
async def give_evidence(
    id: Id, given: GivingEvidence, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    files = file_ids(given.attachments, "attachments")
    writing = Writing(NoteKind.EVIDENCE, {"description": given.description or ""}, files)
    return await command(
        context, caller, id, Action.GIVE_EVIDENCE, "give_evidence", once, with_note, writing
    )


@router.post(
    "/{id}/extend",
    summary="The doctor gives more time",
    response_model=ConsultationOrder,
    responses=COMMANDED | refusals("not_allowed", "no_more_extensions"),
)
async def extend(id: Id, caller: CurrentCaller, context: InContext, once: Once) -> Any:
    """By `terms.extension`, `terms.extensions` times."""
    return await command(context, caller, id, Action.PROLONG, "prolong", once, by_itself)


@router.post(
    "/{id}/call",
    summary="Ring the doctor and the patient, and connect them",
    response_model=ConsultationOrder,
    responses=COMMANDED | refusals("not_allowed", "no_more_calls"),
)
async def call(id: Id, caller: CurrentCaller, context: InContext, once: Once) -> Any:
    """Neither sees the other's number. A call that finds nobody is repeated by itself."""
    return await command(context, caller, id, Action.CALL, "call", once, by_itself)


@router.post(
    "/{id}/video-session",
    summary="All that a client needs to join the video call",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "not_allowed", "video_unavailable",
        "unavailable",
    ),
)  # fmt: skip
async def join_video(id: Id, caller: CurrentCaller, context: InContext) -> VideoSession:
    """The room is made just in time; asked again, the seat is the same. Where there is no video,
    `fallback` says how else the two can go on: see `/switch`."""
    order, capacity = await CONSULTATIONS.opened(context, caller, id, Action.JOIN)
    progress = PROGRESS.validate_python(order.progress)
    by_video = (progress.switched_to or order.type) == ConsultationType.VIDEO
    if order.status != ConsultationStatus.CONSULTING or not by_video:
        raise Problem("not_allowed", orderStatus=order.status)
    role = Actor.person(capacity, caller.account_id).role
    return await video_session(
        context, order_no=order.order_no, account_id=caller.account_id, role=role
    )


@router.post(
    "/{id}/switch",
    summary="A video call that does not work goes on by phone or text",
    response_model=ConsultationOrder,
    responses=COMMANDED,
)
async def switch(
    id: Id, wanted: Switch, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """Nothing is paid again, and its time begins anew."""

    def arg(by: ByPerson, note_id: int | None) -> object:
        return Switched(by, ConsultationType(wanted.to))

    return await command(context, caller, id, Action.SWITCH, "switch", once, arg)


@router.post(
    "/{id}/complete",
    summary="Conclude with diagnosis and advice",
    response_model=ConsultationOrder,
    responses=COMMANDED | refusals("not_allowed", "diagnosis_not_allowed"),
)
async def complete(
    id: Id, conclusion: Conclusion, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    order = await _seen(context, caller, id, Action.COMPLETE)
    lawful = context.config.compliance is Compliance.CN_2022
    if lawful and order.visit_kind == VisitKind.ADVICE:
        if conclusion.diagnosis is not None:
            raise Problem("diagnosis_not_allowed")
    elif conclusion.diagnosis is None:
        raise Problem.of_field("diagnosis", "Field required")
    words = {"diagnosis": conclusion.diagnosis or "", "advice": conclusion.advice}
    writing = Writing(NoteKind.CONCLUSION, words)
    return await command(context, caller, id, Action.COMPLETE, "complete", once, with_note, writing)


@router.post(
    "/{id}/unsuitable",
    summary="转线下: it must be seen at a physical hospital; what was paid goes back",
    response_model=ConsultationOrder,
    responses=COMMANDED,
)
async def unsuitable(
    id: Id, wanted: Unsuitable, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    writing = Writing(
        NoteKind.UNSUITABLE, {"reason": wanted.reason, "advice": wanted.advice or wanted.reason}
    )
    return await command(
        context, caller, id, Action.UNSUITABLE, "unsuitable", once, with_note, writing
    )


@router.post(
    "/{id}/cancel",
    summary="Cancel before a doctor accepts; what was paid goes back",
    response_model=ConsultationOrder,
    responses=COMMANDED,
)
async def cancel(
    id: Id, caller: CurrentCaller, context: InContext, once: Once, said: Saying | None = None
) -> Any:
    writing = reason_of(NoteKind.CANCEL, said)
    return await command(context, caller, id, Action.CANCEL, "cancel", once, by_itself, writing)


@router.post(
    "/{id}/rating",
    summary="Rate it, once",
    responses=refusals(
        "not_authenticated", "forbidden", "not_found", "not_allowed", "invalid",
        "idempotency_mismatch", "unavailable",
    ),
)  # fmt: skip
async def give_rating(
    id: Id, rating: Rating, caller: CurrentCaller, context: InContext, once: Once
) -> ConsultationOrder:
    """After it was completed, within `terms.rateWithin`."""
    async with context.engine.begin() as connection:
        order, capacity = await CONSULTATIONS.allowed(context, connection, caller, id, Action.RATE)
        if await once.answered(connection) is None:
            key = context.keyring.unwrap(order.patient_key)
            comment = key.seal({"comment": rating.comment}) if rating.comment else None
            within = TERMS.validate_python(order.terms).rate_within
            if not await rate(connection, id, rating.rating, comment, within):
                raise Problem("not_allowed", orderStatus=order.status)
            await once.remember(connection, order.order_no)
        order, _ = await CONSULTATIONS.allowed(context, connection, caller, id, Action.SEE)
    return consultation_order(context, caller, order, capacity)


async def _seen(context: Context, caller: Caller, id: int, action: Action) -> Consultation:
    async with context.engine.connect() as connection:
        order, _ = await CONSULTATIONS.allowed(context, connection, caller, id, action)
    return order
