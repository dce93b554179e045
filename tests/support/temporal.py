"""A Temporal whose clock skips: the months of a lifecycle in a second of ours."""

import asyncio
import itertools
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType, IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle, WorkflowHistory, WorkflowUpdateFailedError
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from runtime.lifecycles import Start
from workers.serve import WORKFLOWS, workflows_of
from workflows import search
from workflows.queues import LIFECYCLES
from workflows.search import DUE_AT, ORDER_STATUS, WAITING_FOR

HISTORIES = Path(__file__).parents[1] / "histories"
PATIENCE = 10.0  # real seconds until a test gives up waiting
NAME = "test"  # who started and worked, in recorded histories

TELLS = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
TOLD = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED
THOUGHT = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
# What a workflow may leave behind when it has thought, and that nobody works on.
RESTING = {
    EventType.EVENT_TYPE_TIMER_STARTED,
    EventType.EVENT_TYPE_TIMER_CANCELED,
    EventType.EVENT_TYPE_MARKER_RECORDED,
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED,
}

Activities = Mapping[str, list[Callable[..., Any]]]  # by task queue


@asynccontextmanager
async def skipping_clock(converter: DataConverter) -> AsyncIterator[WorkflowEnvironment]:
    """A test server of one's own (0.1 s): its clock is skipped by whoever waits, for everyone."""
    beside_python = str(Path(sys.executable).parent)
    server = shutil.which(
        "temporal-test-server", path=os.pathsep.join([beside_python, os.environ.get("PATH", "")])
    )
    assert server, "temporal-test-server is not installed; see the dev dependencies"
    env = await WorkflowEnvironment.start_time_skipping(
        data_converter=converter, identity=NAME, test_server_existing_path=server
    )
    async with env:
        await _register_search_attributes(env.client)
        yield env


async def _register_search_attributes(client: Client) -> None:
    # Not `runtime.temporal`'s: this server cannot list those that are there.
    # BuildIds is a real server's own; the test server has never heard of it.
    wanted = (*search.ALL, search.BUILD_IDS)
    kinds = {key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in wanted}
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
    )


@asynccontextmanager
async def working(
    client: Client, activities: Activities, staff: Sequence[str] = ()
) -> AsyncIterator[None]:
    """Workers for the queues, of staff's those that are named, with these activities instead of
    the real ones."""
    # A build id spares each worker the hashing of every loaded module.
    common: dict[str, Any] = {"identity": NAME, "build_id": NAME}
    workers = [
        Worker(
            client,
            task_queue=LIFECYCLES,
            workflows=WORKFLOWS,
            activities=activities[LIFECYCLES],
            **common,
        ),
    ]
    for queue in activities.keys() - {LIFECYCLES}:
        workers.append(Worker(client, task_queue=queue, activities=activities[queue], **common))
    for queue in staff:
        workers.append(Worker(client, task_queue=queue, workflows=workflows_of(queue), **common))
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
        yield


# What goes wrong


