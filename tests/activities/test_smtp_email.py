"""The contract with an SMTP server: the real client against a real server on loopback."""

import logging
import socket
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from activities.gateways.email import ConsoleEmail, message_id
from activities.gateways.sending import (
    Fault,
    MessageError,
    PermanentMessageError,
    RetryableMessageError,
    Sent,
)
from activities.gateways.smtp_email import Security, SmtpEmail
from tests.support.smtp_server import LOGIN, certificate, smtp_server

pytestmark = pytest.mark.anyio

TO = "patient@example.org"
SUBJECT = "预约成功：11月23日 09:00"
TEXT = "您的预约已确认。\n\n地点：A3-07\n.\n就诊序号：12"
KEY = "AP20261123000123:confirmed"


def gateway(port: int, **changes: Any) -> SmtpEmail:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "sender": "示范医院 <no-reply@hospital.example.org>",
        "security": Security.NONE,
        "timeout": 5.0,
    }
    return SmtpEmail(**settings | changes)


async def send(email: SmtpEmail, to: str = TO) -> Sent:
    return await email.send(to=to, subject=SUBJECT, text=TEXT, key=KEY)


async def failure(email: SmtpEmail, to: str = TO) -> MessageError:
    with pytest.raises(MessageError) as caught:
        await send(email, to)
    told = "".join(traceback.format_exception(caught.value))
    assert to not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


# --- sending ---


async def test_a_message_arrives_with_its_headers_and_its_text() -> None:
    async with smtp_server() as server:
        sent = await send(gateway(server.port))
    (received,) = server.received
    message = received.message
    assert received.sender == "no-reply@hospital.example.org"
    assert received.recipients == [TO]
    assert message["From"] == "示范医院 <no-reply@hospital.example.org>"
    assert message["To"] == TO
    assert message["Subject"] == SUBJECT
    assert message["Auto-Submitted"] == "auto-generated"
    age = datetime.now(UTC) - parsedate_to_datetime(message["Date"])
    assert timedelta(seconds=-2) < age < timedelta(minutes=1)
    assert message.get_content_type() == "text/plain"
    assert message.get_content().splitlines() == TEXT.splitlines()
    assert sent == Sent(provider_id=message["Message-ID"], receipt_expected=False)


async def test_a_repeat_has_the_same_message_id_and_another_fact_another() -> None:
    async with smtp_server() as server:
        email = gateway(server.port)
        await send(email)
        await send(email)
        await email.send(to=TO, subject=SUBJECT, text=TEXT, key="another")
    ids = [received.message["Message-ID"] for received in server.received]
    assert ids[0] == ids[1] == message_id(KEY, "hospital.example.org")
    assert ids[2] != ids[0]
    assert "AP2026" not in ids[0]


# --- encryption and login ---


async def test_starttls_with_login(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    async with smtp_server(starttls=context, login=True) as server:
        await send(
            gateway(
                server.port,
                security=Security.STARTTLS,
                username=LOGIN[0],
                password=LOGIN[1],
                ca_file=ca_file,
            )
        )
    assert [received.over_tls for received in server.received] == [True]


async def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    async with smtp_server(tls=context) as server:
        await send(gateway(server.port, security=Security.TLS, ca_file=ca_file))
    assert len(server.received) == 1


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
async def test_a_certificate_that_nobody_vouches_for_gets_nothing(
    tmp_path: Path, security: Security
) -> None:
    context, _ = certificate(tmp_path)
    offer = {"tls": context} if security is Security.TLS else {"starttls": context}
    async with smtp_server(**offer) as server:
        error = await failure(gateway(server.port, security=security))
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("smtp:connect", False)
    assert not server.received


async def test_a_server_without_starttls_gets_nothing() -> None:
    async with smtp_server() as server:
        error = await failure(gateway(server.port, security=Security.STARTTLS))
    assert isinstance(error, RetryableMessageError)
    assert not server.received


async def test_a_wrong_password_is_the_senders_fault(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    async with smtp_server(starttls=context, login=True) as server:
        email = gateway(
            server.port,
            security=Security.STARTTLS,
            username=LOGIN[0],
            password="wrong",
            ca_file=ca_file,
        )
        error = await failure(email)
    assert isinstance(error, PermanentMessageError)
    assert (error.code, error.fault) == ("smtp:535", Fault.SENDER)


def test_a_password_never_goes_unencrypted() -> None:
    with pytest.raises(ValueError, match="unencrypted"):
        gateway(25, username=LOGIN[0], password=LOGIN[1])


# --- refusals ---


@pytest.mark.parametrize(
    ("refuse", "answer", "fault"),
    [
        ("refuse_recipient", "550 5.1.1 no such mailbox", Fault.RECIPIENT),
        ("refuse_sender", "550 5.7.1 not allowed to send", Fault.SENDER),
        ("refuse_content", "554 5.7.1 looks like spam", Fault.SENDER),
    ],
)
async def test_a_5xx_is_permanent(refuse: str, answer: str, fault: Fault) -> None:
    async with smtp_server() as server:
        setattr(server, refuse, answer)
        error = await failure(gateway(server.port))
    assert isinstance(error, PermanentMessageError)
    assert (str(error), error.fault) == (f"smtp:{answer[:3]}", fault)
    assert not server.received


@pytest.mark.parametrize(
    ("refuse", "answer"),
    [
        ("refuse_recipient", "450 4.2.0 greylisted"),
        ("refuse_sender", "451 4.3.0 try later"),
        ("refuse_content", "452 4.3.1 no room"),
    ],
)
async def test_a_4xx_is_retryable_and_nothing_was_sent(refuse: str, answer: str) -> None:
    async with smtp_server() as server:
        setattr(server, refuse, answer)
        error = await failure(gateway(server.port))
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == (f"smtp:{answer[:3]}", False)


@pytest.mark.parametrize(
    "to", ["no address", "@example.org", "a@example.org\r\nBcc: b@example.org", "病人@example.org"]
)
async def test_an_address_that_cannot_be_written_to_is_permanent(to: str) -> None:
    async with smtp_server() as server:
        error = await failure(gateway(server.port), to)
    assert isinstance(error, PermanentMessageError)
    assert (error.code, error.fault) == ("smtp:bad_address", Fault.RECIPIENT)
    assert not server.received


# --- bad luck ---


async def test_after_a_hang_the_outcome_is_unknown() -> None:
    async with smtp_server() as server:
        server.hang_after_taking = True
        error = await failure(gateway(server.port, timeout=0.3))
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("smtp:lost", True)
    assert len(server.received) == 1


async def test_a_server_that_is_not_there_got_nothing() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        error = await failure(gateway(nobody.getsockname()[1]))
    assert isinstance(error, RetryableMessageError)
    assert (error.code, error.outcome_unknown) == ("smtp:connect", False)


# --- the console ---


async def test_the_console_tells_one_line_without_address_or_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        sent = await ConsoleEmail().send(to=TO, subject=SUBJECT, text=TEXT, key=KEY)
    assert sent == Sent(provider_id=f"console:{KEY}", receipt_expected=False)
    (record,) = caplog.records
    assert KEY in record.getMessage()
    assert "patient" not in record.getMessage()
    assert "预约" not in record.getMessage()
