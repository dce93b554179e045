"""`./hospital keys`: the keyring's life. `docs/operations.md` tells the order of a rotation.

`create`, `add` and `use` change a file and ask nobody; `remove` asks the database first. `count`
and `rewrap` are about the database, and read HOSPITAL_KEYRING. No key is ever printed.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.account import keys_in_use, rewrap
from db.base import engine_for
from db.keyring import Keyring, UnknownKey, add_key, create_keyring, remove_key, use_key
from runtime.settings import read_settings

Result = TypeVar("Result")


class KeysError(Exception):
    """Why it cannot be done; one line for the terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")

    def action(name: str, run: Callable[[argparse.Namespace], int], help: str) -> None:
        one = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
        one.set_defaults(run=run)
        if name in ("create", "add", "use", "remove"):
            one.add_argument("file", type=Path, metavar="FILE")
        if name in ("use", "remove"):
            one.add_argument("key", metavar="KEY", help="its id, such as k2")
        if name == "remove":
            one.add_argument(
                "--unused", action="store_true", help="do not ask: `keys count` said 0 for it"
            )

    action("create", _create, "write a new keyring; an existing one is never touched")
    action("add", _add, "add a key that opens but does not seal yet, and print its id")
    action("use", _use, "seal with this key from now on")
    action("count", _count, "count data keys by the key they are wrapped under")
    action("rewrap", _rewrap, "wrap every data key under the current key; goes on where it stopped")
    action("remove", _remove, "remove a key that wraps no data key any more")


def main(args: argparse.Namespace) -> int:
    """1 with one line when the file, the key or the database stands in the way. SettingsError."""
    try:
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except UnknownKey as unknown:
        reason = f"the keyring has no key {unknown}"
    except DBAPIError as error:
        reason = f"the database cannot be asked: {str(error.orig).partition(chr(10))[0]}"
    except (KeysError, OSError, ValueError) as error:
        reason = str(error)
    print(f"hospital: {reason}", file=sys.stderr)
    return 1


def _create(args: argparse.Namespace) -> int:
    create_keyring(args.file)
    print(f"{args.file} is made. Back it up apart from the database: without it the data is lost.")
    return 0


def _add(args: argparse.Namespace) -> int:
    print(add_key(args.file))
    return 0


def _use(args: argparse.Namespace) -> int:
    use_key(args.file, args.key)
    print(f"{args.key} is current.")
    return 0


def _count(_args: argparse.Namespace) -> int:
    settings = read_settings(os.environ)
    keyring = Keyring.load(settings.keyring_path)
    _print_counts(_with_database(settings.database_url, _counts), keyring)
    return 0


def _rewrap(_args: argparse.Namespace) -> int:
    settings = read_settings(os.environ)
    keyring = Keyring.load(settings.keyring_path)

    async def work(engine: AsyncEngine) -> tuple[int, set[str], Mapping[str, int]]:
        done, unknown, after = 0, set[str](), 0
        while True:
            async with engine.begin() as connection:
                batch = await rewrap(connection, keyring, after)
            done, unknown = done + batch.done, unknown | set(batch.unknown)
            if batch.last is None:
                return done, unknown, await _counts(engine)
            after = batch.last

    done, unknown, counts = _with_database(settings.database_url, work)
    print(f"{done} data keys are wrapped anew.")
    _print_counts(counts, keyring)
    if unknown:
        raise KeysError(f"the keyring has no key {', '.join(sorted(unknown))}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    if not args.unused:
        url = read_settings(os.environ).database_url
        left = _with_database(url, _counts).get(args.key, 0)
        if left:
            raise KeysError(f"{left} data keys are wrapped under {args.key}: `keys rewrap` first")
    remove_key(args.file, args.key)
    print(f"{args.key} is removed. Backups from before need it: keep it with them.")
    return 0


async def _counts(engine: AsyncEngine) -> Mapping[str, int]:
    async with engine.connect() as connection:
        return await keys_in_use(connection)


def _print_counts(counts: Mapping[str, int], keyring: Keyring) -> None:
    for name in sorted(counts.keys() | keyring.keys.keys()):
        remark = " (current)" if name == keyring.current else ""
        remark += "" if name in keyring.keys else " (not in the keyring)"
        print(f"{name}: {counts.get(name, 0)}{remark}")


def _with_database(url: str, work: Callable[[AsyncEngine], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        engine = engine_for(url, pool_size=1)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())
