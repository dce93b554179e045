"""An order that waits for a member of staff, as the lifecycles with approvals do."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.work_item import NewWorkItem, Outcome
    from workflows.work_item import decided


@workflow.defn
class WaitingOrder:
    def __init__(self) -> None:
        self.voided = False

    @workflow.run
    async def run(self, new: NewWorkItem) -> Outcome | None:
        waiting = asyncio.create_task(decided(new))
        await workflow.wait_condition(lambda: self.voided or waiting.done())
        if not self.voided:
            return await waiting
        waiting.cancel()
        await workflow.wait([waiting])
        return None

    @workflow.signal
    def void(self) -> None:
        self.voided = True
