"""Turns whatever goes wrong into a problem document: never a stack trace, never another's data."""

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from api.context import context_of
from api.problems import FieldError, Problem, answer
from db.keyring import Shredded

log = structlog.get_logger(__name__)

BY_STATUS = {
    400: "malformed",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}
PLACES = ("body", "query", "path", "header", "cookie")


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(InterfaceError, _database_away)
    app.add_exception_handler(PoolTimeout, _database_away)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(psycopg.Error, _driver_error)
    app.add_exception_handler(Shredded, _shredded)
    app.add_exception_handler(Exception, _fault)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return answer(request, error)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    """422 with each field as the client wrote it. The value sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    if any(wrong["type"] == "json_invalid" for wrong in error.errors()):
        return answer(request, Problem("malformed"))
    fields = [FieldError(_field(wrong["loc"]), wrong["msg"]) for wrong in error.errors()]
    return answer(request, Problem("invalid", errors=fields))


def _field(location: tuple[int | str, ...]) -> str:
    parts = location[1:] if location and location[0] in PLACES else location
    return ".".join(str(part) for part in parts) or "body"


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return answer(request, Problem(BY_STATUS.get(error.status_code, "malformed")))


async def _shredded(request: Request, error: Exception) -> JSONResponse:
    """What was written about somebody whose key was thrown away is not there any more."""
    log.warning("shredded", path=request.scope["path"])
    return answer(request, Problem("not_found"))


async def _database_away(request: Request, error: Exception) -> JSONResponse:
    log.warning("database_away", error=type(error).__name__)
    return answer(request, Problem("unavailable", retry_after=2))


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)
    if error.connection_invalidated:
        return await _database_away(request, error)
    return await _by_cause(request, error, error.orig)


async def _driver_error(request: Request, error: Exception) -> JSONResponse:
    """Where SQLAlchemy is not between, which lets go of all that broke together."""
    if isinstance(error, psycopg.OperationalError):
        await context_of(request).direct.check()
    return await _by_cause(request, error, error)


async def _by_cause(
    request: Request, error: Exception, cause: BaseException | None
) -> JSONResponse:
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return await _database_away(request, error)
    if isinstance(cause, psycopg.DataError):
        # A number beyond bigint, a NUL in a text: nothing has such an id.
        return answer(request, Problem("invalid", errors=[_out_of_range(request)]))
    return await _fault(request, error)


def _out_of_range(request: Request) -> FieldError:
    """Bodies are refused for a NUL before; of path and query only PostgreSQL minds."""
    for name, value in (*request.path_params.items(), *request.query_params.items()):
        if "\0" in str(value):
            return FieldError(name, "must not contain a NUL character")
    return FieldError("body", "out of range")


async def _fault(request: Request, error: Exception) -> JSONResponse:
    # The error's own text may hold values of the request; its type and place are enough to look.
    log.error("fault", error=type(error).__name__, path=request.scope["path"], exc_info=error)
    return answer(request, Problem("internal"))