@dataclass
class Gate:
    """Holds an activity up until it is opened. The clock stands still meanwhile."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0  # so many came to it

    def open(self) -> None:
        self.opened.set()

    async def pass_through(self) -> None:
        self.held += 1
        self.entered.set()
        await self.opened.wait()


@dataclass
class Troubles:
    """What goes wrong with activities, by name, as a test says."""

    failures: Counter[str] = field(default_factory=Counter)  # so many times
    gates: dict[str, Gate] = field(default_factory=dict)

    def hold(self, name: str) -> Gate:
        gate = self.gates[name] = Gate()
        return gate

    async def meet(self) -> None:
        """Called first thing by every fake activity."""
        name = activity.info().activity_type
        if self.failures[name] > 0:
            self.failures[name] -= 1
            raise ConnectionError(name)
        if gate := self.gates.get(name):
            await gate.pass_through()


@dataclass
class Pausing(PayloadCodec):
    """A worker's codec that can hold a workflow task up where it reads or writes some words, so
    that what comes meanwhile meets the workflow all at once."""

    codec: PayloadCodec
    reads: dict[bytes, Gate] = field(default_factory=dict)
    writes: dict[bytes, Gate] = field(default_factory=dict)

    def at_reading(self, words: bytes) -> Gate:
        return self.reads.setdefault(words, Gate())

    def at_writing(self, words: bytes) -> Gate:
        return self.writes.setdefault(words, Gate())

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._pause(payloads, self.writes)
        return await self.codec.encode(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        opened = await self.codec.decode(payloads)
        await self._pause(opened, self.reads)
        return opened

    async def _pause(self, payloads: Sequence[Payload], gates: Mapping[bytes, Gate]) -> None:
        for words, gate in gates.items():
            if any(words in payload.data for payload in payloads):
                await gate.pass_through()


# Looking at a workflow from outside


@dataclass(frozen=True)
class Shown:
    """What operators see of a workflow."""

    status: str | None
    waiting_for: str | None
    due_at: datetime | None
    details: str


async def shown(handle: WorkflowHandle[Any, Any], client: Client) -> Shown:
    # Not `handle.describe()`: the test server keeps unset attributes as nulls, which that refuses.
    answer = await client.workflow_service.describe_workflow_execution(
        DescribeWorkflowExecutionRequest(
            namespace=client.namespace, execution=WorkflowExecution(workflow_id=handle.id)
        )
    )
    fields = answer.workflow_execution_info.search_attributes.indexed_fields
    values = {name: json.loads(sent.data) for name, sent in fields.items() if sent.data}
    due_at = values.get(DUE_AT.name)
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return Shown(
        values.get(ORDER_STATUS.name),
        values.get(WAITING_FOR.name),
        datetime.fromisoformat(due_at) if due_at else None,
        metadata.current_details,
    )


async def refusal_of(update: Awaitable[Any]) -> tuple[str | None, str, str]:
    """Type, code and the order's status of a command that must be refused."""
    try:
        done = await update
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        assert isinstance(cause, ApplicationError)
        return cause.type, cause.message, cause.details[0]
    raise AssertionError(f"not refused: {done}")


async def count_events(handle: WorkflowHandle[Any, Any], kind: "EventType.ValueType") -> int:
    return sum(event.event_type == kind for event in (await handle.fetch_history()).events)


def at_rest(history: WorkflowHistory) -> bool:
    """Whether a workflow waits for a timer alone, its messages gone."""
    kinds = [event.event_type for event in history.events]
    if THOUGHT not in kinds or kinds.count(TELLS) != kinds.count(TOLD):
        return False
    since = itertools.takewhile(lambda kind: kind != THOUGHT, reversed(kinds))
    return RESTING.issuperset(kind for kind in since if kind != TELLS)


async def soon(true: Callable[[], bool]) -> None:
    """Wait, in real time, until a fake has seen what it should."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 (fakes are plain, without events)
            await asyncio.sleep(0.005)


async def started(
    client: Client, start: Start, signal: str | None = None, arg: object = None
) -> WorkflowHandle[Any, Any]:
    """Begin a lifecycle as the relay does; `signal` comes with the start."""
    options = start.options
    if signal is not None:
        options |= {"start_signal": signal, "start_signal_args": [arg]}
    return await client.start_workflow(start.workflow, start.arg, **options)


async def sleep_until(env: WorkflowEnvironment, at: datetime) -> None:
    left = at - await env.get_current_time()
    if left > timedelta(0):
        await env.sleep(left)


# Recorded histories


def keep(history: WorkflowHistory, lifecycle: str, name: str) -> None:
    """Append-only: a recorded history is a workflow that may run somewhere now."""
    path = HISTORIES / lifecycle / f"{name}.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(json.loads(history.to_json()), separators=(",", ":")) + "\n")
