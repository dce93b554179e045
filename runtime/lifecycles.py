"""Speaks to the workflow of an order: starts it from its row, signals it, asks it by update.

Not started yet, running, or lost: the caller need not know. Only a closed row has no workflow.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.lifecycles import NoLifecycle
from activities.message import Outgoing
from db.appointment import load_starts
from db.consultation import load_consultations
from db.payment import load_payment_start
from db.stop_clinic import load_stops
from db.work_item import load_work_items
from domain.appointment import AppointmentStart
from domain.consultation import ConsultationStart, next_step
from domain.hospital import HospitalConfig
from domain.payment import PaymentStart
from domain.reconciliation import ReconciliationStart
from domain.stop_clinic import StopStart
from domain.work_item import WorkItemStart, next_timer
from runtime.build import BUILD
from workflows.queues import LIFECYCLES, staff_queue
from workflows.search import (
    BUILD_IDS,
    DEPARTMENT_ID,
    DOCTOR_ID,
    DUE_AT,
    ORDER_STATUS,
    WAITING_FOR,
)

REUSE = WorkflowIDReusePolicy
# As the server would write it after the first task, of a worker without versioning.
BY_THIS_BUILD = SearchAttributePair(BUILD_IDS, ["unversioned", f"unversioned:{BUILD}"])


@dataclass(frozen=True)
class Start:
    """All that Temporal needs to begin a lifecycle."""

    workflow: str
    id: str
    arg: Any
    reuse: WorkflowIDReusePolicy
    search: list[SearchAttributePair[Any]] = field(default_factory=list)
    summary: str | None = None
    task_queue: str = LIFECYCLES

    @property
    def options(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "task_queue": self.task_queue,
            "id_reuse_policy": self.reuse,
            "search_attributes": TypedSearchAttributes([*self.search, BY_THIS_BUILD]),
            "static_summary": self.summary,
        }


@dataclass(frozen=True)
class TemporalLifecycles:
    client: Client
    engine: AsyncEngine
    config: HospitalConfig

    # Starting

    async def starts_of(self, kind: str, subjects: list[str]) -> Mapping[str, Start]:
        """How each of these begins, from the rows as they stand. Closed ones are left out.

        A message is its own row: its fact says all.
        """
        if kind == "message":
            return {fact: _message(fact) for fact in subjects}
        if kind == "reconciliation":
            zone_name = self.config.hospital.time_zone
            return {day: _reconciliation(day, zone_name) for day in subjects}
        async with self.engine.connect() as connection:
            return await LOADERS[kind](connection, subjects, self.config)

    async def start(self, start: Start) -> None:
        """Begin a lifecycle. One that is there already is left alone.

        Eager: a worker of this same client gets the first task with the answer, without a queue.
        """
        try:
            await self.client.start_workflow(
                start.workflow, start.arg, **start.options, request_eager_start=True
            )
        except WorkflowAlreadyStartedError:
            return

    # Speaking

    async def tell(self, kind: str, subject: str, signal: str, args: object | None = None) -> None:
        """Signal, starting from the row if need be. NoLifecycle when the row is closed."""
        start = await self._start_of(kind, subject)
        try:
            await self.client.start_workflow(
                start.workflow,
                start.arg,
                **start.options,
                start_signal=signal,
                start_signal_args=[] if args is None else [args],
            )
        except WorkflowAlreadyStartedError:
            # It ended between our look at the row and the signal; the next look sees that.
            raise NoLifecycle(subject) from None

    async def tell_if_running(self, id: str, signal: str, args: object) -> bool:
        """Signal, or False when there is no such workflow any more."""
        try:
            await self.client.get_workflow_handle(id).signal(signal, args)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def ask(
        self,
        kind: str,
        subject: str,
        update: str,
        args: object | None = None,
        *,
        result: type,
        update_id: str | None = None,
    ) -> Any:
        """Ask by update and wait for the answer, however long it takes."""
        handle = await self.command(kind, subject, update, args, result=result, update_id=update_id)
        return await handle.result()

    async def command(
        self,
        kind: str,
        subject: str,
        update: str,
        args: object | None = None,
        *,
        result: type,
        update_id: str | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """An update that was accepted: from then on it is done whatever happens here.

        Asked again under the same `update_id` it has the first answer, also when that closed the
        row. Raises NoLifecycle when the row is closed, WorkflowUpdateFailedError when refused.
        """
        try:
            start = await self._start_of(kind, subject)
        except NoLifecycle:
            return await self.asked_before(kind, subject, result, update_id)
        operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            start.workflow,
            start.arg,
            **start.options,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        try:
            return await self.client.start_update_with_start_workflow(
                update,
                args=[] if args is None else [args],
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                id=update_id,
                result_type=result,
                start_workflow_operation=operation,
            )
        except WorkflowAlreadyStartedError:
            return await self.asked_before(kind, subject, result, update_id)
        finally:
            # Its own future holds the same error, and complains when nobody looks at it.
            with suppress(Exception):
                await asyncio.wait_for(operation.workflow_handle(), 0)

    async def asked_before(
        self, kind: str, subject: str, result: type, update_id: str | None
    ) -> WorkflowUpdateHandle[Any]:
        """The same command of a process that died before it could say what became of it: done, or
        refused by its handler (WorkflowUpdateFailedError). NoLifecycle when nothing was kept."""
        if update_id is None:
            raise NoLifecycle(subject)
        workflow = self.client.get_workflow_handle(f"{kind}/{subject}")
        handle = workflow.get_update_handle(update_id, result_type=result)
        try:
            await handle.result()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NoLifecycle(subject) from None
            raise
        return handle

    async def _start_of(self, kind: str, subject: str) -> Start:
        start = (await self.starts_of(kind, [subject])).get(subject)
        if start is None:
            raise NoLifecycle(subject)
        return start


# How each kind is loaded from its rows. Closed ones are left out.


async def _appointments(
    connection: AsyncConnection, numbers: list[str], config: HospitalConfig
) -> Mapping[str, Start]:
    found = await load_starts(connection, numbers, ZoneInfo(config.hospital.time_zone))
    return {no: _appointment(start) for no, start in found.items() if start.has_work}


async def _consultations(
    connection: AsyncConnection, numbers: list[str], config: HospitalConfig
) -> Mapping[str, Start]:
    """Refunded ones too: one that was lost before it promised the money back does so then."""
    found = await load_consultations(connection, numbers)
    return {no: _consultation(start) for no, start in found.items() if _has_work(start)}


def _has_work(start: ConsultationStart) -> bool:
    return start.progress.status.open or start.progress.status == "refunded"


async def _stops(
    connection: AsyncConnection, numbers: list[str], config: HospitalConfig
) -> Mapping[str, Start]:
    found = await load_stops(connection, numbers)
    return {no: _stop(start) for no, start in found.items() if start.status != "done"}


async def _work_items(
    connection: AsyncConnection, numbers: list[str], config: HospitalConfig
) -> Mapping[str, Start]:
    found = await load_work_items(connection, numbers)
    return {no: _work_item(start) for no, start in found.items() if start.progress.status.open}


async def _payments(
    connection: AsyncConnection, numbers: list[str], config: HospitalConfig
) -> Mapping[str, Start]:
    """Closed ones too: late news and refunds begin them again."""
    policy = config.policies.payment
    found = [await load_payment_start(connection, no, policy) for no in numbers]
    return {start.payment_no: _payment(start) for start in found if start}


LOADERS = {
    "appointment": _appointments,
    "consultation": _consultations,
    "payment": _payments,
    "stop_clinic": _stops,
    "work_item": _work_items,
}

# How each begins.


def _appointment(start: AppointmentStart) -> Start:
    booking = start.booking
    search: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ORDER_STATUS, str(start.status)),
        SearchAttributePair(DEPARTMENT_ID, booking.department_id),
        SearchAttributePair(DOCTOR_ID, booking.doctor_id),
    ]
    if start.status == "pending":
        search.append(SearchAttributePair(WAITING_FOR, "payment"))
        search.append(SearchAttributePair(DUE_AT, booking.pay_by))
    return Start(
        "AppointmentWorkflow",
        f"appointment/{booking.order_no}",
        start,
        REUSE.ALLOW_DUPLICATE_FAILED_ONLY,  # again only if it was terminated, never if it ended
        search,
        f"Appointment for {booking.starts_at:%Y-%m-%d %H:%M}",
    )


def _consultation(start: ConsultationStart) -> Start:
    case, progress = start.case, start.progress
    search: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ORDER_STATUS, str(progress.status)),
        SearchAttributePair(DEPARTMENT_ID, case.department_id),
    ]
    if progress.status.open:
        due = next_step(case, progress)
        search.append(SearchAttributePair(WAITING_FOR, due.waiting_for))
        search.append(SearchAttributePair(DUE_AT, due.at))
    if progress.doctor_id is not None:
        search.append(SearchAttributePair(DOCTOR_ID, progress.doctor_id))
    return Start(
        "ConsultationWorkflow",
        f"consultation/{case.order_no}",
        start,
        REUSE.ALLOW_DUPLICATE_FAILED_ONLY,
        search,
        f"{case.type.capitalize()} consultation, {case.way}",
    )


def _payment(start: PaymentStart) -> Start:
    search: list[SearchAttributePair[Any]] = [SearchAttributePair(ORDER_STATUS, str(start.status))]
    if start.status == "pending":
        search.append(SearchAttributePair(WAITING_FOR, "payment"))
        search.append(SearchAttributePair(DUE_AT, start.settle_at))
    return Start(
        "PaymentWorkflow",
        f"payment/{start.payment_no}",
        start,
        REUSE.ALLOW_DUPLICATE,  # late news and refunds begin it again from its row
        search,
        f"Payment of order {start.order_no}",
    )


def _stop(start: StopStart) -> Start:
    return Start(
        "StopClinicWorkflow",
        f"stop_clinic/{start.stop_no}",
        start,
        REUSE.ALLOW_DUPLICATE_FAILED_ONLY,
        [
            SearchAttributePair(ORDER_STATUS, str(start.status)),
            SearchAttributePair(WAITING_FOR, "appointments"),
            SearchAttributePair(DUE_AT, start.call_off.choose_by),
        ],
        "A session called off",
    )


def _message(fact: str) -> Start:
    """Raises ValueError when it is not a fact."""
    message = Outgoing.of_fact(fact)
    return Start(
        "MessageWorkflow",
        f"message/{fact}",
        message,
        REUSE.REJECT_DUPLICATE,  # a fact is told once
        summary=message.template,
    )


def _reconciliation(day: str, zone: str) -> Start:
    """By hand. Raises ValueError when it is no day."""
    return Start(
        "ReconciliationWorkflow",
        f"reconciliation/{day}",
        ReconciliationStart(zone, date.fromisoformat(day)),
        REUSE.ALLOW_DUPLICATE,  # what is filed is not filed again
        [SearchAttributePair(ORDER_STATUS, "running"), SearchAttributePair(WAITING_FOR, "bill")],
        f"{day}, compared with the gateways' bills",
    )


def _work_item(start: WorkItemStart) -> Start:
    item, progress = start.item, start.progress
    waits_for = (progress.escalated and item.escalates_to) or item.role
    search: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ORDER_STATUS, str(progress.status)),
        SearchAttributePair(WAITING_FOR, str(waits_for)),
    ]
    timer = next_timer(item, progress)
    if timer is not None:
        search.append(SearchAttributePair(DUE_AT, timer.at))
    return Start(
        "WorkItemWorkflow",
        f"work_item/{item.number}",
        start,
        REUSE.ALLOW_DUPLICATE_FAILED_ONLY,
        search,
        f"{item.kind} of {item.subject}",
        staff_queue(item.role),
    )
