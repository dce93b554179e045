"""Runs workers: which code answers which task queue."""

import argparse
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.appointment import AppointmentActivities
from activities.consultation import ConsultationActivities
from activities.message import MessageActivities
from activities.payment import PaymentActivities
from activities.phone_call import PhoneCallActivities
from activities.reconciliation import ReconciliationActivities
from activities.stop_clinic import StopClinicActivities
from activities.work_item import WorkItemActivities
from db.appointment import BookingRules
from runtime.build import BUILD
from runtime.entry import Entry, enter, stop_on_signals
from runtime.garbage import settle_garbage
from runtime.gateways import open_email, open_payments, open_sms, open_video, open_voice
from runtime.lifecycles import TemporalLifecycles
from runtime.message_texts import load_message_texts
from runtime.metrics import served
from runtime.schedules import keep_schedules
from runtime.temporal import connect, metrics_runtime
from runtime.workflows_seen import TemporalWorkflowsSeen
from workflows.appointment import AppointmentWorkflow
from workflows.consultation import ConsultationWorkflow
from workflows.message import MessageWorkflow
from workflows.payment import PaymentWorkflow
from workflows.queues import GATEWAYS, LIFECYCLES, MESSAGES, SETTLEMENTS, STAFF
from workflows.reconciliation import ReconciliationWorkflow
from workflows.stop_clinic import StopClinicWorkflow
from workflows.work_item import WorkItemWorkflow

log = structlog.get_logger(__name__)

WORKFLOWS = [
    AppointmentWorkflow,
    ConsultationWorkflow,
    PaymentWorkflow,
    MessageWorkflow,
    StopClinicWorkflow,
    WorkItemWorkflow,
    ReconciliationWorkflow,
]
QUEUES = (LIFECYCLES, SETTLEMENTS, GATEWAYS, MESSAGES, *STAFF)
FEW_EARS = (SETTLEMENTS, GATEWAYS)
CACHED = 3000
GOODBYE = timedelta(seconds=10)  # that activities under way get at the end: a row's write, at most
MESSAGES_PER_SECOND = 50.0  # what providers usually bear; the queue waits, nothing is lost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", choices=[[], *QUEUES], default=[],
        help=f"task queues to answer: {', '.join(QUEUES)} (default: all)",
    )  # fmt: skip
    add_metrics_arguments(parser)


def add_metrics_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve Prometheus metrics here")
    parser.add_argument(
        "--temporal-metrics", metavar="HOST:PORT", help="and those of Temporal's SDK here"
    )


def main(args: argparse.Namespace) -> int:
    return uvloop.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    entry = enter("worker")
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(served(entry.metrics.registry, args.metrics))
        client = await connect(
            entry.settings.temporal,
            entry.keyring,
            lazy=False,
            runtime=metrics_runtime(args.temporal_metrics) if args.temporal_metrics else None,
            process="worker",
        )
        try:
            await keep_schedules(client, entry.config)
        except RPCError as error:  # orders go on all the same; the next start tries again
            log.error("schedules_not_kept", error=error.status.name)
        activities = open_activities(entry, client, stack)
        for queue in args.queues or list(QUEUES):
            await stack.enter_async_context(worker(client, queue, activities))
        settle_garbage()
        await stop.wait()
    return 0


Activities = dict[str, list[Callable[..., Any]]]


def open_activities(entry: Entry, client: Client, stack: AsyncExitStack) -> Activities:
    """Every activity by the queue that does it."""
    engine = entry.engine(pool_size=10)
    stack.push_async_callback(engine.dispose)
    lifecycles = TemporalLifecycles(client, engine, entry.config)
    appointments = AppointmentActivities(engine, BookingRules.of(entry.config))
    gateways = open_payments(entry.settings, entry.config, stack)
    payments = PaymentActivities(
        engine,
        gateways,
        lifecycles,
        ZoneInfo(entry.config.hospital.time_zone),
        entry.metrics.payment,
        entry.config.policies.payment.refund_retry_for,
        entry.config.policies.work_items,
    )
    consultations = ConsultationActivities(
        engine,
        entry.keyring,
        entry.config.hospital.id,
        entry.config.policies.consultation.seen_within,
        open_video(entry.settings, stack),
    )
    work_items = WorkItemActivities(
        engine, entry.config.hospital.id, entry.config.policies.work_items
    )
    messages = MessageActivities(
        engine,
        entry.keyring,
        entry.config,
        load_message_texts(entry.settings.config_path),
        open_sms(entry.settings, entry.config, stack),
        open_email(entry.settings, entry.config),
        entry.settings.public_url,
        entry.metrics.message,
    )
    phone_calls = PhoneCallActivities(
        engine,
        entry.keyring,
        entry.config.hospital.id,
        open_voice(entry.settings, entry.config, stack),
        entry.metrics.message,
    )
    stops = StopClinicActivities(engine, lifecycles)
    reconciliation = ReconciliationActivities(
        engine,
        entry.config.hospital.id,
        gateways,
        TemporalWorkflowsSeen(client),
        entry.config.policies.work_items,
    )
    return {
        LIFECYCLES: [
            appointments.record_appointment,
            appointments.record_appointment_extension,
            appointments.record_reschedule,
            appointments.find_suspension,
            consultations.record_consultation,
            consultations.next_to_ring,
            consultations.has_answered,
            consultations.doctor_came,
            payments.record_payment_move,
            payments.deliver_payment,
            payments.owe_refund,
            payments.refunds_to_make,
            payments.nothing_left,
            messages.plan_message,
            stops.next_to_call_off,
            stops.record_failing,
            stops.count_open_orders,
            stops.record_stop,
            work_items.open_work_item,
            work_items.record_work_item,
            reconciliation.channels_to_reconcile,
            reconciliation.give_up_bill,
            reconciliation.record_stopped_runs,
            reconciliation.find_suspects,
            reconciliation.file_suspects,
        ],
        SETTLEMENTS: [payments.settle_order, stops.call_off_order],
        GATEWAYS: [
            payments.ask_for_money,
            payments.close_payment,
            payments.make_refund,
            phone_calls.settle_call,
            reconciliation.reconcile_channel,
        ],
        MESSAGES: [messages.send_message, phone_calls.place_call],
    }


def workflows_of(queue: str) -> list[type]:
    if queue in STAFF:
        return [WorkItemWorkflow]
    return WORKFLOWS if queue == LIFECYCLES else []


def worker(client: Client, queue: str, activities: Activities) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows_of(queue),
        # The sandbox looks for what would break a replay; every path through a workflow has been
        # through it in the tests. Here it would be half the work of an order's first task.
        workflow_runner=UnsandboxedWorkflowRunner(),
        activities=activities.get(queue, []),
        # People are slow, and so is the world outside: their queues need few ears.
        max_concurrent_workflow_task_polls=2 if queue in STAFF else None,
        max_concurrent_activity_task_polls=2 if queue in FEW_EARS else None,
        max_task_queue_activities_per_second=MESSAGES_PER_SECOND if queue == MESSAGES else None,
        # Not `deployment_config`: that has the server write each workflow's line in the visibility
        # store again after its first task, a fifth of its work.
        build_id=BUILD,
        # The orders of a rush stay in memory until they are paid: about 0.1 MB each.
        max_cached_workflows=CACHED,
        graceful_shutdown_timeout=GOODBYE,
    )
