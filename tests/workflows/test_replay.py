"""What runs in hospitals now must go on under new code: every recorded history is replayed."""

import re

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


def lifecycle_of(workflow_type):
    """As its ids begin: `StopClinicWorkflow` is `stop_clinic/…`."""
    words = re.findall("[A-Z][a-z]+", workflow_type.__name__.removesuffix("Workflow"))
    return "_".join(words).lower()


@pytest.mark.parametrize("lifecycle", map(lifecycle_of, WORKFLOWS))
def test_every_lifecycle_has_recorded_histories(lifecycle):
    assert any(path.parent.name == lifecycle for path in RECORDED)
