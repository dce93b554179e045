"""How an order has its patient, or a doctor, told something."""

from datetime import datetime

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from activities.message import Outgoing
from domain.message import Template
from workflows.queues import LIFECYCLES

MESSAGE_WORKFLOW = "MessageWorkflow"  # by name: its file belongs into its own sandbox


async def tell(
    subject: str, template: Template, due: datetime | None = None, *, version: int | None = None
) -> None:
    """Send a message about an order on its own: what becomes of it cannot hold up the order.

    The same fact (`<subject>:<template>:<due>`) is told once, however often this runs. What may
    happen again within a minute is told by the order's `version` instead.
    """
    fact = f"{subject}:{template}" + (f":{due:%Y%m%dT%H%MZ}" if due else "")
    fact += f":{version}" if version is not None else ""
    await send(Outgoing(fact, subject, template, due))


async def tell_doctor(order_no: str, template: Template, doctor_id: int, *, version: int) -> None:
    """The same for a doctor, about an order that needs them."""
    fact = f"{order_no}:{template}:d{doctor_id}:{version}"
    await send(Outgoing(fact, order_no, template, doctor_id=doctor_id))


async def send(message: Outgoing) -> None:
    """The same for a message that is made out already."""
    try:
        await workflow.start_child_workflow(
            MESSAGE_WORKFLOW,
            message,
            id=f"message/{message.fact}",
            task_queue=LIFECYCLES,  # whatever queue this order waits on
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            static_summary=message.template,
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("told before")
