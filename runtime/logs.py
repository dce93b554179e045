"""Logs: one event a line, with the order and the workflow it is about, and nobody's data.

Ours, Temporal's, uvicorn's and the libraries' records all go through one handler. Bind what a whole
request shares with `structlog.contextvars.bind_contextvars(request_id=…)`.

Texts are not searched for names or numbers: write what varies as a field, and sensitive fields are
masked here. Exceptions are printed without their texts for the same reason (`log_errors`).
"""

import json
import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow

from runtime.log_errors import NamesErrors, TellingHandler, as_field, name_errors, on_console

MASK = "***"
# Written without `_` and in small letters: `id_card` and `idCard` are one.
SENSITIVE = frozenset(
    {"phone", "mobile", "email", "name", "patientname", "realname", "idcard", "idnumber"}
    | {"password", "code", "smscode", "authorization", "cookie", "secret", "apikey"}
    | {"token", "accesstoken", "refreshtoken", "complaint", "symptoms", "diagnosis"}
)
# What a workflow's id counts: `appointment/<order number>`.
NUMBERS = {"appointment": "order_no", "consultation": "order_no", "payment": "payment_no"}
TEMPORAL_FIELDS = ("workflow_id", "workflow_type", "activity_type", "attempt", "update_name")
# They write requests with their addresses, and so account ids and whom a message goes to.
TALKATIVE = ("httpx", "httpcore", "twilio.http_client", "aiosmtplib", "urllib3", "asyncio")


def configure_logs(format: str, process: str) -> None:
    """Send every log of this process to stderr. `format` is json or console.

    May be called again: the last call counts. Start uvicorn with `log_config=None`, or it puts its
    own handlers back.
    """
    root = logging.getLogger()
    root.handlers[:] = [log_handler(format, process, sys.stderr)]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False  # addresses hold names asked for; routes are in the metrics
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    sys.excepthook = _uncaught
    # The formatter runs in the workflow's thread; the sandbox has no business with it.
    workflow.logger.disable_sandbox = True
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(process),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _uncaught(
    type: type[BaseException], error: BaseException, frames: TracebackType | None
) -> None:
    """What takes the process down is an event too: Python's own hook would print the text."""
    logging.getLogger(__name__).critical("process_broke", exc_info=(type, error, frames))


def log_handler(format: str, process: str, stream: TextIO) -> logging.Handler:
    """The one handler, for structlog's events and for plain `logging` records."""
    if format == "console":
        renderer: list[Processor] = [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(),
                timestamp_key="time",
                exception_formatter=on_console,
            )
        ]
    else:
        renderer = [
            structlog.processors.ExceptionRenderer(as_field),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared(process)],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = TellingHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(NamesErrors())
    return handler


def _shared(process: str) -> list[Processor]:
    def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        name_errors,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        add_process,
        name_the_order,
        mask_sensitive,
    ]


def name_the_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Temporal's own details become fields, and the workflow's id tells the order's number."""
    details: dict[str, Any] = {}
    for key in ("temporal_workflow", "temporal_activity"):
        details.update(event.pop(key, None) or {})
    event.pop("temporal_log", None)
    event.update({key: details[key] for key in TEMPORAL_FIELDS if details.get(key) is not None})
    kind, _, number = str(event.get("workflow_id", "")).partition("/")
    if number and kind in NUMBERS:
        event.setdefault(NUMBERS[kind], number)
    return event


def mask_sensitive(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep every field, without the values that are somebody's."""
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: object, value: Any) -> Any:
    if str(key).lower().replace("_", "").replace("-", "") in SENSITIVE and value is not None:
        return MASK
    if isinstance(value, Mapping):
        return {inner: _masked(inner, of) for inner, of in value.items()}
    # `exc_info` is a tuple too, and must stay one.
    if isinstance(value, list):
        return [_masked("", item) for item in value]
    return value


def _json(event: EventDict, **_: Any) -> str:
    return json.dumps(event, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    # The repr of a dataclass would show its fields.
    text = type(value).__str__ is not object.__str__ and not hasattr(value, "__dataclass_fields__")
    return str(value) if text else f"<{type(value).__name__}>"
