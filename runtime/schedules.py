"""What Temporal begins by itself, day by day."""

from dataclasses import replace
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from domain.hospital import HospitalConfig
from domain.reconciliation import ReconciliationStart
from workflows.queues import LIFECYCLES

RECONCILIATION = "reconciliation"  # the schedule's id, and what its workflows' ids begin with
CATCH_UP = timedelta(days=3)


def reconciliation_schedule(config: HospitalConfig) -> Schedule:
    """Daily at `policies.payment.reconcile_at`. Days that were missed while Temporal was away are
    made up one after another: skipped, their money would never be compared."""
    at, zone = config.policies.payment.reconcile_at, config.hospital.time_zone
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "ReconciliationWorkflow",
            ReconciliationStart(zone),
            id=RECONCILIATION,
            task_queue=LIFECYCLES,
            static_summary="The day before, compared with the gateways' bills",
        ),
        spec=ScheduleSpec(
            calendars=[
                ScheduleCalendarSpec(
                    hour=[ScheduleRange(at.hour)], minute=[ScheduleRange(at.minute)]
                )
            ],
            time_zone_name=zone,
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL, catchup_window=CATCH_UP),
    )


async def keep_schedules(client: Client, config: HospitalConfig) -> None:
    """Make the schedule, or bring it up to date. Several processes may do so at once; one that an
    operator paused stays paused.

    What is as it should be is not touched: an update forgets the times that were missed.
    """
    wanted = reconciliation_schedule(config)
    try:
        await client.create_schedule(RECONCILIATION, wanted)
        return
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(RECONCILIATION)
    standing = (await handle.describe()).schedule
    if _when(standing) == _when(wanted):
        return

    async def changed(found: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(replace(wanted, state=found.description.schedule.state))

    await handle.update(changed)


def _when(schedule: Schedule) -> tuple[object, ...]:
    spec = schedule.spec
    times = [
        (hour.start, minute.start)
        for calendar in spec.calendars
        for hour in calendar.hour
        for minute in calendar.minute
    ]
    policy = schedule.policy
    return times, spec.time_zone_name, policy.overlap, policy.catchup_window
