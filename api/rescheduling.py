"""Another slot for an appointment: because the patient wants one, or the clinic was called off."""

from typing import Any

from api.appointment_orders import APPOINTMENTS
from api.context import Context, CurrentCaller, InContext
from api.documented import refusals
from api.idempotency import Once, OnceOnly
from api.orders import COMMANDED, Asked
from api.problems import Problem
from api.routing import Router
from api.schemas.appointment import AppointmentOrder
from api.schemas.paging import Id
from api.schemas.stop import ChooseAfterStop, Reschedule, StopChoice
from domain.access import Action
from workflows.commands import Command as ByPerson
from workflows.commands import Reschedule as ToSlot

router = Router(prefix="/appointments", tags=["appointments"])

SLOT = refusals(
    "not_authenticated", "forbidden", "not_found", "not_allowed", "invalid", "slot_full",
    "slot_begun", "schedule_unavailable", "not_open_yet", "not_offered", "already_booked",
    "daily_limit", "booking_refused", "same_slot", "price_differs", "late_reschedule",
    "idempotency_mismatch", "try_again", "unavailable",
)  # fmt: skip


@router.post(
    "/{id}/reschedule",
    summary="Move to another slot at the same price",
    response_model=AppointmentOrder,
    responses=SLOT,
)
async def reschedule(
    id: Id, wanted: Reschedule, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """Until the deadline for cancelling. The same order; nothing is paid again. A refusal leaves
    everything as it was."""
    order, capacity = await APPOINTMENTS.opened(context, caller, id, Action.RESCHEDULE)
    arg = ToSlot(ByPerson(capacity, caller.account_id), wanted.schedule_id)
    asked = Asked(Action.RESCHEDULE, "reschedule", arg)
    return await APPOINTMENTS.ask(context, caller, order, capacity, asked, once)


@router.post(
    "/{id}/stop-choice",
    summary="After the clinic was called off: another slot, or the money",
    response_model=AppointmentOrder,
    responses=SLOT | COMMANDED,
)
async def choose_after_stop(
    id: Id, wanted: ChooseAfterStop, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """Until `chooseBy`; then the money goes back by itself. An operator chooses for a patient who
    stands at the desk."""
    order, capacity = await APPOINTMENTS.opened(context, caller, id, Action.CHOOSE)
    by = ByPerson(capacity, caller.account_id)
    if wanted.choice is StopChoice.RESCHEDULE and wanted.schedule_id is not None:
        arg = ToSlot(by, wanted.schedule_id)
        asked = Asked(Action.CHOOSE, "reschedule", arg)
    else:
        asked = Asked(Action.CHOOSE, "cancel", by)
    # Whoever took another slot has nothing to choose any more, and may ask again under the key.
    if order.choose_by is None and not await _answered(context, once):
        raise Problem("not_allowed", orderStatus=order.status)
    return await APPOINTMENTS.ask(context, caller, order, capacity, asked, once)


async def _answered(context: Context, once: OnceOnly) -> bool:
    async with context.engine.connect() as connection:
        return await once.done_before(connection)
