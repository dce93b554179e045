"""A doctor and a patient with a phone each, Twilio between them, and a provider that remembers."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from xml.etree import ElementTree

import httpx
from twilio.request_validator import RequestValidator

from activities.gateways.sending import MessageError, RetryableMessageError
from activities.gateways.voice import Bridge, CallLegs, VoiceGateway
from activities.phone_call import PhoneCallActivities, PlaceCall
from tests.support.booking import Clinic
from tests.support.twilio_server import AUTH_TOKEN

PUBLIC = "https://hospital.example.org"
CALLS = f"{PUBLIC}/api/hospital/callbacks/twilio/calls"
HOSPITALS_NUMBER = "+861066668888"
ORDER = "C2611220123456789AB"
TALK = timedelta(minutes=30)


@dataclass
class RememberedVoice:
    """A VoiceGateway that rings nobody and remembers everything."""

    name: str = "test"
    placed: list[Bridge] = field(default_factory=list)
    fails: list[MessageError | None] = field(default_factory=list)
    loses_answers: bool = False  # rings, and nobody hears of it
    dies: BaseException | None = None  # once it rings
    over: CallLegs | None = None
    asked: list[Collection[str]] = field(default_factory=list)

    async def bridge(self, call: Bridge) -> str:
        if self.fails and (error := self.fails.pop(0)):
            raise error
        self.placed.append(call)
        if self.dies:
            raise self.dies
        if self.loses_answers:
            raise RetryableMessageError("timeout", outcome_unknown=True)
        return f"CA{len(self.placed)}"

    async def find(
        self, *, doctor_phone: str, since: datetime, known: Collection[str]
    ) -> str | None:
        self.asked.append(known)
        ids = [
            f"CA{n}" for n, call in enumerate(self.placed, 1) if call.doctor_phone == doctor_phone
        ]
        return next((one for one in ids if one not in known), None)

    async def legs(self, provider_id: str) -> CallLegs | None:
        if self.fails and (error := self.fails.pop(0)):
            raise error
        return self.over


@dataclass
class Pair:
    """A doctor's account and a patient, and the activities of calls between them."""

    clinic: Clinic
    activities: PhoneCallActivities
    doctor: int  # account
    patient: int
    counted: list[tuple[str, str]]

    @classmethod
    async def of(cls, clinic: Clinic, voice: VoiceGateway) -> "Pair":
        doctor = await clinic.account()
        _, patient = await clinic.someone()
        counted: list[tuple[str, str]] = []

        def count(channel: str, outcome: str) -> None:
            counted.append((channel, outcome))

        activities = PhoneCallActivities(clinic.engine, clinic.keyring, 1, voice, count)
        return cls(clinic, activities, doctor, patient, counted)

    def wanted(self, attempt: int = 1, order_no: str = ORDER) -> PlaceCall:
        return PlaceCall(order_no, attempt, self.doctor, self.patient, TALK)


DOCTORS_PHONE, PATIENTS_PHONE = "+8613800000001", "+8613900000000"


@dataclass
class TwilioCall:
    """Twilio's side of one call: it asks our routes as the real one does, signed."""

    client: httpx.AsyncClient
    call_no: str
    sid: str
    child: str = "CA-child"
    told: int = 0

    async def ask(self, step: str, **fields: str) -> ElementTree.Element:
        """TwiML for a step."""
        answer = await self.post(step, **fields)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/xml")
        return ElementTree.fromstring(answer.text)  # noqa: S314 - it is ours

    async def doctor_picks_up(self) -> ElementTree.Element:
        return await self.ask("doctor", CallSid=self.sid, CallStatus="in-progress")

    async def doctor_presses(self) -> ElementTree.Element:
        return await self.ask("doctor/joined", CallSid=self.sid, Digits="1")

    async def patient_picks_up(self) -> ElementTree.Element:
        return await self.ask("patient", CallSid=self.child, ParentCallSid=self.sid)

    async def patient_presses(self) -> ElementTree.Element:
        return await self.ask(
            "patient/joined", CallSid=self.child, ParentCallSid=self.sid, Digits="5"
        )

    async def bridged(self, status: str, **fields: str) -> ElementTree.Element:
        return await self.ask("bridged", CallSid=self.sid, DialCallStatus=status, **fields)

    async def doctor_is(self, status: str, **fields: str) -> None:
        await self._status("doctor/status", CallSid=self.sid, CallStatus=status, **fields)

    async def patient_is(self, status: str, **fields: str) -> None:
        whose = {"CallSid": self.child, "ParentCallSid": self.sid}
        await self._status("patient/status", CallStatus=status, **whose, **fields)

    async def _status(self, step: str, **fields: str) -> None:
        self.told += 1
        answer = await self.post(step, **{"SequenceNumber": str(self.told)} | fields)
        assert answer.status_code == 204, answer.text

    async def post(self, step: str, *, token: str = AUTH_TOKEN, **fields: str) -> httpx.Response:
        # As Twilio does, whoever it is about: both numbers of the leg.
        form = {"From": HOSPITALS_NUMBER, "To": DOCTORS_PHONE} | fields
        url = f"{CALLS}/{self.call_no}/{step}"
        signature = str(RequestValidator(token).compute_signature(url, form))
        return await self.client.post(
            f"/callbacks/twilio/calls/{self.call_no}/{step}",
            data=form,
            headers={"X-Twilio-Signature": signature},
        )
