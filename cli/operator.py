"""`./hospital operator add`: the first operator of a new hospital, or another one.

Asks for the phone and, where nobody has it yet, for a password, at the terminal; with a pipe, as
the first and second line. Never as an argument: those are in the shell's history and in `ps`.
"""

import argparse
import asyncio
import os
import sys
from getpass import getpass

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.fields import to_e164
from api.passwords import Passwords
from db.account import account_id_of, find_account, grant_role, register_account
from db.base import engine_for
from db.journal import audit
from db.keyring import Keyring
from domain.access import Role
from domain.account import password_refusal
from runtime.config import load_config
from runtime.settings import read_settings


class OperatorError(Exception):
    """Why it cannot be done; one line for the terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    what = "ask for a phone and make its account an operator; one that is there keeps its password"
    actions.add_parser("add", help=what, description=what, allow_abbrev=False)


def main(_args: argparse.Namespace) -> int:
    """1 with one line when it cannot be done. Raises SettingsError, ConfigError."""
    settings = read_settings(os.environ)
    hospital_id = load_config(settings.config_path, os.environ).hospital.id
    try:
        keyring = Keyring.load(settings.keyring_path)
        print(asyncio.run(_add(settings.database_url, keyring, hospital_id)))
    except DBAPIError as error:
        reason = f"the database cannot be used: {str(error.orig).partition(chr(10))[0]}"
    except (OperatorError, OSError, ValueError) as error:
        reason = str(error)
    else:
        return 0
    print(f"hospital: {reason}", file=sys.stderr)
    return 1


async def _add(database_url: str, keyring: Keyring, hospital_id: int) -> str:
    engine = engine_for(database_url, pool_size=1)
    try:
        return await add_operator(engine, keyring, hospital_id)
    finally:
        await engine.dispose()


async def add_operator(engine: AsyncEngine, keyring: Keyring, hospital_id: int) -> str:
    """What was done, in a line. Twice is once."""
    phone = _phone()
    async with engine.begin() as connection:
        known = await find_account(connection, keyring, hospital_id, phone)
        if known is not None:
            return await _promote(connection, hospital_id, known.id)
        if await account_id_of(connection, hospital_id, keyring.blind("phone", phone)):
            raise OperatorError("the account of this phone is closed")
    password_hash = await Passwords().hash(_password(phone))
    async with engine.begin() as connection:
        made = await register_account(
            connection,
            keyring,
            hospital_id,
            phone=phone,
            name=None,
            password_hash=password_hash,
            roles=(Role.OPERATOR,),
        )
        if made is None:
            raise OperatorError("somebody registered this phone just now: try again")
        await _note(connection, hospital_id, made)
    return f"Account {made} is made, and an operator."


async def _promote(connection: AsyncConnection, hospital_id: int, account_id: int) -> str:
    if not await grant_role(connection, account_id, Role.OPERATOR):
        return f"Account {account_id} is an operator already."
    await _note(connection, hospital_id, account_id)
    return f"Account {account_id} is an operator now, with the password it has."


async def _note(connection: AsyncConnection, hospital_id: int, account_id: int) -> None:
    await audit(
        connection,
        hospital_id,
        "operator_added",
        f"account/{account_id}",
        actor_role="terminal",
        details={"role": Role.OPERATOR},
    )


def _phone() -> str:
    try:
        return to_e164(_asked("Phone: "))
    except ValueError:
        raise OperatorError("this is no phone number") from None


def _password(phone: str) -> str:
    password = _asked("Password: ", secret=True)
    refused = password_refusal(password, phone)
    if refused:
        raise OperatorError(f"the password {refused}")
    if sys.stdin.isatty() and _asked("Once more: ", secret=True) != password:
        raise OperatorError("the two passwords differ")
    return password


def _asked(question: str, *, secret: bool = False) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        return getpass(question) if secret else input(question)
    except EOFError:
        return ""
