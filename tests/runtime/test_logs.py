"""Logs say which order, and never whose."""

import asyncio
import gc
import io
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, ValidationError
from temporalio import activity, workflow
from temporalio.testing import ActivityEnvironment

from runtime.logs import configure_logs, log_handler

Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logs("json", "api-1")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    workflow.logger.workflow_info_on_message = activity.logger.activity_info_on_message = True
    workflow.logger.disable_sandbox = False
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_an_event_is_one_line_of_json(configured: Events) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("api").info("booked", order_no="A1", fee=Decimal("19.90"))
    (event,) = configured()
    assert event.pop("time").endswith("Z")
    assert event == {
        "event": "booked",
        "level": "info",
        "logger": "api",
        "process": "api-1",
        "request_id": "r1",
        "order_no": "A1",
        "fee": "19.90",
    }


def test_a_plain_record_reads_the_same(configured: Events) -> None:
    structlog.contextvars.bind_contextvars(request_id="r1")
    logging.getLogger("relay").warning("waited %d s", 3, extra={"kind": "start"})
    (event,) = configured()
    assert (event["event"], event["request_id"], event["kind"]) == ("waited 3 s", "r1", "start")
    assert (event["level"], event["logger"]) == ("warning", "relay")


def test_a_workflows_record_names_its_order(configured: Events) -> None:
    details = {"workflow_id": "appointment/A1", "workflow_type": "X", "attempt": 1, "run_id": "…"}
    log = logging.getLogger("temporalio.workflow")
    log.warning("reminder not sent", extra={"temporal_workflow": details})
    (event,) = configured()
    assert event["event"] == "reminder not sent"
    assert event["workflow_id"] == "appointment/A1"
    assert event["order_no"] == "A1"
    assert "temporal_workflow" not in event


async def _log_in_an_activity() -> None:
    activity.logger.info("recorded")


@pytest.mark.anyio
async def test_an_activitys_record_names_its_workflow(configured: Events) -> None:
    await ActivityEnvironment().run(_log_in_an_activity)
    (event,) = configured()
    assert event["event"] == "recorded"  # without Temporal's details in the text
    assert event["workflow_id"] == "test"
    assert event["activity_type"]


def test_a_payments_workflow_is_no_order(configured: Events) -> None:
    details = {"workflow_id": "payment/P1"}
    logging.getLogger("x").warning("x", extra={"temporal_activity": details})
    (event,) = configured()
    assert event["payment_no"] == "P1"
    assert "order_no" not in event


def test_sensitive_fields_are_masked_wherever_they_stand(configured: Events) -> None:
    canary = "13900001111"
    fields = {"phone": canary, "id_card": canary, "idCard": canary, "Authorization": canary}
    log = structlog.get_logger()
    log.info("a", **fields, name=canary, password=canary, code=canary)
    log.info("b", request={"headers": {"authorization": canary}, "people": [{"phone": canary}]})
    logging.getLogger("x").info("c", extra={"phone": canary})
    structlog.contextvars.bind_contextvars(phone=canary)
    log.info("d", status=404)
    events = configured()
    assert canary not in json.dumps(events)
    assert [event["event"] for event in events] == ["a", "b", "c", "d"]
    assert events[1]["request"] == {
        "headers": {"authorization": "***"},
        "people": [{"phone": "***"}],
    }
    assert events[3]["status"] == 404


@dataclass
class Person:
    label: str


def test_a_value_that_is_no_json_is_shown_without_its_fields(configured: Events) -> None:
    structlog.get_logger().info("x", person=Person("13900001111"), people={"a": [Person("1390")]})
    (event,) = configured()
    assert event["person"] == "<Person>"
    assert event["people"] == {"a": ["<Person>"]}


CANARY = "".join(["139", "0000", "1111"])


class Form(BaseModel):
    age: int


def break_in_many_ways() -> None:
    """One behind another, and several at once."""
    try:
        try:
            Form.model_validate({"age": CANARY + "岁"})
        except ValidationError as error:
            error.add_note(CANARY)
            raise ZeroDivisionError(CANARY) from error
    except ZeroDivisionError as error:
        raise ExceptionGroup(CANARY, [error, KeyError(CANARY)])  # noqa: B904 - the other way


