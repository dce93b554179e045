"""What Prometheus reads from us: names begin with `hospital_`; durations are seconds.

Several API processes answer on one port, so a scrape reaches any of them and would see that one's
numbers alone, different at every scrape. Prometheus' multiprocess mode solves this: with
PROMETHEUS_MULTIPROC_DIR in the environment *before the process starts* (the library looks when it
is imported), every process keeps its numbers in files there, and each scrape adds all of them up.
The parent calls `clear_shared` before it starts its children: files of an earlier run would count
on, and one written by another version could not be read.

Labels are codes and route templates. Never a path: it holds ids, and their number has no bound.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector

from domain.access import Role
from runtime.settings import SettingsError
from workflows.queues import staff_queue

SHARED = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One per process, made in its entry point."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._http = Histogram(
            "hospital_http_request_seconds",
            "HTTP requests by route template, method and status.",
            ("route", "method", "status"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._bookings = Counter(
            "hospital_bookings",
            "Bookings asked for, by outcome: booked, or the code of the refusal.",
            ("outcome",),
            registry=registry,
        )
        # Every process that measures these sees the same table: the newest measurement counts.
        self._outbox_waiting = Gauge(
            "hospital_outbox_waiting",
            "Messages in the outbox that Temporal does not have yet.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._outbox_oldest = Gauge(
            "hospital_outbox_oldest_seconds",
            "Age of the oldest message in the outbox; 0 when it is empty.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._work_items = Gauge(
            "hospital_work_item_oldest_seconds",
            "Age of the oldest work item that nobody holds, by queue and kind; 0 when none.",
            ("queue", "kind"),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._work_waited = set[tuple[str, str]]()
        self._reconciled = Gauge(
            "hospital_reconciliation_age_seconds",
            "Since bills and books were last compared to the end.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._messages = Counter(
            "hospital_messages",
            "Messages to patients by channel and outcome.",
            ("channel", "outcome"),
            registry=registry,
        )
        self._payments = Counter(
            "hospital_payments", "Payments by outcome.", ("outcome",), registry=registry
        )
        self._forged = Counter(
            "hospital_forged_callbacks",
            "Callbacks whose signature is wrong, by whose they claim to be; only so many an hour of"
            " an address are audited, the others counted here alone.",
            ("source", "outcome"),
            registry=registry,
        )
        self._relayed = Counter(
            "hospital_relay_starts",
            "Outbox messages handed to Temporal, by outcome.",
            ("outcome",),
            registry=registry,
        )

    def http(self, route: str, method: str, status: int, seconds: float) -> None:
        """`route` is the template (`/appointments/{order_no}`)."""
        self._http.labels(route, method, status).observe(seconds)

    def booking(self, outcome: str) -> None:
        self._bookings.labels(outcome).inc()

    def outbox(self, waiting: int, oldest_seconds: float) -> None:
        self._outbox_waiting.set(waiting)
        self._outbox_oldest.set(oldest_seconds)

    def work_items(self, oldest: Mapping[tuple[str, str], float]) -> None:
        """Seconds by role and kind. What is not in it any more waits no longer."""
        self._work_waited |= oldest.keys()
        for role, kind in self._work_waited:
            self._work_items.labels(staff_queue(Role(role)), kind).set(oldest.get((role, kind), 0))

    def reconciled(self, seconds_ago: float) -> None:
        self._reconciled.set(seconds_ago)

    def message(self, channel: str, outcome: str) -> None:
        self._messages.labels(channel, outcome).inc()

    def payment(self, outcome: str) -> None:
        self._payments.labels(outcome).inc()

    def forged_callback(self, source: str, outcome: str) -> None:
        self._forged.labels(source, outcome).inc()

    def relay_start(self, outcome: str) -> None:
        self._relayed.labels(outcome).inc()


def render(registry: CollectorRegistry) -> tuple[bytes, str]:
    """The body of a scrape and its content type; of all processes when they share a directory."""
    if os.environ.get(SHARED):
        registry = CollectorRegistry()
        # Reads the files of every process. It wants a registry of its own: in the process's own
        # one each number would be there twice.
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


@contextmanager
def served(registry: CollectorRegistry, address: str | None) -> Iterator[None]:
    """Ours at `http://<host:port>/metrics`, for a process that answers no HTTP else.

    Raises SettingsError when the address cannot be bound.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError, ValueError) as error:
        raise SettingsError(f"metrics cannot be served on {address}: {error}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def clear_shared(directory: Path) -> None:
    """Make the directory, without the numbers of an earlier run."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
