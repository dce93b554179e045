"""A person's command on an order: one way for every lifecycle.

Allowed? → asked before? → an update of its workflow, known by caller, order, action and key → the
row as it now is. The workflow decides; this only carries the question and translates the answer.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from activities.lifecycles import NoLifecycle
from api.context import Context
from api.idempotency import OnceOnly
from api.problems import Problem
from domain.access import Action, Caller, Capacity, Stake, Verdict, acting_as, capacities, judge

ACCEPT_WITHIN = timedelta(seconds=5)
FINISH_WITHIN = timedelta(seconds=10)
Rules = dict[Action, frozenset[Capacity]]


@dataclass(frozen=True)
class Command:
    """What is asked of which workflow. `arg` holds ids and codes only."""

    kind: str
    order_no: str
    action: Action
    update: str
    arg: object


def allow(caller: Caller, rules: Rules, action: Action, stake: Stake) -> Capacity:
    """The capacity in which the caller acts. Problem `not_found` or `forbidden`."""
    held = capacities(caller, stake)
    match judge(rules, action, held):
        case Verdict.HIDDEN:
            raise Problem("not_found")
        case Verdict.FORBIDDEN:
            raise Problem("forbidden")
    return acting_as(rules, action, held)


async def carry_out(
    context: Context,
    caller: Caller,
    command: Command,
    once: OnceOnly,
    *,
    note_down: Callable[[AsyncConnection], Awaitable[None]],
    status_now: Callable[[], Awaitable[str]],
    answer: Callable[[], Awaitable[Any]],
    location: str,
) -> Any:
    """`answer()` once the command is done; 202 with `location` when it is accepted and late.

    `note_down` writes that it was asked, unless this very request was answered before.
    Raises Problem with the workflow's refusal, or `try_again` when the outcome is unknown.
    """
    async with context.engine.begin() as connection:
        done = await once.done_before(connection)
        if not done:
            await note_down(connection)
    if done:
        return await answer()
    handle = await _ask(context, command, _update_id(caller, command, once), status_now)
    try:
        await asyncio.wait_for(handle.result(), FINISH_WITHIN.total_seconds())
    except WorkflowUpdateFailedError as error:
        raise _refusal(error) from None
    except (TimeoutError, RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
        return _accepted(location)
    async with context.engine.begin() as connection:
        await once.done(connection, command.order_no)
    return await answer()


async def _ask(
    context: Context,
    command: Command,
    update_id: str | None,
    status_now: Callable[[], Awaitable[str]],
) -> WorkflowUpdateHandle[Any]:
    asking = context.lifecycles.command(
        command.kind,
        command.order_no,
        command.update,
        command.arg,
        result=str,
        update_id=update_id,
    )
    try:
        return await asyncio.wait_for(asking, ACCEPT_WITHIN.total_seconds())
    except WorkflowUpdateFailedError as error:
        raise _refusal(error) from None
    except NoLifecycle:
        raise Problem("not_allowed", orderStatus=await status_now()) from None
    except (TimeoutError, RPCError, RuntimeError, WorkflowUpdateRPCTimeoutOrCancelledError):
        # RuntimeError is what a client says that never connected.
        raise Problem("try_again", retry_after=2) from None


def _refusal(error: WorkflowUpdateFailedError) -> Problem:
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type == "NotAllowed":
        if cause.message == "schedule_unknown":
            return Problem("not_found")
        return Problem(cause.message, orderStatus=cause.details[0])
    return Problem("internal")


def _update_id(caller: Caller, command: Command, once: OnceOnly) -> str | None:
    """The same command under the same key is one update, whichever process carries it."""
    if once.key is None:
        return None
    parts = (str(caller.account_id), command.order_no, command.action, command.update, once.key)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _accepted(location: str) -> Response:
    return JSONResponse(
        {"status": "accepted", "location": location}, 202, headers={"Location": location}
    )
