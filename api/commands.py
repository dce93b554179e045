"""A person's command on an order: one way for every lifecycle.

Allowed? → asked before? → an update of its workflow, known by caller, order, action, key, body and
attempt → the row as it now is. The workflow decides; this only carries the question and translates
the answer.

Temporal keeps what became of an update under its id: a success, and also a refusal by the handler
(`slot_full`, which only a transaction can tell), but none by the validator. So that a refusal is
judged anew under the same Idempotency-Key, the id holds how many attempts were refused *and kept*.

- Nothing is done twice: attempt n + 1 is asked only after Temporal has kept that n was refused,
  which means that nothing changed and that n can succeed no more. What is unknown, late or failed
  otherwise is asked for again as n; so is what the validator refused, since a request that is
  still on its way may yet succeed as n.
- The same request at the same time is one update: both read the same number. One that read it just
  before a refusal was noted gets that refusal, as if it had come first.
- Who dies between a refusal and its note has told nobody: who repeats the request hears that
  refusal, for the first time.
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
        attempt = await once.attempt(connection)
        if not done:
            await note_down(connection)
    if done:
        return await answer()
    update_id = _update_id(caller, command, once, attempt)
    try:
        handle = await _ask(context, command, update_id, status_now)
        await asyncio.wait_for(handle.result(), FINISH_WITHIN.total_seconds())
    except WorkflowUpdateFailedError as error:
        if _refused(error) and await _keeps(context, command, update_id):
            async with context.engine.begin() as connection:
                await once.refused(connection, attempt)
        raise _problem(error) from None
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
    except NoLifecycle:
        raise Problem("not_allowed", orderStatus=await status_now()) from None
    except (TimeoutError, RPCError, RuntimeError, WorkflowUpdateRPCTimeoutOrCancelledError):
        # RuntimeError is what a client says that never connected.
        raise Problem("try_again", retry_after=2) from None


async def _keeps(context: Context, command: Command, update_id: str | None) -> bool:
    """Whether the update can succeed no more. While nobody answers: not that we know."""
    asking = context.lifecycles.asked_before(command.kind, command.order_no, str, update_id)
    try:
        await asyncio.wait_for(asking, ACCEPT_WITHIN.total_seconds())
    except WorkflowUpdateFailedError:
        return True
    except (NoLifecycle, TimeoutError, RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
        pass
    return False


def _refused(error: WorkflowUpdateFailedError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.type == "NotAllowed"


def _problem(error: WorkflowUpdateFailedError) -> Problem:
    cause = error.cause
    if isinstance(cause, ApplicationError) and _refused(error):
        if cause.message == "schedule_unknown":
            return Problem("not_found")
        return Problem(cause.message, orderStatus=cause.details[0])
    return Problem("internal")


def _update_id(caller: Caller, command: Command, once: OnceOnly, attempt: int) -> str | None:
    """The same attempt at the same request is one update, whichever process carries it."""
    if once.key is None:
        return None
    who_and_what = (str(caller.account_id), command.order_no, command.action, command.update)
    parts = (*who_and_what, once.key, once.body_hash.hex(), str(attempt))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _accepted(location: str) -> Response:
    return JSONResponse(
        {"status": "accepted", "location": location}, 202, headers={"Location": location}
    )
