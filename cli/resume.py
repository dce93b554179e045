"""`./hospital resume`: give every unfinished order its workflow again.

For after Temporal lost something: a restore of its databases, another namespace, workflows that
were terminated in bulk. Without it an order begins again at its next command or message only, and
no deadline passes until then. Safe at any time: workflows that run are left alone.
"""

import argparse
import asyncio
import os
import sys

from sqlalchemy.exc import DBAPIError

from db.base import engine_for
from db.resume import resume
from runtime.settings import read_settings


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def main(_args: argparse.Namespace) -> int:
    """Raises SettingsError; 1 when the database cannot be used."""
    settings = read_settings(os.environ)
    try:
        promised = asyncio.run(_resume(settings.database_url))
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        print(f"hospital: the database cannot be used: {reason}", file=sys.stderr)
        return 1
    print(f"{promised} starts are promised; the relay keeps them.")
    return 0


async def _resume(database_url: str) -> int:
    engine = engine_for(database_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            return await resume(connection)
    finally:
        await engine.dispose()
