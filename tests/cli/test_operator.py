"""The first operator, made at the terminal."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.passwords import Passwords
from cli.__main__ import main
from db.account import Account, create_account, find_account
from db.base import engine_for
from db.keyring import Keyring, create_keyring
from domain.access import Role

PHONE, PASSWORD = "13800000001", "clear-water-7"


@pytest.fixture
def keyring(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    file = tmp_path / "keyring.json"
    create_keyring(file)
    monkeypatch.setenv("HOSPITAL_KEYRING", str(file))
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", database_url)
    monkeypatch.setenv("HOSPITAL_ENV", "production")
    return Keyring.load(file)


def add(monkeypatch: pytest.MonkeyPatch, *lines: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return main(["operator", "add"])


def in_database(database_url: str, work: Any) -> Any:
    async def run() -> Any:
        engine = engine_for(database_url, pool_size=1)
        try:
            async with engine.begin() as connection:
                return await work(connection)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def account_of(database_url: str, keyring: Keyring) -> Account | None:
    return in_database(database_url, lambda c: find_account(c, keyring, 1, f"+86{PHONE}"))


def audited(database_url: str) -> list[str]:
    query = "select concat_ws(' ', event, subject, actor_role) from audit order by id"

    async def read(connection: Any) -> list[str]:
        return list((await connection.execute(text(query))).scalars())

    return in_database(database_url, read)


def test_the_first_operator_is_made_once(
    keyring: Keyring,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert add(monkeypatch, PHONE, PASSWORD) == 0
    account = account_of(database_url, keyring)
    assert account is not None
    assert account.roles == {Role.OPERATOR}
    assert asyncio.run(Passwords().matches(PASSWORD, account.password_hash))
    assert add(monkeypatch, PHONE, "another-password") == 0
    assert account_of(database_url, keyring) == account, "also its password"
    assert audited(database_url) == [f"operator_added account/{account.id} terminal"]
    told = "".join(capsys.readouterr())
    assert "is an operator already" in told
    assert PASSWORD not in told
    assert PHONE not in told


def test_somebody_who_is_registered_keeps_password_and_roles(
    keyring: Keyring, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = in_database(
        database_url,
        lambda c: create_account(
            c, keyring, 1, phone=f"+86{PHONE}", name="林小满", password_hash="h"
        ),
    )
    assert add(monkeypatch, PHONE) == 0
    account = account_of(database_url, keyring)
    assert account is not None
    assert (account.id, account.name, account.password_hash) == (made, "林小满", "h")
    assert account.roles == {Role.PATIENT, Role.OPERATOR}
    assert audited(database_url) == [f"operator_added account/{made} terminal"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("1380000", PASSWORD), "no phone number"),
        ((PHONE, "short"), "password must have 8 to 128"),
        ((PHONE, "x" * 129), "password must have 8 to 128"),
        ((PHONE, PHONE), "must not be the phone number"),
        ((PHONE,), "password must have 8 to 128"),
        ((), "no phone number"),
    ],
)
def test_what_is_typed_wrong_makes_nobody(
    keyring: Keyring,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: tuple[str, ...],
    why: str,
) -> None:
    assert add(monkeypatch, *lines) == 1
    assert why in capsys.readouterr().err
    assert account_of(database_url, keyring) is None
    assert audited(database_url) == []


def test_an_account_that_is_closed_is_not_brought_back(
    keyring: Keyring,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert add(monkeypatch, PHONE, PASSWORD) == 0
    close = text("update account set active = false, roles = '{patient}'")
    in_database(database_url, lambda c: c.execute(close))
    assert add(monkeypatch, PHONE, PASSWORD) == 1
    assert "is closed" in capsys.readouterr().err
    roles = text("select array_to_string(roles, ' ') from account")
    assert in_database(database_url, lambda c: c.scalar(roles)) == "patient"


def test_a_database_that_is_away_is_one_line(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")
    assert add(monkeypatch, PHONE, PASSWORD) == 1
    assert capsys.readouterr().err.startswith("hospital: the database cannot be used")
