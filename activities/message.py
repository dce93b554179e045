"""What the message lifecycle does: who is told, in which words, by which way."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.gateways.email import EmailGateway
from activities.gateways.sending import (
    PermanentMessageError,
    RetryableMessageError,
    Sent,
)
from activities.gateways.sms import SmsGateway
from db.appointment import suspended_until
from db.keyring import Keyring
from db.message import (
    LISTED_AFTER,
    Claim,
    NewMessage,
    Recipient,
    claim_message,
    find_recipient,
    find_staff,
    message_failed,
    message_not_taken,
    message_sent,
)
from db.payment import find_refund
from domain.hospital import HospitalConfig
from domain.message import (
    CONSULTATION,
    FACTS,
    OF_REFUND,
    TO_STAFF,
    Channel,
    Language,
    MessageTexts,
    Template,
    Value,
    channels_of,
)
from domain.waitlist import LineEnd

# After an unknown outcome the provider's own list is asked, which may lag behind.
LOOK_AGAIN_AFTER = LISTED_AFTER

ADDRESS_KINDS = {Channel.SMS: "phone", Channel.EMAIL: "email", Channel.IN_APP: "account"}


Count = Callable[[str, str], None]
"""Counts a message: by channel, by outcome."""


@dataclass(frozen=True)
class Outgoing:
    """A message to be sent: ids and codes only. `fact` names the business fact, once for all."""

    fact: str
    subject: str  # order, refund or work item number; a place in line: db.message.PLACE
    template: Template
    due: datetime | None = None
    doctor_id: int | None = None  # to this doctor; None: to the patient
    account_id: int | None = None  # to this member of staff

    @classmethod
    def of_fact(cls, fact: str) -> "Outgoing":
        """What a row promised: `<subject>:<template>` and what makes the fact its own; to a member
        of staff that is `<n>-<account>`. Raises ValueError when it is not a fact."""
        subject, name, *_ = fact.split(":")
        template = Template(name)
        account_id = int(fact.rpartition("-")[2]) if template in TO_STAFF else None
        return cls(fact, subject, template, account_id=account_id)


@dataclass(frozen=True)
class Sending:
    message: Outgoing
    channel: Channel


@dataclass(frozen=True)
class Plan:
    """The ways to try after in-app, in order."""

    channels: tuple[Channel, ...]
    receipt_timeout: timedelta


@dataclass(frozen=True)
class MessageActivities:
    engine: AsyncEngine
    keyring: Keyring
    config: HospitalConfig
    texts: MessageTexts
    sms: SmsGateway
    email: EmailGateway
    public_url: str
    count: Count

    @activity.defn
    async def plan_message(self, message: Outgoing) -> Plan:
        """What the patient chose, or else the hospital's order; without an address, not that."""
        recipient = await self._recipient(message)
        policy = self.config.policies.messages
        wanted = recipient.channels if recipient.channels is not None else policy.order
        channels = [Channel(name) for name in wanted if name != Channel.IN_APP]
        ways = channels_of(message.template)
        possible = [c for c in channels if c in ways and self._address(recipient, c)]
        return Plan(tuple(possible), policy.receipt_timeout)

    @activity.defn
    async def send_message(self, sending: Sending) -> bool:
        """Send once per fact and channel. Whether the provider will tell how it went.

        Non-retryable when this way is closed for good: the next one is tried.
        """
        recipient = await self._recipient(sending.message)
        new = await self._compose(sending, recipient)
        async with self.engine.begin() as connection:
            claim = await claim_message(connection, new)
        if claim.status in ("sent", "delivered"):
            return bool(claim.receipt_expected)
        if claim.status == "failed":
            raise _closed("failed_before")
        if sending.channel is Channel.SMS and claim.wait:
            # Whoever tried a moment ago may have got through without knowing.
            raise ApplicationError("not_listed_yet", type="TryLater", next_retry_delay=claim.wait)
        try:
            sent = await self._hand_over(sending.channel, new.key, recipient, claim)
        except PermanentMessageError as error:
            self.count(sending.channel, "refused")
            async with self.engine.begin() as connection:
                await message_failed(connection, claim.id, error.code)
            raise _closed(error.code) from None
        except RetryableMessageError as error:
            self.count(sending.channel, "retried")
            if not error.outcome_unknown:
                async with self.engine.begin() as connection:
                    await message_not_taken(connection, claim.id)
            raise _later(error) from None
        async with self.engine.begin() as connection:
            await message_sent(
                connection, claim.id, sent.provider_id, receipt_expected=sent.receipt_expected
            )
        self.count(sending.channel, "sent")
        return sent.receipt_expected

    async def _hand_over(
        self, channel: Channel, key: str, recipient: Recipient, claim: Claim
    ) -> Sent:
        # As it was first said: number and text may have changed since, and a repeat must be found.
        said = self.keyring.unwrap(recipient.person_key).open(claim.sealed)
        to, text = said["to"], said["text"]
        match channel:
            case Channel.IN_APP:
                return Sent("", receipt_expected=False)  # the row is the message
            case Channel.SMS:
                if not claim.first:  # an earlier attempt may have got through
                    found = await self.sms.find(to=to, text=text, since=claim.claimed_at)
                    if found:
                        return found
                return await self.sms.send(to=to, text=text, key=key)
            case Channel.EMAIL:
                return await self.email.send(
                    to=to, subject=said["subject"] or "", text=text, key=key
                )

    async def _compose(self, sending: Sending, recipient: Recipient) -> NewMessage:
        message, channel = sending.message, sending.channel
        to = self._address(recipient, channel)
        if to is None:
            raise _closed("no_address")
        language = Language(recipient.language or self.config.policies.messages.default_language)
        params = await self._params(message, recipient)
        rendered = self.texts.render(message.template, channel, language, params, self._zone)
        key = self.keyring.unwrap(recipient.person_key)
        return NewMessage(
            hospital_id=recipient.hospital_id,
            key=f"{message.fact}:{channel}",
            account_id=recipient.account_id,
            channel=channel,
            template=message.template,
            language=language,
            params={"order_no": recipient.order_no} if recipient.order_no else {},
            data_key_id=recipient.person_key_id,
            sealed=key.seal({"to": to, "subject": rendered.subject, "text": rendered.text}),
            to_index=self.keyring.blind(ADDRESS_KINDS[channel], to),
        )

    def _address(self, recipient: Recipient, channel: Channel) -> str | None:
        """Where this channel reaches the patient: looked up here, so that it is in no history.
        None, too, where whom it is about was shredded: then there is nobody to tell."""
        if recipient.person_key is None or recipient.account_key is None:
            return None
        if channel is Channel.IN_APP:
            return f"account/{recipient.account_id}"
        if channel is Channel.SMS:
            phone: str = self.keyring.unwrap(recipient.person_key).open(recipient.person_sealed)[
                "phone"
            ]
            return phone
        account = self.keyring.unwrap(recipient.account_key).open(recipient.account_sealed)
        return account.get("email")

    async def _params(self, message: Outgoing, recipient: Recipient) -> dict[str, Value]:
        common: dict[str, Value] = {
            "hospital": self.config.hospital.name,
            "order_no": recipient.order_no,
            "link": f"{self.public_url}/{_path(message, recipient)}",
        }
        if message.template in TO_STAFF:
            named = "work_item" in FACTS[message.template]
            return {**common, "work_item": message.subject} if named else common
        visit: dict[str, Value] = {
            **common,
            "starts_at": recipient.starts_at,
            "doctor": recipient.doctor,
            "department": recipient.department,
        }
        due = message.due or recipient.due
        if message.template in CONSULTATION:
            del visit["starts_at"]
            return {**visit, "due": due} if "due" in FACTS[message.template] else visit
        if message.template is Template.WAITLIST_ENDED:
            return {**visit, "reason": LineEnd(recipient.line_end or LineEnd.BEGUN)}
        return await self._of_appointment(message, recipient, common, visit)

    async def _of_appointment(
        self,
        message: Outgoing,
        recipient: Recipient,
        common: dict[str, Value],
        visit: dict[str, Value],
    ) -> dict[str, Value]:
        due = message.due or recipient.due
        match message.template:
            case Template.PAYMENT_REFUNDED | Template.PAYMENT_SETTLED_ELSEWHERE:
                async with self.engine.connect() as connection:
                    refund = await find_refund(connection, message.subject)
                if refund is None:
                    raise _closed("no_refund")
                return {**common, "amount": refund.amount}
            case Template.APPOINTMENT_SUSPENDED:
                return {**common, "until": self._day(message.due or recipient.starts_at)}
            case Template.SUSPENSION_LIFTED | Template.SUSPENSION_KEPT | Template.SUSPENSION_OVER:
                return {**common, **await self._of_suspension(message)}
            case (
                Template.APPOINTMENT_CONFIRMED
                | Template.APPOINTMENT_REMINDER
                | Template.APPOINTMENT_CALLED
                | Template.APPOINTMENT_RESCHEDULED
            ):
                place = place_code(recipient.location)
                return {**visit, "place": place, "number": recipient.queue_number}
            case (
                Template.APPOINTMENT_EXTENDED
                | Template.APPOINTMENT_OFFERED
                | Template.APPOINTMENT_CALLED_OFF
            ):
                return {**visit, "due": due}
            case _:
                return visit

    async def _of_suspension(self, message: Outgoing) -> dict[str, Value]:
        if "until" not in FACTS[message.template]:
            return {}
        async with self.engine.connect() as connection:
            until = await suspended_until(connection, message.subject)
        if until is None:
            raise _closed("no_suspension")
        return {"until": self._day(until)}

    async def _recipient(self, message: Outgoing) -> Recipient:
        async with self.engine.connect() as connection:
            recipient = await self._whom(connection, message)
        if recipient is None:
            raise _closed("no_order")
        return recipient

    async def _whom(self, connection: AsyncConnection, message: Outgoing) -> Recipient | None:
        if message.account_id is not None:
            return await find_staff(connection, message.account_id)
        order_no = message.subject
        if message.template in OF_REFUND:
            refund = await find_refund(connection, message.subject)
            order_no = refund.order_no if refund else ""
        return await find_recipient(connection, order_no, message.doctor_id)

    def _day(self, at: datetime) -> date:
        return at.astimezone(self._zone).date()

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.config.hospital.time_zone)


def _path(message: Outgoing, recipient: Recipient) -> str:
    """Where more is to be read, after the hospital's own address."""
    if message.template in TO_STAFF:
        named = "work_item" in FACTS[message.template]
        return f"work-items/{message.subject}" if named else "work-items"
    return f"orders/{recipient.order_no}" if recipient.order_no else "waitlist"


def place_code(location: str) -> str:
    """The room's code out of a location (`门诊楼二层 A2-07` → `A2-07`): a message must not name the
    department that a location often does. Without one, the front desk."""
    codes = re.findall(r"[A-Za-z]*\d[A-Za-z0-9-]*", location)
    return codes[-1] if codes else "服务台"


def _closed(code: str) -> ApplicationError:
    return ApplicationError(code, type="ChannelClosed", non_retryable=True)


def _later(error: RetryableMessageError) -> ApplicationError:
    pause = error.retry_after or (LOOK_AGAIN_AFTER if error.outcome_unknown else None)
    return ApplicationError(error.code, type="TryLater", next_retry_delay=pause)
