"""`./hospital <command>`: one line of this table is one command."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from runtime.config import ConfigError
from runtime.settings import SettingsError

# Each module has `add_arguments(parser)` and `main(args) -> int`. Only the chosen one is imported:
# the others would cost a second.
COMMANDS = {
    "up": ("cli.up", "start everything on this machine, for development and trying out"),
    "api": ("api.serve", "answer HTTP"),
    "worker": ("workers.serve", "run workflows and activities of the given task queues, or of all"),
    "relay": ("workers.relay", "start the workflows that committed orders ask for"),
    "sandbox-gateway": ("sandbox.gateway", "stand in for the payment gateway"),
    "migrate": ("cli.migrate", "bring the database and Temporal's search attributes up to date"),
    "seed": ("cli.seed", "load the configuration and the demonstration data"),
    "operator": ("cli.operator", "make somebody an operator, such as the first one"),
    "keys": ("cli.keys", "make a keyring, rotate its keys, wrap data keys anew"),
    "resume": ("cli.resume", "give every unfinished order its workflow again, after a restore"),
    "bench": ("cli.bench", "measure a running system"),
    "test": ("cli.testing", "check style, types and imports, and run the tests"),
    "version": ("cli.version", "print the version"),
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./hospital", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = None
    for name, (module, help_text) in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=help_text, description=help_text, allow_abbrev=False
        )
        if name in argv[:1]:
            chosen = import_module(module)
            chosen.add_arguments(subparser)
    args, unknown = parser.parse_known_args(argv)
    if unknown and not hasattr(args, "passed_on"):
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    args.passed_on = unknown
    assert chosen is not None, "the parser requires a command"  # noqa: S101 for the type checker
    try:
        return int(chosen.main(args))
    except (ConfigError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _end(code: int) -> NoReturn:
    """End without taking the interpreter down: the threads of Temporal's client outlive it and
    now and then abort the process on its way out (temporalio/sdk-python#300)."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _end(main(sys.argv[1:]))
