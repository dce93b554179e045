"""What an operator's *cancel* in Temporal's web UI must not cut off half done."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Its result. A cancellation that comes meanwhile is raised after the work is done.

    Without this a write that waits for its next attempt is dropped: the workflow would take for
    written what no row says.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
