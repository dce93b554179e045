"""What an API process writes when a route breaks: everything but what somebody sent."""

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from api import errors
from runtime.logs import configure_logs
from tests.support.gateway import serve

pytestmark = pytest.mark.anyio

CANARY = "林小满 13900001111"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The logs as in an API process; afterwards as before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(uvicorn.Config, "configure_logging", lambda self: None)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "level", logging.NOTSET)
    configure_logs("json", "api")
    yield stderr
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


class Person(BaseModel):
    age: int


def breaking() -> FastAPI:
    app = FastAPI()
    errors.install(app)

    @app.post("/break")
    async def break_(body: dict[str, Any]) -> None:
        try:
            Person.model_validate(body)
        except ValueError as error:
            raise RuntimeError(f"not a person: {body}") from error

    return app


async def test_a_fault_is_logged_by_type_and_frames_and_never_by_its_text(
    written: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serve(breaking()) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/break", json={"age": CANARY})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    logs = written.getvalue()
    for word in (CANARY, *CANARY.split()):
        assert word not in logs + "".join(capfd.readouterr())
    # Ours, and uvicorn's of the same: Starlette raises it once more.
    for said in (
        '"event": "fault"',
        "Exception in ASGI application",
        "in break_",
        "ValidationError",
    ):
        assert said in logs
