"""E-mail through an SMTP server."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.errors import MessageError as HeaderError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from enum import StrEnum
from pathlib import Path

import aiosmtplib

from activities.gateways.email import message_id
from activities.gateways.sending import (
    Fault,
    MessageError,
    PermanentMessageError,
    RetryableMessageError,
    Sent,
)

FAREWELL = 2.0  # seconds to wait for the answer to QUIT


class Security(StrEnum):
    NONE = "none"  # a relay on the same machine
    STARTTLS = "starttls"  # refused when the server does not offer it
    TLS = "tls"


class SmtpEmail:
    """An EmailGateway. One connection a message: they are few, and an idle one breaks.

    `sender` is an address with or without a name (`Hospital <no-reply@example.org>`). The
    server's certificate is always checked, against `ca_file` when given, else the system's
    authorities. `timeout` is in seconds, for each exchange with the server.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        security: Security = Security.STARTTLS,
        username: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
        timeout: float = 20.0,
    ) -> None:
        if username and security is Security.NONE:
            raise ValueError("SMTP: a password is not sent over an unencrypted connection")
        name, address = parseaddr(sender)
        self._sender = Address(display_name=name, addr_spec=address)
        self._host = host
        self._port = port
        self._security = security
        self._username = username
        self._password = password
        self._ca_file = str(ca_file) if ca_file else None
        self._timeout = timeout

    async def send(self, *, to: str, subject: str, text: str, key: str) -> Sent:
        message = self._message(to, subject, text, key)
        client = self._client()
        await _told(client.connect, _before_delivery)
        try:
            await _told(lambda: client.send_message(message), _during_delivery)
            # The server has the message: whatever happens at the farewell is no failure.
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=FAREWELL)
        finally:
            client.close()
        return Sent(provider_id=str(message["Message-ID"]), receipt_expected=False)

    def _message(self, to: str, subject: str, text: str, key: str) -> EmailMessage:
        message = EmailMessage(policy=SMTP_POLICY)
        message["From"] = self._sender
        message["To"] = _recipient(to)
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = message_id(key, self._sender.domain)
        # Out-of-office robots leave these alone (RFC 3834; the second for Exchange).
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(text)
        return message

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._username,
            password=self._password,
            use_tls=self._security is Security.TLS,
            start_tls=self._security is Security.STARTTLS,
            cert_bundle=self._ca_file,
            timeout=self._timeout,
        )


def _recipient(to: str) -> Address:
    try:
        return Address(addr_spec=to)
    except (ValueError, HeaderError):
        pass
    raise PermanentMessageError("smtp:bad_address", Fault.RECIPIENT)


async def _told(
    step: Callable[[], Awaitable[object]], failure_of: Callable[[Exception], MessageError]
) -> None:
    try:
        await step()
        return
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        failure = failure_of(error)
    # Outside of the except block: the original is not chained, servers quote the address.
    raise failure


def _before_delivery(error: Exception) -> MessageError:
    """Connecting, TLS and login: nothing was sent."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _refusal(error, Fault.SENDER)
    return RetryableMessageError("smtp:connect")


def _during_delivery(error: Exception) -> MessageError:
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[refused, *_]):
            return _refusal(refused, Fault.RECIPIENT)
        case aiosmtplib.SMTPResponseException():
            return _refusal(error, Fault.SENDER)
        case aiosmtplib.SMTPNotSupported() | ValueError():
            # An address outside ASCII, and a server without SMTPUTF8.
            return PermanentMessageError("smtp:bad_address", Fault.RECIPIENT)
        case _:
            return RetryableMessageError("smtp:lost", outcome_unknown=True)


def _refusal(refused: aiosmtplib.SMTPResponseException, at_fault: Fault) -> MessageError:
    code = f"smtp:{refused.code}"
    if refused.code >= 500:
        return PermanentMessageError(code, at_fault)
    return RetryableMessageError(code)
