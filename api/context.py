"""What the routes are given: made once in `api/serve.py`, passed on, never global."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.file import Files
from activities.gateways.payment import PaymentGateway
from activities.gateways.sms import SmsGateway
from activities.gateways.video import VideoGateway
from api.doorbell import Doorbell
from api.passes import Passes
from api.passwords import Passwords
from api.pictures import Pictures, the_pictures
from api.problems import Problem
from api.revocations import Revocations
from api.streams import Streams
from api.tokens import AccessTokens
from db.appointment import BookingRules
from db.base import DriverPool
from db.keyring import Keyring
from domain.access import Action, Caller, may
from domain.consent import ConsentTexts
from domain.hospital import HospitalConfig
from domain.message import MessageTexts
from domain.red_flags import RedFlags
from runtime.consents import load_consents
from runtime.lifecycles import TemporalLifecycles
from runtime.message_texts import load_message_texts
from runtime.metrics import Metrics
from runtime.red_flags import load_red_flags
from runtime.settings import Settings


@dataclass(frozen=True)
class Context:
    settings: Settings
    config: HospitalConfig
    engine: AsyncEngine
    direct: DriverPool  # for one statement that is its own transaction, where its cost counts
    keyring: Keyring
    lifecycles: TemporalLifecycles
    payments: dict[str, PaymentGateway]  # by channel
    sms: SmsGateway
    tokens: AccessTokens
    revocations: Revocations
    doorbell: Doorbell
    metrics: Metrics
    files: Files
    streams: Streams
    video: VideoGateway | None = None  # None: there is no video here
    texts: MessageTexts = field(default_factory=load_message_texts)
    red_flags: RedFlags = field(default_factory=load_red_flags)
    consents: ConsentTexts = field(default_factory=load_consents)
    passwords: Passwords = field(default_factory=Passwords)
    pictures: Pictures = field(default_factory=the_pictures)

    @property
    def hospital_id(self) -> int:
        return self.config.hospital.id

    @cached_property
    def passes(self) -> Passes:
        return Passes(self.keyring)

    @cached_property
    def booking_rules(self) -> BookingRules:
        return BookingRules.of(self.config)


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def caller_by(context: Context, authorization: str | None) -> Caller:
    """Who is asking. 401 without a valid access token or after its login was ended."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem("not_authenticated")
    caller = context.tokens.read(token)
    if context.revocations.ended(caller.session_id):
        raise Problem("session_revoked")
    return caller


# What routes depend on, and none of these on another: FastAPI solves every dependency anew wherever
# it stands, 15 µs of CPU each. Async, because a plain function goes through the thread pool.


async def get_context(request: Request) -> Context:
    return context_of(request)


async def get_caller(
    request: Request, authorization: Annotated[str | None, Header()] = None
) -> Caller:
    return caller_by(context_of(request), authorization)


async def get_transaction(request: Request) -> AsyncIterator[AsyncConnection]:
    """One transaction for the whole route: commits when it returns, rolls back when it raises."""
    async with context_of(request).engine.begin() as connection:
        yield connection


InContext = Annotated[Context, Depends(get_context)]
CurrentCaller = Annotated[Caller, Depends(get_caller)]
# `scope="function"`: committed before the answer goes out, so that the next request sees it.
Transaction = Annotated[AsyncConnection, Depends(get_transaction, scope="function")]


def doctor_of(caller: Caller, action: Action) -> int:
    """The doctor whom the caller logs in as. 403 when their role may not do this, or they are no
    doctor of the catalogue."""
    require(caller, action)
    if caller.doctor_id is None:
        raise Problem("forbidden")
    return caller.doctor_id


def require(caller: Caller, action: Action) -> None:
    """403 unless the caller's role may do this."""
    if not may(caller, action):
        raise Problem("forbidden")
