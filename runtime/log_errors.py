"""How logs tell of exceptions: what kind and where, never what they say.

An exception's text may quote what somebody sent: pydantic's names the value that did not fit, a
database's the row that was there already. Type and frames are enough to look.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TextIO

from structlog.types import EventDict, ExcInfo, WrappedLogger

TRACEBACK = "Traceback (most recent call last):"
FRAME = re.compile(r'^\s+File "[^"]*", line \d+')


def frames(error: BaseException) -> str:
    """The exception and those behind it: types and frames."""
    return "\n".join(_lines(error, set()))


def _lines(error: BaseException, told: set[int]) -> Iterator[str]:
    told.add(id(error))
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if behind is not None and id(behind) not in told:
        yield from _lines(behind, told)
        yield "which led to"
    yield TRACEBACK
    for frame in traceback.format_tb(error.__traceback__):
        yield frame.rstrip()
    yield kind(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from (f"  | {line}" for line in _lines(one, told))


def kind(error: BaseException) -> str:
    of = type(error)
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


def as_field(exc_info: ExcInfo) -> str:
    return frames(exc_info[1])


def on_console(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write("\n" + frames(exc_info[1]))


def name_errors(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An exception that is an event's value is told by its kind. What others wrote into a text is
    cut: asyncio's lines about the task that broke, tracebacks that Starlette sends as a message."""
    for key, value in event.items():
        if isinstance(value, BaseException) and key != "exc_info":
            event[key] = kind(value)
    if "positional_args" in event:
        event["positional_args"] = _named(event["positional_args"])
    text = event.get("event")
    if isinstance(text, str):
        if event.get("logger") == "asyncio":
            text = text.partition("\n")[0]
        event["event"] = _without_words(text)
    return event


class NamesErrors(logging.Filter):
    """The same for the arguments of plain records: `log.warning("not sent: %s", error)`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.args:
            record.args = _named(record.args)
        return True


class TellingHandler(logging.StreamHandler[TextIO]):
    """What cannot be written is told by its kind: Python's own way prints the record as it came."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - Python's name
        with suppress(OSError, ValueError):
            error = sys.exc_info()[1]
            name = kind(error) if error else "?"
            self.stream.write(f"a record of {record.name} was not written: {name}\n")


def _named(args: Any) -> Any:
    if isinstance(args, Mapping):
        return {key: _name(value) for key, value in args.items()}
    return tuple(_name(value) for value in args)


def _name(value: Any) -> Any:
    return kind(value) if isinstance(value, BaseException) else value


def _without_words(text: str) -> str:
    before, found, after = text.partition(TRACEBACK)
    if not found:
        return text
    return before + "\n".join([found, *(line for line in after.splitlines() if FRAME.match(line))])
