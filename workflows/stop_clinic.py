"""A session that is called off (停诊): every appointment is told, and each ends in its own way."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.stop_clinic import Batch, Calling, Failing, StopClinicActivities
    from domain.order import SYSTEM, Actor, Move
    from domain.stop_clinic import Called, StopStart, StopStatus
    from workflows.commands import Command
    from workflows.finishing import finish
    from workflows.operators import Waiting, show
    from workflows.options import DB_WRITE, TELL

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
        self.failing: dict[str, Called] = {}  # could not be told: tried again once all others were
        self.noted = start.failing  # of them, what the row says
        self.cancelled = False  # in the web UI

    @workflow.run
    async def run(self, start: StopStart) -> StopStatus:
        while self.status is not S.DONE:
            try:
                await self._go_on()
                await self._tell_all()
                await self._await_choices()
            except (asyncio.CancelledError, ActivityError) as error:
                if not is_cancelled_exception(error):
                    raise
                self.cancelled = True  # nobody is left with a visit that does not take place
        await workflow.wait_condition(workflow.all_handlers_finished)
        show(self.status, None)
        return self.status

    # The lifecycle, in order

    async def _go_on(self) -> None:
        """A pause ends with *Cancel* in the web UI."""
        if not self.cancelled or self.status is not S.PAUSED:
            return
        if workflow.patched("a-cancelled-pause-is-written"):
            await finish(self._move(S.RUNNING, "resume", SYSTEM))
        else:
            self.status = S.RUNNING

    async def _tell_all(self) -> None:
        """Every appointment of the session, in the order of booking. Begun again after a crash it
        goes through all of them: those who know are not told twice."""
        after = 0
        while not self.walked:
            if self.status is S.PAUSED:
                await self._await_operator()
            show(self.status, Waiting("appointments", self._choose_by, "the rest is refunded"))
            batch = await self._next(after)
            await finish(self._call_off_all(batch))
            self.told += len(batch)
            self.walked = not batch
            after = batch[-1].id if batch else after

    async def _await_operator(self) -> None:
        """Whoever paused it may forget it: before the first patient leaves home it goes on."""
        if not workflow.patched("a-pause-ends"):
            show(self.status, Waiting("operator", self._choose_by, "nothing before it goes on"))
            await workflow.wait_condition(lambda: self.status is not S.PAUSED)
            return
        until = self.start.resume_by or self._choose_by
        show(self.status, Waiting("operator", until, "it goes on by itself"))
        left = until - workflow.now()
        if left > timedelta(0):
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self.status is not S.PAUSED, timeout=left, timeout_summary="pause ends"
                )
        if self.status is S.PAUSED:
            await finish(self._move(S.RUNNING, "resume", SYSTEM))

    async def _await_choices(self) -> None:
        """Each order has its own deadline; this only looks whether the last of them has ended, and
        tells those who could not be told."""
        soon = SOON
        await self._note_failing()
        self._show_rest()
        while await self._count_open():
            left = self._choose_by - workflow.now()
            if left > timedelta(0) and not self.failing:
                pause = min(LOOK_AGAIN, left)
            else:  # most end at once, a refund that is stuck may take days
                pause, soon = soon, min(2 * soon, LOOK_AGAIN)
            await workflow.sleep(pause, summary="look again")
            await self._tell_failing()
            self._show_rest()
        self.failing.clear()
        await self._note_failing()
        await finish(self._move(S.DONE, "done", SYSTEM))

    async def _tell_failing(self) -> None:
        """One batch, and the next one while that helps: three hundred that fail every ten minutes
        would fill the history."""
        helps = True
        while helps and self.failing:
            batch = list(self.failing.values())[:AT_ONCE]
            for called in batch:
                del self.failing[called.order_no]  # whoever fails again comes behind the others
            await finish(self._call_off_all(batch))
            helps = any(called.order_no not in self.failing for called in batch)
        await self._note_failing()

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

    def _show_rest(self) -> None:
        if self.failing:
            some = ", ".join(sorted(self.failing)[:AT_ONCE])
            then = f"{len(self.failing)} that could not be told are tried again and again: {some}"
            show(self.status, Waiting("operator", self._choose_by, then))
        else:
            show(self.status, Waiting("patients", self._choose_by, "the rest is refunded"))

    async def _next(self, after: int) -> list[Called]:
        return await workflow.execute_activity_method(
            StopClinicActivities.next_to_call_off,
            Batch(self.start.stop_no, after, AT_ONCE),
            **DB_WRITE,
        )

    async def _call_off_all(self, batch: list[Called]) -> None:
        await asyncio.gather(*(self._call_off(called) for called in batch))

    async def _call_off(self, called: Called) -> None:
        """One that does not answer holds up nobody else."""
        try:
            await workflow.execute_activity_method(
                StopClinicActivities.call_off_order,
                Calling(self.start.stop_no, called.order_no, self.start.call_off),
                **TELL,
            )
        except ActivityError:
            self.failing[called.order_no] = called
        else:
            self.failing.pop(called.order_no, None)  # walked again, after a cancel

    async def _note_failing(self) -> None:
        """For those who ask how far it is."""
        failing = tuple(sorted(self.failing))
        if failing != self.noted:
            workflow.set_current_details("")  # they name them: said anew
            await workflow.execute_activity_method(
                StopClinicActivities.record_failing,
                Failing(self.start.stop_no, failing),
                **DB_WRITE,
            )
            self.noted = failing

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
