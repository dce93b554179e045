"""What a phone call does to the world: rings the doctor and the patient, once an attempt."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.gateways.sending import Fault, PermanentMessageError, RetryableMessageError
from activities.gateways.voice import Bridge, VoiceGateway
from activities.message import LOOK_AGAIN_AFTER, Count
from db.account import read_account, sealing_key_for_phone
from db.base import local_today
from db.keyring import Keyring
from db.message import NewMessage, claim_message, message_sent
from db.phone_call import (
    NewCall,
    PhoneCall,
    call_placed,
    call_refused,
    claim_call,
    close_call,
    end_call,
    find_call,
    give_claim_back,
    is_wanted,
    patient_phone,
    provider_ids_of,
)
from domain.order import NumberPrefix, new_number
from domain.phone_call import CallEnded, CallStatus, Outcome, Refusal

VOICE = "voice"  # the channel, where messages are counted and in the development outbox


@dataclass(frozen=True)
class PlaceCall:
    """Ids only. Attempts of an order count from 1; the same attempt is the same call."""

    order_no: str
    attempt: int
    doctor_account_id: int
    patient_id: int
    time_limit: timedelta  # of the talk


@dataclass(frozen=True)
class PlacedCall:
    """The call of this attempt. With a refusal nobody was rung and no `call_ended` comes."""

    call_no: str
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Phones:
    doctor: str
    patient: str


@dataclass(frozen=True)
class PhoneCallActivities:
    engine: AsyncEngine
    keyring: Keyring
    hospital_id: int
    voice: VoiceGateway
    count: Count

    @activity.defn
    async def place_call(self, wanted: PlaceCall) -> PlacedCall:
        """Ring once per order and attempt. How the call ends comes as the signal `call_ended`.

        Give it a schedule_to_close_timeout: nobody wants to be rung an hour later. What remains,
        because providers know no key for a call: of two calls to one doctor whose answers were
        lost at the same time, or of one that the provider's list does not show half a minute
        later, a phone may ring twice. The second ring joins nobody: the call is the first.
        """
        async with self.engine.begin() as connection:
            claim = await claim_call(connection, await self._new(connection, wanted))
        call = claim.call
        if call.status is not CallStatus.PLACING:  # with the provider, or over
            return PlacedCall(call.call_no, call.refusal)
        if not claim.first and claim.age < LOOK_AGAIN_AFTER:
            # A process that died a moment ago may have rung: the provider's list would not show it.
            raise _wait(LOOK_AGAIN_AFTER - claim.age)
        phones = await self._phones(wanted)
        if isinstance(phones, Refusal):
            return await self._refuse(call, phones)
        try:
            provider_id = await self._ring(call, phones, first=claim.first)
        except PermanentMessageError as error:
            self.count(VOICE, "refused")
            at_fault = error.fault is Fault.RECIPIENT
            refusal = Refusal.UNREACHABLE if at_fault else Refusal.NOT_POSSIBLE
            return await self._refuse(call, refusal, error.code)
        except RetryableMessageError as error:
            self.count(VOICE, "retried")
            if not error.outcome_unknown and claim.first:
                async with self.engine.begin() as connection:
                    await give_claim_back(connection, call.call_no)
            raise _later(error) from None
        async with self.engine.begin() as connection:
            await call_placed(connection, call.call_no, provider_id)
            if self.voice.name == "console":
                await self._tell_developer(connection, call, phones)
        self.count(VOICE, "sent")
        return PlacedCall(call.call_no)

    @activity.defn
    async def settle_call(self, call_no: str) -> CallEnded | None:
        """How the call ended, asked of the provider if nobody told us. None while it lasts.

        For a workflow that waited longer than any call lasts. What it finds it answers: there is
        no signal then, and none later.
        """
        async with self.engine.connect() as connection:
            call = await find_call(connection, call_no)
        if call is None:
            raise ApplicationError("no_call", type="NoCall", non_retryable=True)
        if call.ended:
            return call.ended
        try:
            return await self._settle(call)
        except PermanentMessageError as error:  # the provider has forgotten it
            return await self._failed(call_no, error.code)
        except RetryableMessageError as error:
            raise _later(error) from None

    async def _settle(self, call: PhoneCall) -> CallEnded | None:
        provider_id = call.provider_id or await self._found(call)
        if provider_id is None:  # it never rang
            return await self._failed(call.call_no, "never_placed")
        legs = await self.voice.legs(provider_id)
        if legs is None:
            return None
        async with self.engine.begin() as connection:
            ended = await end_call(
                connection,
                call.call_no,
                doctor=legs.doctor,
                patient=legs.patient,
                at=legs.ended_at,
            )
            return ended or await self._ended(connection, call.call_no)

    async def _found(self, call: PhoneCall) -> str | None:
        async with self.engine.connect() as connection:
            doctor = await self._doctor_phone(connection, call.doctor_account_id)
        return doctor and await self._look_for(call, doctor)

    async def _failed(self, call_no: str, error_code: str) -> CallEnded | None:
        async with self.engine.begin() as connection:
            ended = await close_call(connection, call_no, Outcome.FAILED, error_code=error_code)
            return ended or await self._ended(connection, call_no)

    async def _ended(self, connection: AsyncConnection, call_no: str) -> CallEnded | None:
        """Somebody else was faster."""
        call = await find_call(connection, call_no)
        return call.ended if call else None

    async def _new(self, connection: AsyncConnection, wanted: PlaceCall) -> NewCall:
        return NewCall(
            hospital_id=self.hospital_id,
            call_no=new_number(NumberPrefix.PHONE_CALL, await local_today(connection)),
            order_no=wanted.order_no,
            attempt=wanted.attempt,
            doctor_account_id=wanted.doctor_account_id,
            patient_id=wanted.patient_id,
            time_limit=wanted.time_limit,
            provider=self.voice.name,
        )

    async def _phones(self, wanted: PlaceCall) -> Phones | Refusal:
        """Looked up here, so that they are in no history."""
        async with self.engine.connect() as connection:
            if not await is_wanted(connection, wanted.order_no):
                return Refusal.ORDER_CLOSED
            doctor = await self._doctor_phone(connection, wanted.doctor_account_id)
            patient = await patient_phone(
                connection, self.keyring, self.hospital_id, wanted.patient_id
            )
        if doctor is None:
            return Refusal.NO_DOCTOR_PHONE
        if patient is None:
            return Refusal.NO_PATIENT_PHONE
        return Refusal.SAME_PHONE if doctor == patient else Phones(doctor, patient)

    async def _doctor_phone(self, connection: AsyncConnection, account_id: int) -> str | None:
        account = await read_account(connection, self.keyring, self.hospital_id, account_id)
        return account.phone if account else None

    async def _ring(self, call: PhoneCall, phones: Phones, *, first: bool) -> str:
        if not first:  # an earlier attempt may have got through
            found = await self._look_for(call, phones.doctor)
            if found:
                return found
        return await self.voice.bridge(
            Bridge(call.call_no, phones.doctor, phones.patient, call.time_limit)
        )

    async def _look_for(self, call: PhoneCall, doctor_phone: str) -> str | None:
        async with self.engine.connect() as connection:
            known = await provider_ids_of(connection, call.doctor_account_id)
        return await self.voice.find(doctor_phone=doctor_phone, since=call.created_at, known=known)

    async def _refuse(
        self, call: PhoneCall, refusal: Refusal, error_code: str | None = None
    ) -> PlacedCall:
        async with self.engine.begin() as connection:
            await call_refused(connection, call.call_no, refusal, error_code)
        return PlacedCall(call.call_no, refusal)

    async def _tell_developer(
        self, connection: AsyncConnection, call: PhoneCall, phones: Phones
    ) -> None:
        """What would ring, in the development outbox."""
        for side, phone in (("doctor", phones.doctor), ("patient", phones.patient)):
            index = self.keyring.blind("phone", phone)
            key = await sealing_key_for_phone(connection, self.keyring, call.hospital_id, index)
            text = f"Call {call.call_no} rings. POST /dev/calls/{call.call_no}/end ends it."
            note = NewMessage(
                hospital_id=call.hospital_id,
                key=f"{call.call_no}:{side}:{VOICE}",
                account_id=None,
                channel=VOICE,
                template="phone_call",
                language="en",
                params={"order_no": call.order_no},
                data_key_id=key.id,
                sealed=key.key.seal({"to": phone, "subject": None, "text": text}),
                to_index=index,
            )
            claim = await claim_message(connection, note)
            await message_sent(connection, claim.id, note.key, receipt_expected=False)


def _later(error: RetryableMessageError) -> ApplicationError:
    pause = error.retry_after or (LOOK_AGAIN_AFTER if error.outcome_unknown else None)
    return ApplicationError(error.code, type="TryLater", next_retry_delay=pause)


def _wait(pause: timedelta) -> ApplicationError:
    return ApplicationError("may_be_ringing", type="TryLater", next_retry_delay=pause)
