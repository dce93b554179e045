"""An audit as a prescription has it, and the people who may decide it, or not."""

from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import WorkflowHandle

from domain.access import Role
from domain.work_item import WorkItem
from workflows.commands import Decide, StaffCommand
from workflows.work_item import WorkItemWorkflow

MINUTE = timedelta(minutes=1)
LEASE = 15 * MINUTE
ANNE = StaffCommand(Role.PHARMACIST, 21)
BERT = StaffCommand(Role.PHARMACIST, 22)
CHIEF = StaffCommand(Role.CHIEF_PHARMACIST, 31)
OPERATOR = StaffCommand(Role.OPERATOR, 41)
DOCTOR_TOO = StaffCommand(Role.PHARMACIST, 51)  # who prescribed it
APPROVED = ("approved", "rejected")


def an_audit(now: datetime) -> WorkItem:
    """Escalated after half an hour, over after two."""
    return WorkItem(
        number="W-1",
        kind="audit",
        subject="RX-1",
        role=Role.PHARMACIST,
        decisions=APPROVED,
        lease=LEASE,
        excluded=(DOCTOR_TOO.account_id,),
        escalates_at=now + 30 * MINUTE,
        escalates_to=Role.CHIEF_PHARMACIST,
        due_at=now + 120 * MINUTE,
        at_deadline="not_audited",
    )


def decides(work: WorkflowHandle[Any, Any], by: StaffCommand) -> Awaitable[Any]:
    return work.execute_update(WorkItemWorkflow.decide, says(by))


def says(by: StaffCommand, decision: str = "approved") -> Decide:
    return Decide(by, decision)
