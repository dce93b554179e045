"""What runs in hospitals now must go on under new code: every recorded history is replayed."""

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from runtime.codec import data_converter
from tests.support.temporal import HISTORIES
from workers.serve import WORKFLOWS

pytestmark = pytest.mark.anyio

RECORDED = sorted(HISTORIES.glob("*/*.json"))


@pytest.fixture(scope="module")
def replayer(keyring):
    return Replayer(workflows=WORKFLOWS, data_converter=data_converter(keyring), build_id="test")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_history_is_replayed(replayer, path):
    history = WorkflowHistory.from_json(f"{path.parent.name}/replayed", path.read_text())
    await replayer.replay_workflow(history)


@pytest.mark.parametrize(
    "lifecycle", ["appointment", "payment", "message", "work_item", "reconciliation"]
)
def test_every_lifecycle_has_recorded_histories(lifecycle):
    assert any(path.parent.name == lifecycle for path in RECORDED)
