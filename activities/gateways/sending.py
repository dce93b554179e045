"""What every message gateway answers, and how it fails.

Errors carry the provider's code and nothing else: they end in logs and histories, where no
number, address or text may be.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


@dataclass(frozen=True)
class Sent:
    """The provider has taken the message over."""

    provider_id: str
    receipt_expected: bool
    """Whether the provider will tell how delivery went; if not, taking over is all there is."""


class Fault(StrEnum):
    RECIPIENT = "recipient"  # this number or address cannot be reached this way
    SENDER = "sender"  # our account, sender or content: an operator must look


class MessageError(Exception):
    """The message was not certainly taken over. `code` is like `twilio:21211` or `smtp:550`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class PermanentMessageError(MessageError):
    """Sending the same again is useless: try the next channel."""

    def __init__(self, code: str, fault: Fault) -> None:
        super().__init__(code)
        self.fault = fault


class RetryableMessageError(MessageError):
    """Worth another try, not before `retry_after` when it is given.

    `outcome_unknown`: the request may have reached the provider, so the message may be on its
    way. Resolve it before sending again (see SmsGateway.find).
    """

    def __init__(
        self, code: str, *, retry_after: timedelta | None = None, outcome_unknown: bool = False
    ) -> None:
        super().__init__(code)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
