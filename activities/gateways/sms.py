"""SMS (短信): the port, and the console that stands in for a provider."""

import logging
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from activities.gateways.sending import Sent
from domain.sms import sms_segments

logger = logging.getLogger(__name__)


class SmsGateway(Protocol):
    """Providers of SMS have no idempotency key, so "once per business fact" is the caller's:

    1. It claims the notification's row (unique by `key`) and commits, then calls `send`.
    2. An answer is written to the row. A PermanentMessageError, or a RetryableMessageError
       without `outcome_unknown`, means that nothing was sent.
    3. With `outcome_unknown`, or with a claim but no answer (the process died), the message may
       be on its way: the caller waits `retry_after`, asks `find` with the time of its claim,
       and sends again only on None. A receipt that names the row's key settles it as well.
    """

    async def send(self, *, to: str, text: str, key: str) -> Sent:
        """Hand one message over.

        `to` is E.164 (+8613800138000); `key` names the business fact and nobody: it leaves the
        house in the address that receipts come back to. Raises PermanentMessageError,
        RetryableMessageError. Cancelled while under way, the outcome is unknown.
        """
        ...

    async def find(self, *, to: str, text: str, since: datetime) -> Sent | None:
        """The message with this text that the provider took for this number at or after
        `since`, or None when it took none. Raises as `send` does."""
        ...


class ReceiptState(StrEnum):
    ON_ITS_WAY = "on_its_way"  # still with the provider
    SENT = "sent"  # with the carrier; many carriers never say more
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"  # refused by the carrier
    FAILED = "failed"  # given up by the provider

    @property
    def final(self) -> bool:
        """Receipts come in any order: one that is not final never replaces one that is."""
        return self in {self.DELIVERED, self.UNDELIVERED, self.FAILED}


@dataclass(frozen=True)
class Receipt:
    """What a provider told about a message that it took over."""

    provider_id: str
    state: ReceiptState
    error_code: str | None
    recipient_at_fault: bool
    """The number can never be reached by SMS, so that no later message should try."""
    key: str | None
    """The key given to `send`: finds the row although the answer to `send` was lost."""


def masked_number(number: str) -> str:
    """+8613800138000 → +•••••••••••00."""
    return f"{number[:1]}{'•' * (len(number) - 3)}{number[-2:]}" if len(number) > 3 else "•"


class ConsoleSms:
    """Tells in the log that an SMS would go out. The text stays out: it can hold a login code."""

    async def send(self, *, to: str, text: str, key: str) -> Sent:
        logger.info(
            "SMS to %s not sent, no provider is configured: %s, %d part(s)",
            masked_number(to),
            key,
            sms_segments(text),
        )
        return Sent(provider_id=f"console:{key}", receipt_expected=False)

    async def find(self, *, to: str, text: str, since: datetime) -> Sent | None:
        return None  # telling twice harms nobody
