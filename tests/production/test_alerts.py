"""Every figure that an alert asks for is one that our processes really show."""

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.service import RPCError
from temporalio.worker import Worker

from db.keyring import Keyring
from runtime.codec import data_converter
from runtime.embedded_temporal import free_port
from runtime.metrics import Metrics, served
from runtime.temporal import metrics_runtime
from tests.support.temporal import skipping_clock, soon
from workers.serve import worker
from workflows.queues import LIFECYCLES, MESSAGES

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "ops" / "prometheus"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def asked_for() -> set[str]:
    expressions = " ".join(rule["expr"] for rule in rules())
    return set(re.findall(r"\b(?:hospital|temporal)_\w+", expressions))


def shown_at(address: str) -> set[str]:
    body = httpx.get(f"http://{address}/metrics", trust_env=False).text
    return set(re.findall(r"^(\w+)[ {]", body, re.MULTILINE))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is away")
def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    promtool = ["promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")]
    done = subprocess.run(promtool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_is_the_matter_and_how_urgent_it_is() -> None:
    for rule in rules():
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in operations] == []


def test_our_own_figures_are_there_where_a_worker_and_the_relay_serve_them() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.http("/appointments", "GET", 500, 0.1)
    metrics.message("sms", "refused")
    metrics.payment("refund_failed")
    metrics.relay_start("failed")
    metrics.outbox(1, 1)
    metrics.work_items({("nurse", "red_flag"): 1})
    metrics.reconciled(1)
    address = f"127.0.0.1:{free_port()}"
    with served(registry, address):
        shown = shown_at(address)
    assert {name for name in asked_for() if name.startswith("hospital_")} - shown == set()


@workflow.defn(name="Fails", sandboxed=False)
class Fails:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "fail",
            task_queue=MESSAGES,
            start_to_close_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


async def test_temporals_figures_are_there_once_what_they_count_has_happened(
    keyring: Keyring,
) -> None:
    address = f"127.0.0.1:{free_port()}"

    @activity.defn
    async def fail() -> None:
        raise ValueError

    async with skipping_clock(data_converter(keyring)) as env:
        target = env.client.service_client.config.target_host
        client = await Client.connect(target, runtime=metrics_runtime(address))
        with pytest.raises(RPCError):
            await client.get_workflow_handle("nobody").describe()
        async with (
            worker(client, MESSAGES, {MESSAGES: [fail]}),
            worker(client, LIFECYCLES, {LIFECYCLES: [fail]}),
        ):
            # Nobody knows this workflow: its first task fails.
            unknown = await client.start_workflow("Unknown", id="unknown", task_queue=LIFECYCLES)
            await _fail_an_activity(client)
            wanted = {name for name in asked_for() if name.startswith("temporal_")}
            await soon(lambda: not wanted - shown_at(address))
            await unknown.terminate()


async def _fail_an_activity(client: Client) -> None:
    async with Worker(client, task_queue="fails", workflows=[Fails], build_id="test"):
        handle = await client.start_workflow(Fails.run, id="fails", task_queue="fails")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
