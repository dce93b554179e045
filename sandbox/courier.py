"""Brings the events to the merchant, until it says 2xx or every attempt is used up."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import httpx

from activities.gateways.sandbox_payment import callback_path
from activities.gateways.sandbox_wire import Signer
from sandbox.money import end_due_refunds
from sandbox.store import Store, StoreError, instant, stamp

# Fast at first, so that a merchant who restarts notices little; about a day in all.
RETRY_DELAYS = tuple(
    timedelta(seconds=s)
    for s in (
        *(0.5, 1, 2, 4, 8, 15, 30, 60, 180, 600, 1200, 1800, 1800, 3600),
        *(10800, 10800, 10800, 21600, 21600),
    )
)
_AT_ONCE = 50
_LOOK_AGAIN = timedelta(seconds=30)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    id: int
    event_id: str
    due_at: datetime
    attempts: int
    url: str
    body: bytes


@dataclass(frozen=True)
class Courier:
    """One task (`run`) for the life of the gateway; `wake` it when something new is due.

    A delivery stays due in the file until its answer is noted: whatever is in flight when the
    process dies is sent again, with the same event id.
    """

    store: Store
    signer: Signer
    http: httpx.AsyncClient
    clock: Callable[[], datetime]
    retry_delays: tuple[timedelta, ...]
    _woken: asyncio.Event

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        in_flight: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                self._woken.clear()
                wait = await self._round(in_flight)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), wait.total_seconds())
        finally:
            for task in in_flight.values():
                task.cancel()
            await asyncio.gather(*in_flight.values(), return_exceptions=True)

    async def _round(self, in_flight: dict[int, asyncio.Task[None]]) -> timedelta:
        """Send off what is due; how long until the next is."""
        now = self.clock()
        try:
            deliveries = await asyncio.to_thread(self._undelivered, now, 2 * _AT_ONCE)
            next_refund = await asyncio.to_thread(self._next_refund)
        except Exception:
            # Whatever it was: a courier that has ended would lose every later callback in silence.
            log.exception("the sandbox gateway cannot read what is due")
            return timedelta(seconds=1)
        wait = _LOOK_AGAIN if next_refund is None else next_refund - now
        for delivery in deliveries:
            if delivery.id in in_flight:
                continue
            if delivery.due_at > now:
                wait = min(wait, delivery.due_at - now)
                break
            if len(in_flight) == _AT_ONCE:
                break  # the next one that ends wakes us
            in_flight[delivery.id] = task = asyncio.create_task(self._deliver(delivery))
            task.add_done_callback(partial(self._landed, in_flight, delivery.id))
        return max(timedelta(0), min(wait, _LOOK_AGAIN))

    def _landed(
        self, in_flight: dict[int, asyncio.Task[None]], number: int, _: asyncio.Task[None]
    ) -> None:
        in_flight.pop(number, None)
        self.wake()

    async def _deliver(self, delivery: Delivery) -> None:
        path = callback_path(delivery.url)
        headers = self.signer.headers("POST", path, delivery.body, self.clock())
        try:
            response = await self.http.post(
                delivery.url,
                content=delivery.body,
                headers={**headers, "content-type": "application/json"},
            )
            told = "ok" if response.is_success else f"status_{response.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            told = type(e).__name__
        log.info("callback %s attempt %d: %s", delivery.event_id, delivery.attempts + 1, told)
        try:
            await asyncio.to_thread(self._note, delivery, told == "ok")
        except (sqlite3.Error, StoreError):
            log.exception("the sandbox gateway cannot note a delivery")
            await asyncio.sleep(1)  # it stays due: not at full speed

    def _undelivered(self, now: datetime, limit: int) -> list[Delivery]:
        with self.store.transaction() as db:
            end_due_refunds(db, now)
            rows = db.execute(
                "SELECT id, event_id, due_at, attempts, url, body"
                " FROM delivery JOIN event USING (event_id)"
                " WHERE state = 'due' ORDER BY due_at, id LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Delivery(
                id=row["id"],
                event_id=row["event_id"],
                due_at=instant(row["due_at"]),
                attempts=row["attempts"],
                url=row["url"],
                body=row["body"].encode(),
            )
            for row in rows
        ]

    def _next_refund(self) -> datetime | None:
        with self.store.transaction() as db:
            (ends_at,) = db.execute(
                "SELECT min(ends_at) FROM refund WHERE state = 'pending' AND ends_at IS NOT NULL"
            ).fetchone()
        return None if ends_at is None else instant(ends_at)

    def _note(self, delivery: Delivery, delivered: bool) -> None:
        attempts = delivery.attempts + 1
        state, due_at = "delivered", delivery.due_at
        if not delivered and attempts > len(self.retry_delays):
            state = "given_up"
        elif not delivered:
            state, due_at = "due", self.clock() + self.retry_delays[attempts - 1]
        with self.store.transaction() as db:
            db.execute(
                "UPDATE delivery SET state = ?, attempts = ?, due_at = ? WHERE id = ?",
                (state, attempts, stamp(due_at), delivery.id),
            )


def courier_http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=httpx.Timeout(10, connect=3), trust_env=False)
