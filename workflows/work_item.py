"""One piece of work that waits for a member of staff, from its opening to the decision.

It waits on the queue of its role, so that Temporal's web UI shows every waiting human by queue.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.work_item import Change, WorkItemActivities
    from domain.order import SYSTEM, Actor
    from domain.work_item import (
        NewWorkItem,
        Outcome,
        Progress,
        Step,
        WorkItem,
        WorkItemMove,
        WorkItemStart,
        WorkItemStatus,
        claim_refusal,
        decide_refusal,
        next_timer,
        reassign_refusal,
        release_refusal,
    )
    from workflows.commands import Decide, Reassign, StaffCommand
    from workflows.finishing import finish
    from workflows.operators import Waiting, show
    from workflows.options import DB_WRITE, DB_WRITE_ELSEWHERE
    from workflows.queues import staff_queue
    from workflows.telling import send

S = WorkItemStatus
LOOK_AGAIN = timedelta(minutes=1)


@workflow.defn
class WorkItemWorkflow:
    @workflow.init
    def __init__(self, start: WorkItemStart) -> None:
        self.item = start.item
        self.progress = start.progress

    @workflow.run
    async def run(self, start: WorkItemStart) -> Outcome:
        try:
            while self.progress.status.open:
                await self._wait()
        except (asyncio.CancelledError, ActivityError) as error:
            if not is_cancelled_exception(error):
                raise
            await self._end_by_operator()
        show(self.progress.status, None)
        with suppress(asyncio.CancelledError):  # too late: what was decided stays so
            await finish(workflow.wait_condition(workflow.all_handlers_finished))
        return outcome_of(self.progress)

    async def _wait(self) -> None:
        """Until somebody does something, or the next timer does."""
        timer = next_timer(self.item, self.progress)
        show(self.progress.status, _waiting(self.item, self.progress))
        version = self.progress.version
        try:
            await workflow.wait_condition(
                lambda: self.progress.version != version,
                timeout=max(timer.at - workflow.now(), timedelta(0)) if timer else None,
                timeout_summary=timer.step if timer else None,
            )
        except TimeoutError:
            # Somebody may have come with the same task.
            if timer and self.progress.version == version:
                await self._on(timer.step)

    async def _on(self, step: Step) -> None:
        if step is Step.ESCALATE:
            await self._move("escalated", SYSTEM, escalated=True)
        else:
            await self._move(
                "expired", SYSTEM, "deadline", status=S.EXPIRED, decision=self.item.at_deadline
            )

    # What staff ask for (updates), and what a machine reports (a signal)

    @workflow.update
    async def claim(self, command: StaffCommand) -> WorkItemStatus:
        """The holder's claim renews the lease."""
        return await self._claim("claimed", command.actor, command.account_id)

    @claim.validator
    def check_claim(self, command: StaffCommand) -> None:
        self._allow(
            claim_refusal(
                self.item, self.progress, command.role, command.account_id, workflow.now()
            )
        )

    @workflow.update
    async def release(self, command: StaffCommand) -> WorkItemStatus:
        return await self._move(
            "released", command.actor, status=S.OPEN, claimed_by=None, lease_until=None
        )

    @release.validator
    def check_release(self, command: StaffCommand) -> None:
        self._allow(
            release_refusal(self.progress, command.role, command.account_id, workflow.now())
        )

    @workflow.update
    async def reassign(self, reassign: Reassign) -> WorkItemStatus:
        """Whoever it is given to has it for a lease, as if they had claimed it."""
        return await self._claim("reassigned", reassign.by.actor, reassign.account_id)

    @reassign.validator
    def check_reassign(self, reassign: Reassign) -> None:
        self._allow(reassign_refusal(self.item, self.progress, reassign.account_id))

    @workflow.update
    async def decide(self, decide: Decide) -> WorkItemStatus:
        return await self._move(
            "decided",
            decide.by.actor,
            decide.decision,
            status=S.DECIDED,
            decision=decide.decision,
            claimed_by=decide.by.account_id,
            lease_until=None,
        )

    @decide.validator
    def check_decide(self, decide: Decide) -> None:
        by, now = decide.by, workflow.now()
        self._allow(
            decide_refusal(self.item, self.progress, by.role, by.account_id, now, decide.decision)
        )

    @workflow.signal
    async def withdraw(self) -> None:
        """What was to be decided has come right by itself."""
        if self.progress.status.open:
            await self._move("withdrawn", SYSTEM, "resolved", status=S.CANCELLED)

    # How it is done

    def _allow(self, refusal: str | None) -> None:
        if refusal:
            raise ApplicationError(refusal, str(self.progress.status), type="NotAllowed")

    async def _claim(self, event: str, by: Actor, account_id: int) -> WorkItemStatus:
        until = workflow.now() + self.item.lease
        return await self._move(
            event, by, status=S.CLAIMED, claimed_by=account_id, lease_until=until
        )

    async def _move(
        self, event: str, by: Actor, reason: str = "", **changes: Any
    ) -> WorkItemStatus:
        # Before the first await, so that the next validator already sees it.
        before = self.progress
        after = replace(before, version=before.version + 1, **changes)
        self.progress = after
        move = WorkItemMove(
            order_no=self.item.number,
            version=after.version,
            event=event,
            from_status=before.status,
            to_status=after.status,
            at=workflow.now(),
            actor_role=by.role,
            actor_id=by.id,
            reason=reason,
            claimed_by=after.claimed_by,
            lease_until=after.lease_until,
            escalated=after.escalated,
            decision=after.decision,
        )
        await finish(self._record(move))
        return after.status

    async def _record(self, move: WorkItemMove) -> None:
        news = await workflow.execute_activity_method(
            WorkItemActivities.record_work_item,
            Change(move, self.item.kind, self.item.subject),
            **DB_WRITE_ELSEWHERE,
        )
        if news is not None:
            await send(news)

    async def _end_by_operator(self) -> None:
        """*Cancel* in Temporal's web UI, or by the order that needs no decision any more."""
        if self.progress.status.open:
            await self._move("cancel", SYSTEM, "terminated", status=S.CANCELLED)


