"""The masked phone call of a consultation: dialled, dialled again, and never left hanging."""

from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.phone_call import PhoneCallActivities, PlaceCall
    from domain.consultation import ConsultationStatus
    from domain.consultation.changes import call_ended, dialled, not_dialled, talk_limit
    from domain.order import Actor
    from domain.phone_call import CallEnded
    from workflows.consultation_case import OpenCase
    from workflows.options import DIAL, GATEWAY


class CallingCase(OpenCase):
    """What `ConsultationWorkflow` does when doctor and patient are to be rung."""

    async def _dial(self, by: Actor) -> None:
        await self._move("call", by=by, **dialled(self.case, self.progress, workflow.now()))
        p = self.progress
        place = PlaceCall(
            self.case.order_no,
            p.calls,
            p.doctor_account_id or 0,
            self.case.patient_id,
            talk_limit(self.case, p),
        )
        try:
            placed = await workflow.execute_activity_method(
                PhoneCallActivities.place_call, place, **DIAL
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._not_dialled(place.attempt)
            return
        if placed.refusal is not None:
            await self._not_dialled(place.attempt, redial_at=None)
        elif self._is_calling(place.attempt):
            self.progress = replace(self.progress, call_no=placed.call_no)

    async def _not_dialled(self, attempt: int, **changes: Any) -> None:
        if self._is_calling(attempt):
            failed = not_dialled(self.case, self.progress, workflow.now())
            await self._move("call_failed", **failed | changes)

    def _is_calling(self, attempt: int) -> bool:
        p = self.progress
        return (
            p.status is ConsultationStatus.CONSULTING
            and p.calling_until is not None
            and p.calls == attempt
        )

    async def _settle_call(self) -> None:
        """Nobody told how the call ended, and no call lasts that long."""
        p = self.progress
        ended = None
        if p.call_no is not None:
            ended = await workflow.execute_activity_method(
                PhoneCallActivities.settle_call, p.call_no, **GATEWAY
            )
        if ended is not None:
            await self._hear(ended)
        if self._is_calling(p.calls):
            await self._not_dialled(p.calls)

    async def _hear(self, ended: CallEnded) -> None:
        p = self.progress
        if self._is_calling(ended.attempt):
            changed = call_ended(self.case, p, ended, workflow.now())
            await self._move("call_ended", **changed)
