"""Development only: demo logins, what was sent, and a hand on the sandbox gateway.

These routes are not made at all unless HOSPITAL_ENV is dev and the API is bound to loopback.
"""

import datetime as dt
from typing import Annotated

from fastapi import Path, Query
from pydantic import Field

from activities.gateways.payment import GatewayRefused, GatewayUnavailable
from activities.gateways.sandbox_payment import SandboxControls, sandbox_http
from api.context import Context, InContext, Transaction
from api.documented import refusals
from api.fields import shown_phone, to_e164
from api.phone_calls import announce
from api.problems import Problem
from api.routing import Router
from api.schemas.base import Duration, Money, Schema
from api.schemas.phone_call import PhoneCall
from db.message import sent_messages
from db.phone_call import close_call, doctor_joined, find_call, talk_began
from domain.phone_call import Outcome
from runtime.demo import demo_accounts, load_demo

LONGEST_DELAY = dt.timedelta(days=1)

router = Router(prefix="/dev", tags=["development"])


class DemoLogin(Schema):
    role: str
    name: str
    phone: str
    password: str
    user_id: int
    doctor_id: int | None


@router.get("/accounts", summary="Demo logins")
async def get_accounts(context: InContext, connection: Transaction) -> list[DemoLogin]:
    demo = load_demo(context.settings.config_path)
    found = await demo_accounts(connection, context.keyring, context.hospital_id, demo)
    return [DemoLogin.model_validate(account) for account in found]


class SentMessage(Schema):
    channel: str
    to: str
    template: str
    text: str
    at: dt.datetime


@router.get("/outbox", summary="Messages sent, newest first", responses=refusals("invalid"))
async def get_outbox(
    context: InContext,
    connection: Transaction,
    to: Annotated[str | None, Query(description="a phone number or an e-mail address")] = None,
) -> list[SentMessage]:
    index = None if to is None else _index_of(context, to)
    items = await sent_messages(connection, context.hospital_id, index)
    opened = [(item, context.keyring.unwrap(item.wrapped).open(item.sealed)) for item in items]
    return [
        SentMessage(
            channel=item.channel,
            to=shown_phone(fields["to"]) if fields["to"].startswith("+") else fields["to"],
            template=item.template,
            text=fields["text"],
            at=item.created_at,
        )
        for item, fields in opened
    ]


def _index_of(context: Context, to: str) -> bytes:
    if "@" in to:
        return context.keyring.blind("email", to)
    try:
        return context.keyring.blind("phone", to_e164(to))
    except ValueError:
        raise Problem.of_field("to", "expected a phone number or an e-mail address") from None


class EndOfCall(Schema):
    outcome: Outcome
    duration: Annotated[
        Duration, Field(ge=dt.timedelta(), le=LONGEST_DELAY, description="of the talk, ISO 8601")
    ] = dt.timedelta()


@router.post(
    "/calls/{callNo}/end",
    summary="A call of the console provider ends like this",
    responses=refusals("not_found", "invalid"),
)
async def end_of_call(
    context: InContext,
    call_no: Annotated[str, Path(alias="callNo", max_length=64)],
    end: EndOfCall,
) -> PhoneCall:
    """Plays the provider's callback. A call that is over already is left as it is."""
    async with context.engine.begin() as connection:
        call = await find_call(connection, call_no)
        if call is None or call.provider != "console":
            raise Problem("not_found")
        if end.outcome is Outcome.TALKED:
            await doctor_joined(connection, call_no)
            await talk_began(connection, call_no)
        seconds = int(end.duration.total_seconds()) if end.outcome is Outcome.TALKED else 0
        ended = await close_call(connection, call_no, end.outcome, duration=seconds)
        await announce(connection, call_no, ended)
        call = await find_call(connection, call_no)
    context.doorbell.ring()
    if call is None:
        raise Problem("not_found")
    return PhoneCall.of(call)


class PaidAtGateway(Schema):
    payment_no: str
    state: str
    amount: Money | None
    paid_at: dt.datetime | None


@router.post(
    "/sandbox-gateway/{paymentNo}/pay",
    summary="The payer pays at the sandbox gateway",
    responses=refusals("not_found", "unavailable"),
)
async def pay_at_sandbox(
    context: InContext,
    payment_no: Annotated[str, Path(alias="paymentNo", max_length=64)],
    times: Annotated[int, Query(ge=1, le=20, description="how often the callback is sent")] = 1,
    delay: Annotated[
        dt.timedelta,
        Query(ge=dt.timedelta(), le=LONGEST_DELAY, description="of the callback, ISO 8601"),
    ] = dt.timedelta(),
    fail: Annotated[bool, Query(description="the payer's bank says no")] = False,
    callback: Annotated[bool, Query(description="false: the callback is lost")] = True,
) -> PaidAtGateway:
    """It takes the money and sends its signed callback, also for a payment that was closed."""
    url, secret = context.settings.sandbox_gateway_url, context.settings.sandbox_gateway_secret
    if url is None or secret is None:
        raise Problem("not_found")
    async with sandbox_http() as http:
        try:
            paid = await SandboxControls(url, secret, http).pay(
                payment_no, times=times, delay=delay, fail=fail, callback=callback
            )
        except GatewayRefused:
            raise Problem("not_found") from None
        except GatewayUnavailable:
            raise Problem("unavailable") from None
    return PaidAtGateway.model_validate(paid)
