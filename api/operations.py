"""What operators do to any order: audited, with a reason, through the order's own workflow."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path

from api.appointments import COMMANDED, order_command
from api.commands import Command
from api.context import Context, CurrentCaller, InContext
from api.idempotency import Once
from api.problems import Problem
from api.schemas.appointment import AppointmentOrder, ExtendOrder, OperatorReason
from db.appointment import Appointment, find_order
from domain.access import Action, Caller, Capacity, Role
from workflows.commands import Command as ByPerson
from workflows.commands import Extend

router = APIRouter(prefix="/ops/orders", tags=["operations"])

OrderNo = Annotated[str, Path(alias="orderNo", min_length=1, max_length=64)]


@router.post(
    "/{orderNo}/extend",
    summary="Give an unpaid order more time",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def extend(
    order_no: OrderNo, wanted: ExtendOrder, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    """From its present deadline, at the latest until the slot begins."""
    order = await _order(context, caller, order_no)
    later = order.pay_by + timedelta(minutes=wanted.minutes)
    arg = Extend(ByPerson(Capacity.OPERATOR, caller.account_id), min(later, order.starts_at))
    command = Command("appointment", order_no, Action.EXTEND, "extend", arg)
    return await order_command(context, caller, order.id, command, once, wanted.reason)


@router.post(
    "/{orderNo}/cancel-and-refund",
    summary="Cancel an order and return all that was paid",
    response_model=AppointmentOrder,
    responses=COMMANDED,
)
async def cancel_and_refund(
    order_no: OrderNo, wanted: OperatorReason, caller: CurrentCaller, context: InContext, once: Once
) -> Any:
    order = await _order(context, caller, order_no)
    arg = ByPerson(Capacity.OPERATOR, caller.account_id)
    command = Command("appointment", order_no, Action.CANCEL_AND_REFUND, "cancel", arg)
    return await order_command(context, caller, order.id, command, once, wanted.reason)


async def _order(context: Context, caller: Caller, order_no: str) -> Appointment:
    """Problem `forbidden` for anybody but operators, whether or not there is such an order."""
    if Role.OPERATOR not in caller.roles:
        raise Problem("forbidden")
    async with context.engine.connect() as connection:
        order = await find_order(connection, context.hospital_id, order_no)
    if order is None:
        raise Problem("not_found")
    return order
