"""Reconciliation (对账): each night the gateways' bills, and rows against workflows."""

import asyncio
from datetime import date, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.reconciliation import ChannelDay, NoBill, ReconciliationActivities
    from domain.reconciliation import ReconciliationStart, RunStatus, day_before
    from workflows.finishing import finish
    from workflows.operators import Waiting, show
    from workflows.options import BILL, DB_WRITE, LOOK

# The server's own: for when a schedule started this, however late that was.
SCHEDULED_FOR = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
SETTLED = timedelta(minutes=10)  # then what just began or ended shows as it is


@workflow.defn
class ReconciliationWorkflow:
    @workflow.run
    async def run(self, start: ReconciliationStart) -> int:
        """How many differences were filed. What a run before filed is not filed again."""
        day = start.day or _yesterday(start.zone)
        show(RunStatus.RUNNING, Waiting("bill", None, "it is compared with the books"))
        channels = await workflow.execute_activity_method(
            ReconciliationActivities.channels_to_reconcile, **DB_WRITE
        )
        comparing = asyncio.gather(
            self._rows(day), *(self._channel(channel, day) for channel in channels)
        )
        try:
            filed = await asyncio.shield(comparing)
        except (
            asyncio.CancelledError
        ):  # *Cancel* in the web UI; what is being compared ends with us
            await finish(self._stopped(day))
            raise
        show(RunStatus.DONE, None)
        return sum(filed)

    async def _stopped(self, day: date) -> None:
        show(RunStatus.STOPPED, None)
        await workflow.execute_activity_method(
            ReconciliationActivities.record_stopped_runs, day, **DB_WRITE
        )

    async def _channel(self, channel: str, day: date) -> int:
        try:
            return await workflow.execute_activity_method(
                ReconciliationActivities.reconcile_channel,
                ChannelDay(channel, day),
                **BILL,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await workflow.execute_activity_method(
                ReconciliationActivities.give_up_bill,
                NoBill(channel, day, _why(error)),
                **DB_WRITE,
            )
            return 1

    async def _rows(self, day: date) -> int:
        """Twice, some minutes apart: in between orders begin and end."""
        suspects = await workflow.execute_activity_method(
            ReconciliationActivities.find_suspects, day, **LOOK
        )
        if suspects:
            await workflow.sleep(SETTLED, summary="look again")
        return await workflow.execute_activity_method(
            ReconciliationActivities.file_suspects, suspects, **LOOK
        )


def _yesterday(zone: str) -> date:
    at = workflow.info().typed_search_attributes.get(SCHEDULED_FOR) or workflow.info().start_time
    return day_before(at, zone)


def _why(error: ActivityError) -> str:
    """A code: of the last attempt, when it was tried until the time was over."""
    cause: BaseException | None = error.cause
    while cause is not None and not isinstance(cause, ApplicationError):
        cause = cause.__cause__
    return cause.message if cause is not None and cause.type in ("NoBill", "BillNotOut") else "late"
