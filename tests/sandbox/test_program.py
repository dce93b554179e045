"""The program itself: how it starts, how it is killed, and what its file can do to it."""

import argparse
import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from activities.gateways.payment import GatewayUnavailable, PaymentState
from activities.gateways.sandbox_payment import (
    SandboxControls,
    SandboxMerchant,
    SandboxPaymentGateway,
    sandbox_http,
)
from sandbox import gateway as program
from tests.support.gateway import SECRET, ZONE, sandbox_gateway

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PROGRAM = (
    "import argparse, sys; from sandbox import gateway as g;"
    "p = argparse.ArgumentParser(); g.add_arguments(p); sys.exit(g.main(p.parse_args()))"
)


def started(db):
    command = [sys.executable, "-c", PROGRAM, "--db", str(db), "--port", "0"]
    env = {**os.environ, program.SECRET: SECRET}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    return process, line.split()[-1]


def arguments(*given):
    parser = argparse.ArgumentParser()
    program.add_arguments(parser)
    return parser.parse_args(given)


async def open_and_pay(url, http, notify_url):
    payments = SandboxPaymentGateway(SandboxMerchant(url, SECRET, notify_url, ZONE), http)
    await payments.prepay(
        "P1",
        amount=Decimal("1.00"),
        description="appointment",
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
    )
    await SandboxControls(url, SECRET, http).pay("P1")
    return payments


async def test_a_killed_gateway_sends_again_what_was_in_flight(db, inbox):
    inbox.hold()
    process, url = await asyncio.to_thread(started, db)
    async with sandbox_http() as http:
        payments = await open_and_pay(url, http, inbox.url)
    await inbox.callbacks(1)
    process.kill()
    await asyncio.to_thread(process.communicate)
    inbox.release()
    async with sandbox_gateway(db) as gateway:
        in_flight, again = await inbox.events(payments, 2)
        assert in_flight == again
        paid = await gateway.payments(inbox.url).query("P1")
        assert (paid.state, paid.paid_at) == (PaymentState.PAID, again.at)


async def test_it_ends_when_told_to(db):
    process, url = await asyncio.to_thread(started, db)
    async with sandbox_http() as http:
        assert (await http.get(f"{url}/healthz")).json() == {"status": "ok"}
    process.send_signal(signal.SIGINT)
    await asyncio.to_thread(process.communicate)
    assert process.returncode == 0


async def test_a_file_removed_in_use_is_unavailable_and_not_a_silent_loss(db, inbox):
    async with sandbox_gateway(db) as gateway:
        payments = await open_and_pay(gateway.url, gateway.http, inbox.url)
        db.unlink()
        with pytest.raises(GatewayUnavailable) as failure:
            await payments.query("P1")
        assert failure.value.code == "status_503"
        assert (await gateway.http.get(f"{gateway.url}/healthz")).status_code == 503
    for left in db.parent.glob("gateway.db-*"):
        left.unlink()
    async with sandbox_gateway(db) as gateway:
        payment = await gateway.payments(inbox.url).query("P1")
        assert payment.state is PaymentState.UNKNOWN


@pytest.mark.parametrize("secret", [None, "", "short"])
def test_without_a_real_secret_it_does_not_start(db, monkeypatch, capsys, secret):
    monkeypatch.delenv(program.SECRET, raising=False)
    if secret is not None:
        monkeypatch.setenv(program.SECRET, secret)
    assert program.main(arguments("--db", str(db), "--port", "0")) == 1
    assert "secret" in one_line(capsys)


def test_a_port_in_use_is_one_clear_line(db, monkeypatch, capsys):
    monkeypatch.setenv(program.SECRET, SECRET)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert program.main(arguments("--db", str(db), "--port", port)) == 1
    assert port in one_line(capsys)


def test_a_file_that_is_no_database_is_one_clear_line(db, monkeypatch, capsys):
    monkeypatch.setenv(program.SECRET, SECRET)
    db.write_text("this is not a database, and long enough to be looked at as one" * 20)
    assert program.main(arguments("--db", str(db), "--port", "0")) == 1
    assert str(db) in one_line(capsys)


def test_a_file_of_another_version_is_left_alone(db, monkeypatch, capsys):
    monkeypatch.setenv(program.SECRET, SECRET)
    with sqlite3.connect(db) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    assert program.main(arguments("--db", str(db), "--port", "0")) == 1
    assert "99" in one_line(capsys)


def one_line(capsys):
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text