@pytest.mark.parametrize("format", ["json", "console"])
def test_an_exception_is_in_its_event_by_type_and_frames(format: str) -> None:
    stream = io.StringIO()
    log = logging.Logger("x")
    log.addHandler(log_handler(format, "worker", stream))
    try:
        break_in_many_ways()
    except ExceptionGroup:
        log.exception("it broke")
    text = stream.getvalue()
    assert CANARY not in text
    for kind in ("ExceptionGroup", "KeyError", "ZeroDivisionError", "ValidationError"):
        assert kind in text
    assert "in break_in_many_ways" in text
    if format == "json":
        assert "Traceback" in json.loads(text)["exception"]


def test_an_exception_as_a_value_or_an_argument_is_told_by_its_kind(configured: Events) -> None:
    error = ValueError(CANARY)
    structlog.get_logger("a").warning("not sent", error=error)
    structlog.get_logger("a").warning("not sent: %s", error)
    logging.getLogger("b").warning("not sent: %s, %s", error, error)
    logging.getLogger("b").warning("not sent: %(why)s", {"why": error})
    logging.getLogger("b").warning("not sent", extra={"why": error})
    events = configured()
    assert CANARY not in json.dumps(events)
    assert [event["event"] for event in events[1:4]] == [
        "not sent: ValueError",
        "not sent: ValueError, ValueError",
        "not sent: ValueError",
    ]
    assert (events[0]["error"], events[4]["why"]) == ("ValueError", "ValueError")


def test_a_task_that_nobody_awaits_says_nothing_either(configured: Events) -> None:
    async def breaks() -> None:
        raise ValueError(CANARY)

    async def lose_a_task() -> None:
        await asyncio.wait({asyncio.create_task(breaks())})
        gc.collect()

    asyncio.run(lose_a_task())
    (event,) = configured()
    assert event["event"] == "Task exception was never retrieved"
    assert "ValueError" in event["exception"]
    assert CANARY not in json.dumps(event)


def test_a_traceback_that_comes_as_a_text_keeps_its_frames(configured: Events) -> None:
    try:
        break_in_many_ways()
    except ExceptionGroup:
        logging.getLogger("uvicorn.error").error(traceback.format_exc())
    (event,) = configured()
    assert "in break_in_many_ways" in event["event"]
    assert CANARY not in event["event"]


def test_a_record_that_cannot_be_written_is_told_without_its_arguments() -> None:
    stream = io.StringIO()
    log = logging.Logger("x")
    log.addHandler(log_handler("json", "worker", stream))
    log.warning("%d", CANARY)
    assert stream.getvalue() == "a record of x was not written: TypeError\n"


def test_what_takes_the_process_down_is_an_event(configured: Events) -> None:
    error = ValueError(CANARY)
    sys.excepthook(ValueError, error, error.__traceback__)
    (event,) = configured()
    assert (event["event"], event["level"]) == ("process_broke", "critical")
    assert CANARY not in json.dumps(event)


def test_access_logs_and_requests_of_libraries_are_off(
    configured: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A uvicorn that another test ran in this process may have left its own level here.
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "level", logging.NOTSET)
    logging.getLogger("uvicorn.error").manager._clear_cache()
    logging.getLogger("uvicorn.access").info("GET /patients?name=x")
    logging.getLogger("httpx").info("HTTP Request: GET https://sms.example/x")
    logging.getLogger("twilio.http_client").info("POST Request: …")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert [event["event"] for event in configured()] == ["Started server process"]


def test_warnings_are_events(configured: Events) -> None:
    logging.getLogger("py.warnings").warning("old")
    assert configured()[0]["logger"] == "py.warnings"


def test_configuring_twice_leaves_one_handler(configured: Events) -> None:
    configure_logs("json", "api-1")
    configure_logs("json", "api-1")
    assert len(logging.getLogger().handlers) == 1
