"""What calling a session off does to the world."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.lifecycles import Lifecycles, NoLifecycle
from db.stop_clinic import (
    count_open,
    mark_affected,
    next_to_call_off,
    record_failing,
    record_stop_move,
)
from domain.order import Move
from domain.stop_clinic import Called, CallOff


@dataclass(frozen=True)
class Batch:
    """The appointments of a stop that come after row `after`."""

    stop_no: str
    after: int
    limit: int


@dataclass(frozen=True)
class Calling:
    stop_no: str
    order_no: str
    call_off: CallOff


@dataclass(frozen=True)
class Failing:
    """The orders that could not be told so far."""

    stop_no: str
    order_nos: tuple[str, ...]


@dataclass(frozen=True)
class StopClinicActivities:
    engine: AsyncEngine
    lifecycles: Lifecycles

    @activity.defn
    async def next_to_call_off(self, batch: Batch) -> list[Called]:
        async with self.engine.begin() as connection:
            # The API does it too, unless it died in between. Each time: an API that is not up to
            # date yet leaves no rows of its own.
            await mark_affected(connection, batch.stop_no)
            return await next_to_call_off(connection, batch.stop_no, batch.after, batch.limit)

    @activity.defn
    async def call_off_order(self, calling: Calling) -> None:
        """Have one appointment called off. One that has ended by itself is left alone; one whose
        start still waits in the outbox is begun by this. A repeat is the same update."""
        try:
            await self.lifecycles.ask(
                "appointment",
                calling.order_no,
                "call_off",
                calling.call_off,
                result=str,
                update_id=calling.stop_no,
            )
        except NoLifecycle:
            return

    @activity.defn
    async def record_failing(self, failing: Failing) -> None:
        async with self.engine.begin() as connection:
            await record_failing(connection, failing.stop_no, failing.order_nos)

    @activity.defn
    async def count_open_orders(self, stop_no: str) -> int:
        async with self.engine.connect() as connection:
            return await count_open(connection, stop_no)

    @activity.defn
    async def record_stop(self, move: Move) -> None:
        async with self.engine.begin() as connection:
            await record_stop_move(connection, move)
