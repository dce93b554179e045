"""Which workflows the nightly look asks for; what Temporal answers is in `test_schedules.py`."""

from db.resume import UNFINISHED
from runtime.lifecycles import LOADERS
from runtime.workflows_seen import QUERY, TYPES
from workers.serve import WORKFLOWS
from workflows.message import MessageWorkflow
from workflows.reconciliation import ReconciliationWorkflow


def test_every_lifecycle_that_has_rows_is_asked_for() -> None:
    """One that is not makes each of its open rows a suspect, every night."""
    without_rows = {MessageWorkflow, ReconciliationWorkflow}
    assert sorted(one.__name__ for one in WORKFLOWS if one not in without_rows) == TYPES
    assert {f"'{kind}'" in UNFINISHED for kind in LOADERS} == {True}
    assert all(f"'{one}'" in QUERY for one in TYPES)
