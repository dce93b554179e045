"""What Twilio asks and tells while it joins two phones. Believed by signature.

It asks at every step, and goes on only with our answer: so whether somebody pressed a key is known
before they hear each other, whatever becomes of the status callbacks. Those come in any order, more
than once or never; the first that says the call is over ends it, and the workflow hears that once.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import structlog
from fastapi import Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.gateways.twilio_script import CallScript
from activities.gateways.twilio_voice import CallAddresses, CallNews, read_bridged, read_status
from activities.gateways.twilio_wire import MalformedCallback
from api.callbacks import signed_form
from api.context import Context, InContext
from api.documented import refusals
from api.problems import Problem
from api.routing import Router
from db.outbox import promise, receive
from db.phone_call import (
    PhoneCall,
    call_placed,
    doctor_joined,
    end_call,
    find_call,
    is_wanted,
    patient_leg_ended,
    patient_phone,
    talk_began,
)
from domain.phone_call import CallEnded, CallStatus
from runtime.gateways import CALLS

log = structlog.get_logger(__name__)
router = Router(prefix="/callbacks/twilio/calls", tags=["callbacks"])
REFUSALS = refusals("bad_signature", "malformed", "not_found", "invalid")

CallNo = Annotated[str, Path(alias="callNo", pattern="^T[0-9]{6}[0-9A-Z]{12}$")]


class TwimlResponse(Response):
    media_type = "application/xml"


# What Twilio asks


@router.post(
    "/{callNo}/doctor",
    summary="Twilio asks what the doctor hears",
    response_class=TwimlResponse,
    responses=REFUSALS,
)
async def ask_doctor(request: Request, call_no: CallNo, context: InContext) -> Response:
    form = await signed_form(request, context)
    async with context.engine.begin() as connection:
        call = await _going_on(connection, call_no, form.get("CallSid"))
    script = _script(context)
    return TwimlResponse(script.ask_doctor(call_no) if call else script.hang_up())


@router.post(
    "/{callNo}/doctor/joined",
    summary="Twilio asks what to do after the doctor's key: it rings the patient",
    response_class=TwimlResponse,
    responses=REFUSALS,
)
async def ring_patient(request: Request, call_no: CallNo, context: InContext) -> Response:
    form = await signed_form(request, context)
    async with context.engine.begin() as connection:
        call = await _going_on(connection, call_no, form.get("CallSid"))
        phone = call and await patient_phone(
            connection, context.keyring, call.hospital_id, call.patient_id
        )
        if phone:
            await doctor_joined(connection, call_no)
    script = _script(context)
    if not call:
        return TwimlResponse(script.hang_up())
    if not phone:  # shredded since the call was placed
        return TwimlResponse(script.not_reached())
    return TwimlResponse(script.ring_patient(call_no, phone, call.time_limit))


@router.post(
    "/{callNo}/patient",
    summary="Twilio asks what the patient hears",
    response_class=TwimlResponse,
    responses=REFUSALS,
)
async def ask_patient(request: Request, call_no: CallNo, context: InContext) -> Response:
    form = await signed_form(request, context)
    async with context.engine.begin() as connection:
        call = await _going_on(connection, call_no, form.get("ParentCallSid"))
    script = _script(context)
    return TwimlResponse(script.ask_patient(call_no) if call else script.hang_up())


@router.post(
    "/{callNo}/patient/joined",
    summary="Twilio asks what to do after the patient's key: the talk begins",
    response_class=TwimlResponse,
    responses=REFUSALS,
)
async def join_patient(request: Request, call_no: CallNo, context: InContext) -> Response:
    form = await signed_form(request, context)
    async with context.engine.begin() as connection:
        call = await _going_on(connection, call_no, form.get("ParentCallSid"))
        joined = call is not None and await talk_began(connection, call_no)
    script = _script(context)
    return TwimlResponse(script.connect() if joined else script.hang_up())


@router.post(
    "/{callNo}/bridged",
    summary="Twilio tells how ringing the patient or the talk ended",
    response_class=TwimlResponse,
    responses=REFUSALS,
)
async def bridged(request: Request, call_no: CallNo, context: InContext) -> Response:
    news = _read(read_bridged, await signed_form(request, context))
    async with context.engine.begin() as connection:
        if await _kept(connection, call_no, news):
            ended = await end_call(
                connection,
                call_no,
                patient=news.leg,
                bridged=news.bridged,
                told=news.seconds,
            )
            await announce(connection, call_no, ended)
        call = await find_call(connection, call_no)
    context.doorbell.ring()
    script = _script(context)
    talked = call is not None and call.outcome == "talked"
    return TwimlResponse(script.hang_up() if talked else script.not_reached())


# What Twilio tells


@router.post(
    "/{callNo}/doctor/status",
    summary="Twilio's status of the doctor's phone",
    status_code=204,
    responses=REFUSALS,
)
async def doctor_status(request: Request, call_no: CallNo, context: InContext) -> None:
    news = _read(read_status, await signed_form(request, context))
    async with context.engine.begin() as connection:
        if not await _kept(connection, call_no, news):
            return
        if news.leg is None:
            await call_placed(connection, call_no, news.provider_id or "")
            return
        ended = await end_call(connection, call_no, doctor=news.leg, at=news.at)
        await announce(connection, call_no, ended)
    context.doorbell.ring()


@router.post(
    "/{callNo}/patient/status",
    summary="Twilio's status of the patient's phone",
    status_code=204,
    responses=REFUSALS,
)
async def patient_status(request: Request, call_no: CallNo, context: InContext) -> None:
    form = await signed_form(request, context)
    news = _read(lambda form: read_status(form, of_patient=True), form)
    async with context.engine.begin() as connection:
        if await _kept(connection, call_no, news) and news.leg is not None:
            await patient_leg_ended(connection, call_no, news.leg)


async def announce(connection: AsyncConnection, call_no: str, ended: CallEnded | None) -> None:
    """Tell the order's workflow, in the transaction that ended the call. None: told before."""
    call = await find_call(connection, call_no) if ended else None
    if ended is None or call is None:
        return
    await promise(
        connection,
        stream=call.order_no,
        workflow="consultation",
        subject=call.order_no,
        signal="call_ended",
        args={
            "call_no": call_no,
            "attempt": ended.attempt,
            "outcome": ended.outcome,
            "duration": ended.duration,
            "at": ended.at.isoformat(),
        },
    )


