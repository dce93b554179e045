"""An order's money, as its workflow asks for it. PaymentWorkflow does what is asked."""

from decimal import Decimal

from temporalio import workflow

from activities.payment import OwedRefund, PaymentActivities
from domain.payment import RefundCause, Settlement
from workflows.finishing import finish
from workflows.options import DB_WRITE, SETTLE


async def settle(order_no: str) -> Settlement:
    """The last word: every payment of the order is settled or closed."""
    return await workflow.execute_activity_method(
        PaymentActivities.settle_order, order_no, **SETTLE
    )


async def owe_refund(payment_no: str, cause: RefundCause, share: Decimal = Decimal(1)) -> None:
    """Once per cause, however often it is asked; never more than came in."""
    owed = OwedRefund(payment_no, cause, share)
    await finish(workflow.execute_activity_method(PaymentActivities.owe_refund, owed, **DB_WRITE))
