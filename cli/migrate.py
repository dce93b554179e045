"""`./hospital migrate`: the database's schema, and Temporal's search attributes.

May run at any time, also twice at once. The database is migrated also while Temporal is away.
"""

import argparse
import asyncio
import os
import sys

from sqlalchemy.exc import DBAPIError
from temporalio.service import RPCError, RPCStatusCode

from db.keyring import Keyring
from db.migrate import migrate
from runtime.settings import Settings, read_settings
from runtime.temporal import WrongSearchAttribute, connect, register_search_attributes

PATIENCE = 10.0  # seconds for Temporal


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def main(_args: argparse.Namespace) -> int:
    """Raises SettingsError; 1 when the database, the keyring or a search attribute stands in the
    way. Temporal away is told, and no failure: booking goes on without it."""
    settings = read_settings(os.environ)
    try:
        migrate(settings.database_url)
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        print(f"hospital: the database cannot be migrated: {reason}", file=sys.stderr)
        return 1
    print("The database is up to date.")
    try:
        keyring = Keyring.load(settings.keyring_path)
    except (OSError, ValueError) as error:
        print(f"hospital: the keyring cannot be read: {error}", file=sys.stderr)
        return 1
    return asyncio.run(_tell_temporal(settings, keyring))


async def _tell_temporal(settings: Settings, keyring: Keyring) -> int:
    where = settings.temporal.address
    try:
        async with asyncio.timeout(PATIENCE):
            client = await connect(settings.temporal, keyring, lazy=False, process="migrate")
            await register_search_attributes(client)
    except WrongSearchAttribute as error:
        print(f"hospital: Temporal at {where}: search attribute {error}", file=sys.stderr)
        return 1
    except (RuntimeError, TimeoutError):
        return _away(where)
    except RPCError as error:
        if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
            return _away(where)
        print(f"hospital: Temporal at {where}: search attributes: {error}", file=sys.stderr)
        # Temporal Cloud lets nobody do this here: it is done there, by `tcld`.
        return 0 if error.status is RPCStatusCode.PERMISSION_DENIED else 1
    print("Temporal's search attributes are there.")
    return 0


def _away(where: str) -> int:
    print(
        f"hospital: Temporal at {where} does not answer; run `migrate` again when it does, before "
        "any worker: it adds the search attributes",
        file=sys.stderr,
    )
    return 0
