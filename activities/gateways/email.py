"""E-mail (邮件): the port, and the console that stands in for a server."""

import hashlib
import logging
from typing import Protocol

from activities.gateways.sending import Sent

logger = logging.getLogger(__name__)


class EmailGateway(Protocol):
    async def send(self, *, to: str, subject: str, text: str, key: str) -> Sent:
        """Hand one message over, as plain text.

        `key` names the business fact: the same key gives the same Message-ID, by which mailboxes
        drop a repeat. SMTP cannot be asked afterwards, so after `outcome_unknown` the message is
        sent again: rather twice the same than never. No receipts.
        Raises PermanentMessageError, RetryableMessageError.
        """
        ...


def message_id(key: str, domain: str) -> str:
    """The Message-ID of a key: a digest, since a header is read by strangers."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


class ConsoleEmail:
    """Tells in the log that an e-mail would go out, with neither address nor text."""

    async def send(self, *, to: str, subject: str, text: str, key: str) -> Sent:
        domain = to.rpartition("@")[2]
        logger.info("e-mail to •@%s not sent, no server is configured: %s", domain, key)
        return Sent(provider_id=f"console:{key}", receipt_expected=False)
