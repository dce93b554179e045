"""Bridged, masked calls through Twilio Voice.

Twilio rings the doctor and asks us at every step what to do, in TwiML: so the patient's number is
in no request of ours and in no address, only in one answer, over TLS, to what Twilio signed. Both
phones show the hospital's number.

Twilio's own answering machine detection is not used: it guesses from how somebody says hello. A
person presses a key, a voicemail does not.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from activities.gateways.twilio_wire import (
    CLOCK_SKEW,
    Codes,
    MalformedCallback,
    Transport,
    client_for,
    told,
    unknown,
)
from activities.gateways.voice import RING_FOR, Bridge, CallLegs
from domain.phone_call import Leg

# The number can never be called by us, now or later.
CODES: Final = Codes(
    recipient_faults=frozenset({
        13223,  # invalid phone number
        13224,  # not a valid phone number
        13225,  # forbidden by Twilio
        21211,  # invalid number
        21214,  # number cannot be reached
        21217,  # number does not appear to be valid
    }),
    retryable=frozenset({
        20429,  # too many requests
        14107,  # too many messages
        10004,  # too many calls at once
    }),
)  # fmt: skip

LOOKED_THROUGH: Final = 50  # a number's newest calls
# Both phones, the words before each key, and air: a leg that never ends is ended by Twilio.
AROUND_THE_TALK: Final = 3 * RING_FOR

# Twilio's words for the end of a leg, as CallStatus and as DialCallStatus.
LEGS: Final = {
    "completed": Leg.COMPLETED,
    "answered": Leg.COMPLETED,
    "busy": Leg.BUSY,
    "no-answer": Leg.NO_ANSWER,
    "canceled": Leg.CANCELED,
    "failed": Leg.FAILED,
}


@dataclass(frozen=True)
class CallAddresses:
    """Where Twilio asks and tells about a call; `base` is the public URL of our routes."""

    base: str

    def doctor(self, call_no: str) -> str:
        return f"{self.base}/{call_no}/doctor"

    def patient(self, call_no: str) -> str:
        return f"{self.base}/{call_no}/patient"

    def doctor_joined(self, call_no: str) -> str:
        return f"{self.doctor(call_no)}/joined"

    def patient_joined(self, call_no: str) -> str:
        return f"{self.patient(call_no)}/joined"

    def doctor_status(self, call_no: str) -> str:
        return f"{self.doctor(call_no)}/status"

    def patient_status(self, call_no: str) -> str:
        return f"{self.patient(call_no)}/status"

    def bridged(self, call_no: str) -> str:
        return f"{self.base}/{call_no}/bridged"


class TwilioVoice:
    """A VoiceGateway. Open it in the event loop that uses it, and `aclose()` it at the end.

    `number` is the hospital's, E.164: who calls, on both phones. `timeout` is in seconds, for each
    of connecting, writing and reading.
    """

    name = "twilio"

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        number: str,
        callbacks: str,
        timeout: float = 10.0,
        base_url: str | None = None,
    ) -> None:
        self._number = number
        self._addresses = CallAddresses(callbacks)
        self._http = Transport(timeout)
        self._client = client_for(account_sid, auth_token, self._http, base_url)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def bridge(self, call: Bridge) -> str:
        placed = await told(
            self._client.calls.create_async(
                to=call.doctor_phone,
                from_=self._number,
                url=self._addresses.doctor(call.call_no),
                status_callback=self._addresses.doctor_status(call.call_no),
                status_callback_event=["ringing", "answered", "completed"],
                timeout=_seconds(RING_FOR),
                time_limit=_seconds(call.time_limit + AROUND_THE_TALK),
            ),
            CODES,
        )
        if not placed.sid:
            raise unknown("twilio:no_sid")
        sid: str = placed.sid
        return sid

    async def find(
        self, *, doctor_phone: str, since: datetime, known: Collection[str]
    ) -> str | None:
        # Not filtered by StartTime: a call that is still queued has none.
        calls = await told(
            self._client.calls.list_async(
                to=doctor_phone, from_=self._number, limit=LOOKED_THROUGH
            ),
            CODES,
        )
        for call in calls:
            ours = call.direction == "outbound-api" and call.sid not in known
            if ours and call.date_created and call.date_created >= since - CLOCK_SKEW:
                sid: str = call.sid
                return sid
        return None

    async def legs(self, provider_id: str) -> CallLegs | None:
        call = await told(self._client.calls(provider_id).fetch_async(), CODES)
        doctor = LEGS.get(str(call.status))
        if doctor is None:
            return None
        children = await told(
            self._client.calls.list_async(parent_call_sid=provider_id, limit=LOOKED_THROUGH), CODES
        )
        patient = next((LEGS.get(str(child.status)) for child in children), None)
        return CallLegs(doctor, patient, call.end_time)


@dataclass(frozen=True)
class CallNews:
    """What Twilio tells about a leg, or about both when it has tried to join them."""

    event_id: str
    provider_id: str | None  # of the doctor's leg, which is the call
    word: str  # as Twilio has it
    leg: Leg | None  # None: it lasts
    at: datetime | None
    seconds: int | None
    bridged: bool


def read_status(form: Mapping[str, str], *, of_patient: bool = False) -> CallNews:
    """A status callback that was verified. Raises MalformedCallback."""
    sid, word = form.get("CallSid"), form.get("CallStatus")
    if not sid or not word:
        raise MalformedCallback
    return CallNews(
        event_id=f"{sid}:{word}:{form.get('SequenceNumber', '')}",
        provider_id=form.get("ParentCallSid") if of_patient else sid,
        word=word,
        leg=LEGS.get(word),
        at=_instant(form.get("Timestamp")),
        seconds=_whole(form.get("CallDuration")),
        bridged=True,
    )


def read_bridged(form: Mapping[str, str]) -> CallNews:
    """What became of ringing the patient, verified. Raises MalformedCallback."""
    sid, word = form.get("CallSid"), form.get("DialCallStatus")
    if not sid or not word:
        raise MalformedCallback
    return CallNews(
        event_id=f"{sid}:bridged",
        provider_id=sid,
        word=word,
        leg=LEGS.get(word, Leg.FAILED),  # it is over, whatever new word says so
        at=None,
        seconds=_whole(form.get("DialCallDuration")),
        bridged=form.get("DialBridged") != "false",
    )


def _instant(text: str | None) -> datetime | None:
    try:
        at = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
