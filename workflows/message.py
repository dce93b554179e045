"""One message to one patient: in-app at once, then one way after another until it arrives."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.message import MessageActivities, Outgoing, Plan, Sending
    from domain.message import Channel
    from workflows.commands import DeliveryReceipt
    from workflows.options import DB_WRITE, MESSAGE


@workflow.defn
class MessageWorkflow:
    @workflow.init
    def __init__(self, message: Outgoing) -> None:
        self.receipts: dict[str, bool] = {}  # by channel: whether it arrived

    @workflow.run
    async def run(self, message: Outgoing) -> str:
        """The channel by which it arrived, or `in_app` when no other way did."""
        plan: Plan = await workflow.execute_activity_method(
            MessageActivities.plan_message, message, **DB_WRITE
        )
        await self._send(message, Channel.IN_APP)
        for channel in plan.channels:
            if await self._arrives(message, channel, plan.receipt_timeout):
                return channel
        return Channel.IN_APP

    async def _arrives(self, message: Outgoing, channel: Channel, patience: timedelta) -> bool:
        receipt_expected = await self._send(message, channel)
        if receipt_expected is None:
            return False
        if not receipt_expected:
            return True
        try:
            await workflow.wait_condition(
                lambda: channel in self.receipts, timeout=patience, timeout_summary="receipt due"
            )
        except TimeoutError:
            return False
        return self.receipts[channel]

    async def _send(self, message: Outgoing, channel: Channel) -> bool | None:
        """Whether a receipt is to be expected; None when this way is closed."""
        try:
            expected: bool = await workflow.execute_activity_method(
                MessageActivities.send_message, Sending(message, channel), **MESSAGE
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("not sent by %s", channel)
            return None
        return expected

    @workflow.signal
    def receipt(self, receipt: DeliveryReceipt) -> None:
        self.receipts[receipt.channel] = receipt.delivered
