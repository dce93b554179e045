"""A session that is called off (停诊): every appointment is told, and each ends in its own way."""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.stop_clinic import Batch, Calling, StopClinicActivities
    from domain.order import SYSTEM, Actor, Move
    from domain.stop_clinic import Called, StopStart, StopStatus
    from workflows.commands import Command
    from workflows.finishing import finish
    from workflows.operators import Waiting, show
    from workflows.options import DB_WRITE, SETTLE

S = StopStatus
AT_ONCE = 10  # appointments told at the same time
LOOK_AGAIN = timedelta(minutes=10)
SOON = timedelta(seconds=5)


@workflow.defn
class StopClinicWorkflow:
    @workflow.init
    def __init__(self, start: StopStart) -> None:
        self.start = start
        self.status = start.status
        self.version = start.version
        self.told = 0
        self.walked = False

    @workflow.run
    async def run(self, start: StopStart) -> StopStatus:
        while self.status is not S.DONE:
            try:
                await self._tell_all()
                await self._await_choices()
            except (asyncio.CancelledError, ActivityError) as error:
                if not is_cancelled_exception(error):
                    raise
                self.status = S.RUNNING  # nobody is left with a visit that does not take place
        await workflow.wait_condition(workflow.all_handlers_finished)
        show(self.status, None)
        return self.status

    # The lifecycle, in order

    async def _tell_all(self) -> None:
        """Every appointment of the session, in the order of booking. Begun again after a crash it
        goes through all of them: those who know are not told twice."""
        after = 0
        while not self.walked:
            if self.status is S.PAUSED:
                show(self.status, Waiting("operator", self._choose_by, "nothing before it goes on"))
                await workflow.wait_condition(lambda: self.status is not S.PAUSED)
            show(self.status, Waiting("appointments", self._choose_by, "the rest is refunded"))
            batch = await self._next(after)
            await finish(self._call_off_all(batch))
            self.told += len(batch)
            self.walked = not batch
            after = batch[-1].id if batch else after

    async def _await_choices(self) -> None:
        """Each order has its own deadline; this only looks whether the last of them has ended."""
        show(self.status, Waiting("patients", self._choose_by, "the rest is refunded"))
        late = SOON  # after the deadline: most end at once, a refund that is stuck may take days
        while await self._count_open():
            left = self._choose_by - workflow.now()
            if left > timedelta(0):
                pause = min(LOOK_AGAIN, left)
            else:
                pause, late = late, min(2 * late, LOOK_AGAIN)
            await workflow.sleep(pause, summary="look again")
        await self._move(S.DONE, "done", SYSTEM)

    # What operators ask for

    @workflow.update
    async def pause(self, command: Command) -> StopStatus:
        """No further patient is told. The session stays withdrawn."""
        await self._move(S.PAUSED, "pause", command.actor)
        return S.PAUSED

    @pause.validator
    def check_pause(self, command: Command) -> None:
        if self.status is not S.RUNNING or self.walked:
            raise ApplicationError("not_allowed", str(self.status), type="NotAllowed")

    @workflow.update
    async def resume(self, command: Command) -> StopStatus:
        await self._move(S.RUNNING, "resume", command.actor)
        return S.RUNNING

    @resume.validator
    def check_resume(self, command: Command) -> None:
        if self.status is not S.PAUSED:
            raise ApplicationError("not_allowed", str(self.status), type="NotAllowed")

    # How it is done

    @property
    def _choose_by(self) -> datetime:
        return self.start.call_off.choose_by

    async def _next(self, after: int) -> list[Called]:
        return await workflow.execute_activity_method(
            StopClinicActivities.next_to_call_off,
            Batch(self.start.stop_no, after, AT_ONCE),
            **DB_WRITE,
        )

    async def _call_off_all(self, batch: list[Called]) -> None:
        await asyncio.gather(*(self._call_off(called) for called in batch))

    async def _call_off(self, called: Called) -> None:
        await workflow.execute_activity_method(
            StopClinicActivities.call_off_order,
            Calling(self.start.stop_no, called.order_no, self.start.call_off),
            **SETTLE,
        )

    async def _count_open(self) -> int:
        return await workflow.execute_activity_method(
            StopClinicActivities.count_open_orders, self.start.stop_no, **DB_WRITE
        )

    async def _move(self, to: StopStatus, event: str, by: Actor) -> None:
        self.version += 1
        move = Move(
            order_no=self.start.stop_no,
            version=self.version,
            event=event,
            from_status=self.status,
            to_status=to,
            at=workflow.now(),
            actor_role=by.role,
            actor_id=by.id,
        )
        self.status = to
        await workflow.execute_activity_method(StopClinicActivities.record_stop, move, **DB_WRITE)