def outcome_of(progress: Progress) -> Outcome:
    decided_by = progress.claimed_by if progress.status is S.DECIDED else None
    return Outcome(progress.status, progress.decision, decided_by)


def _waiting(item: WorkItem, progress: Progress) -> Waiting:
    """For whom: after an escalation, for the one it was escalated to."""
    whom = (progress.escalated and item.escalates_to) or item.role
    timer = next_timer(item, progress)
    if timer is None:
        return Waiting(whom, None, "nothing happens by itself")
    if timer.step is Step.ESCALATE and item.escalates_to is item.role:
        return Waiting(whom, timer.at, "they are reminded")
    if timer.step is Step.ESCALATE:
        return Waiting(whom, timer.at, f"it is escalated to {item.escalates_to}")
    return Waiting(whom, timer.at, f"it expires ({item.at_deadline or 'undecided'})")


# For the order that waits


async def decided(new: NewWorkItem) -> Outcome:
    """Have a member of staff decide, and wait for it. Called by the order's own workflow; name a
    round. Cancel the task when the decision is not needed any more: its row is cancelled with it.

    An order that begins again finds its work item where it stands, decided ones too.
    """
    while True:
        start = await workflow.execute_activity_method(
            WorkItemActivities.open_work_item, new, **DB_WRITE
        )
        if not start.progress.status.open:
            return outcome_of(start.progress)
        with suppress(WorkflowAlreadyStartedError):  # begun by a command after the order was lost
            return await workflow.execute_child_workflow(
                WorkItemWorkflow.run,
                start,
                id=f"work_item/{start.item.number}",
                task_queue=staff_queue(start.item.role),
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                static_summary=f"{new.kind} of {new.subject}",
            )
        await workflow.sleep(LOOK_AGAIN)
