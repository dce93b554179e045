"""The activities of messages on real rows, with providers that remember."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from activities.gateways.sending import MessageError, RetryableMessageError, Sent
from activities.message import MessageActivities, Outgoing, Sending
from domain.message import Channel
from runtime.message_texts import load_message_texts
from tests.support.booking import Clinic
from tests.support.catalogue import a_config


@dataclass
class Provider:
    """An SMS and e-mail provider that remembers, and fails as told."""

    sent: list[tuple[str, str, str]] = field(default_factory=list)  # to, text, key
    fails: list[MessageError | None] = field(default_factory=list)
    loses_answers: bool = False  # takes the message, and nobody hears of it
    receipts: bool = False
    asked: list[tuple[str, datetime]] = field(default_factory=list)

    async def send(self, *, to: str, text: str, key: str, subject: str = "") -> Sent:
        if self.fails and (error := self.fails.pop(0)):
            raise error
        self.sent.append((to, f"{subject}\n{text}" if subject else text, key))
        if self.loses_answers:
            raise RetryableMessageError("timeout", outcome_unknown=True)
        return Sent(f"SM{len(self.sent)}", receipt_expected=self.receipts)

    async def find(self, *, to: str, text: str, since: datetime) -> Sent | None:
        self.asked.append((to, since))
        taken = [n for n, (whom, what, _) in enumerate(self.sent, 1) if (whom, what) == (to, text)]
        return Sent(f"SM{taken[0]}", receipt_expected=self.receipts) if taken else None


def messages_of(
    clinic: Clinic,
    sms: Provider,
    email: Provider,
    count: Callable[[str, str], None] = lambda channel, outcome: None,
) -> MessageActivities:
    return MessageActivities(
        clinic.engine,
        clinic.keyring,
        a_config(),
        load_message_texts(),
        sms,
        email,
        "https://hospital.example.org",
        count,
    )


def by(message: Outgoing, channel: Channel = Channel.SMS) -> Sending:
    return Sending(message, channel)