async def _going_on(
    connection: AsyncConnection, call_no: str, provider_id: str | None
) -> PhoneCall | None:
    """The call, while it and its order last, and if it is this one of the provider's: a second ring
    of the same call, after an answer to us was lost, is not joined to anybody."""
    if provider_id is not None and not await call_placed(connection, call_no, provider_id):
        return None
    call = await find_call(connection, call_no, lock=True)
    if call is None or call.status is CallStatus.ENDED:
        return None
    return call if await is_wanted(connection, call.order_no) else None


async def _kept(connection: AsyncConnection, call_no: str, news: CallNews) -> bool:
    """Into the inbox, whatever it is. Whether it is of use: news, and of a call that we know by
    this id."""
    new = await receive(
        connection,
        source="twilio",
        event_id=news.event_id,
        subject=call_no,
        kind=news.word,
        content={"provider_id": news.provider_id, "seconds": news.seconds},
    )
    call = await find_call(connection, call_no)
    if call is None:
        log.error("news_of_unknown_call", call_no=call_no)
        return False
    same = not (call.provider_id and news.provider_id) or call.provider_id == news.provider_id
    return new and same


def _read(reader: Callable[[Mapping[str, str]], CallNews], form: Mapping[str, str]) -> CallNews:
    try:
        return reader(form)
    except MalformedCallback:
        raise Problem("malformed") from None


def _script(context: Context) -> CallScript:
    twilio = context.settings.twilio
    if twilio is None or twilio.voice_number is None:
        raise Problem("not_found")
    return CallScript(
        context.config.hospital.name,
        twilio.voice_number,
        CallAddresses(f"{context.settings.public_url}{CALLS}"),
    )
