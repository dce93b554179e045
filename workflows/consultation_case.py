"""How a consultation moves on, whoever or whatever moves it: one row, one version, one message."""

from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.consultation import ConsultationActivities
    from domain.consultation import (
        Ask,
        Case,
        ConsultationMove,
        ConsultationStatus,
        Progress,
        Reason,
        refusal,
    )
    from domain.consultation.changes import come_to_nothing
    from domain.message import Template
    from domain.order import SYSTEM, Actor
    from workflows.finishing import finish
    from workflows.options import DB_WRITE
    from workflows.telling import tell, tell_doctor


class OpenCase:
    """What every step of `ConsultationWorkflow` is made of."""

    case: Case
    progress: Progress

    def _check(self, ask: Ask, **asked: Any) -> None:
        code = refusal(ask, self.case, self.progress, **asked)
        if code:
            raise ApplicationError(code, str(self.progress.status), type="NotAllowed")

    async def _move(
        self, event: str, *, by: Actor = SYSTEM, note_id: int | None = None, **changes: Any
    ) -> None:
        # Before the first await, so that the next validator already sees it.
        before = self.progress
        after = replace(before, version=before.version + 1, **changes)
        self.progress = after
        move = ConsultationMove(
            order_no=self.case.order_no,
            version=after.version,
            event=event,
            from_status=before.status,
            to_status=after.status,
            at=workflow.now(),
            actor_role=by.role,
            actor_id=by.id,
            reason=after.reason,
            progress=after,
            note_id=note_id,
        )
        await finish(
            workflow.execute_activity_method(
                ConsultationActivities.record_consultation, move, **DB_WRITE
            )
        )

    async def _end(
        self,
        status: ConsultationStatus,
        event: str,
        reason: Reason,
        by: Actor = SYSTEM,
        note_id: int | None = None,
    ) -> ConsultationStatus:
        await self._move(event, by=by, note_id=note_id, status=status, reason=reason)
        return status

    async def _come_to_nothing(
        self, event: str, reason: Reason, by: Actor = SYSTEM, note_id: int | None = None
    ) -> ConsultationStatus:
        return await self._end(come_to_nothing(self.progress), event, reason, by, note_id)

    async def _tell(self, template: Template) -> None:
        await finish(tell(self.case.order_no, template, version=self.progress.version))

    async def _tell_doctor(self, template: Template, doctor_id: int | None = None) -> None:
        to = doctor_id or self.progress.doctor_id
        if to is not None:
            version = self.progress.version
            await finish(tell_doctor(self.case.order_no, template, to, version=version))
