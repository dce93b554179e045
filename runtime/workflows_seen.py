"""Which workflows of rows Temporal knows: for reconciliation, never for a screen."""

from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from runtime.lifecycles import LOADERS

# Those that have a row, and `<kind>/<number>` as their id: whatever is begun from one.
TYPES = sorted(f"{kind.title().replace('_', '')}Workflow" for kind in LOADERS)
QUERY = "ExecutionStatus = 'Running' and WorkflowType in ({})".format(
    ", ".join(f"'{one}'" for one in TYPES)
)


@dataclass(frozen=True)
class TemporalWorkflowsSeen:
    client: Client

    async def running(self) -> set[str]:
        """As the visibility store says, which lags behind."""
        return {found.id async for found in self.client.list_workflows(QUERY, page_size=1000)}

    async def runs(self, id: str) -> bool:
        """As it is now. The newest run of the id counts."""
        try:
            described = await self.client.get_workflow_handle(id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return described.status is WorkflowExecutionStatus.RUNNING
