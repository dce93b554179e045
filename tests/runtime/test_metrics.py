"""What a scrape shows, from one process and from several."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from runtime.metrics import SHARED, Metrics, clear_shared, render

ONE_OF_SEVERAL = """
import sys
from prometheus_client import CollectorRegistry
from runtime.metrics import Metrics, render
registry = CollectorRegistry()
metrics = Metrics(registry)
metrics.booking("booked")
metrics.outbox(int(sys.argv[1]), 0.5)
print(render(registry)[0].decode())
"""


def test_a_scrape_shows_what_was_counted() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.http("/appointments/{order_no}", "GET", 200, 0.02)
    metrics.booking("booked")
    metrics.booking("slot_full")
    metrics.outbox(3, 1.5)
    metrics.work_items({("nurse", "red_flag"): 301.0, ("operator", "refund_stuck"): 7.0})
    metrics.work_items({("operator", "refund_stuck"): 9.0})
    metrics.reconciled(86400)
    metrics.message("sms", "sent")
    metrics.payment("paid")
    metrics.relay_start("started")
    body, content_type = render(registry)
    assert content_type.startswith("text/plain")
    lines = body.decode().splitlines()
    assert 'hospital_bookings_total{outcome="slot_full"} 1.0' in lines
    assert "hospital_outbox_waiting 3.0" in lines
    assert "hospital_outbox_oldest_seconds 1.5" in lines
    waits = 'hospital_work_item_oldest_seconds{kind="%s",queue="staff-%s"} %s'
    assert waits % ("red_flag", "nurse", 0.0) in lines  # somebody has it
    assert waits % ("refund_stuck", "operator", 9.0) in lines
    assert "hospital_reconciliation_age_seconds 86400.0" in lines
    assert 'hospital_messages_total{channel="sms",outcome="sent"} 1.0' in lines
    assert 'hospital_payments_total{outcome="paid"} 1.0' in lines
    assert 'hospital_relay_starts_total{outcome="started"} 1.0' in lines
    labels = 'method="GET",route="/appointments/{order_no}",status="200"'
    assert f"hospital_http_request_seconds_count{{{labels}}} 1.0" in lines


def test_two_apps_in_one_process_do_not_meet() -> None:
    Metrics(CollectorRegistry())
    Metrics(CollectorRegistry())


def test_processes_that_share_a_directory_are_one_to_a_scrape(tmp_path: Path) -> None:
    shared = tmp_path / "metrics"
    clear_shared(shared)
    root = str(Path(__file__).parents[2])
    for waiting in ("7", "4"):
        scraped = subprocess.run(
            [sys.executable, "-c", ONE_OF_SEVERAL, waiting],
            env={**os.environ, SHARED: str(shared), "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    assert 'hospital_bookings_total{outcome="booked"} 2.0' in scraped
    assert "hospital_outbox_waiting 4.0" in scraped
    assert list(shared.glob("*.db"))
    clear_shared(shared)
    assert not list(shared.glob("*.db"))
