"""What must not drift: names of activities, and what may stand in a history."""

import inspect
from contextlib import AsyncExitStack
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from prometheus_client import CollectorRegistry
from temporalio import activity, workflow

from activities.appointment import AppointmentActivities
from activities.consultation import ConsultationActivities
from activities.message import MessageActivities
from activities.payment import PaymentActivities
from activities.phone_call import PhoneCallActivities
from activities.reconciliation import ReconciliationActivities
from activities.stop_clinic import StopClinicActivities
from activities.work_item import WorkItemActivities
from runtime.config import load_config
from runtime.entry import Entry
from runtime.metrics import Metrics
from runtime.settings import read_settings
from runtime.temporal import connect
from tests.support.outside import (
    AppointmentOutside,
    ConsultationOutside,
    MessageOutside,
    PaymentOutside,
    PhoneCallOutside,
    ReconciliationOutside,
    StopOutside,
    WorkItemOutside,
    activities_of,
)
from tests.support.temporal import Troubles
from workers.serve import WORKFLOWS, open_activities

pytestmark = pytest.mark.anyio

REAL = {
    AppointmentOutside: AppointmentActivities,
    ConsultationOutside: ConsultationActivities,
    PaymentOutside: PaymentActivities,
    MessageOutside: MessageActivities,
    PhoneCallOutside: PhoneCallActivities,
    StopOutside: StopClinicActivities,
    WorkItemOutside: WorkItemActivities,
    ReconciliationOutside: ReconciliationActivities,
}
PERSONAL = {
    "name", "phone", "mobile", "email", "address", "id_card", "id_number", "birthday", "gender",
    "complaint", "symptoms", "diagnosis", "text", "note", "remark", "to",
}  # fmt: skip


def is_activity(function):
    return hasattr(function, "__temporal_activity_definition")


def names(functions):
    return {activity._Definition.must_from_callable(f).name for f in functions}


async def test_workers_answer_every_activity_of_the_fakes_on_the_same_queue(keyring):
    environ = {
        "HOSPITAL_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere",
        "HOSPITAL_KEYRING": "unread",
        "HOSPITAL_SANDBOX_GATEWAY_URL": "http://127.0.0.1:1",
        "HOSPITAL_SANDBOX_GATEWAY_SECRET": "s" * 32,
    }
    settings = read_settings(environ)
    config = load_config(settings.config_path, {})
    entry = Entry(settings, config, keyring, Metrics(CollectorRegistry()))
    async with AsyncExitStack() as stack:
        client = await connect(settings.temporal, keyring)  # lazy: nobody is called
        real = open_activities(entry, client, stack)
    fake = activities_of(*(outside(Troubles()) for outside in REAL))
    assert {queue: names(found) for queue, found in real.items()} == {
        queue: names(found) for queue, found in fake.items()
    }


@pytest.mark.parametrize(("fake", "real"), REAL.items())
def test_fakes_take_and_give_the_same_types(fake, real):
    for name, function in vars(fake).items():
        if is_activity(function):
            assert get_type_hints(function) == get_type_hints(getattr(real, name)), name


def types_in_histories():
    """Of every argument and result that workflows take, give and pass on."""
    functions = [workflow_type.run for workflow_type in WORKFLOWS]
    for workflow_type in WORKFLOWS:
        definition = workflow._Definition.must_from_class(workflow_type)
        functions += [signal.fn for signal in definition.signals.values()]
        functions += [update.fn for update in definition.updates.values()]
    for real in REAL.values():
        functions += [
            f for f in vars(real).values() if hasattr(f, "__temporal_activity_definition")
        ]
    for function in functions:
        yield from get_type_hints(function).values()


def inside(kind: Any, seen: set[type]) -> set[type]:
    if get_origin(kind) in (Union, UnionType, tuple, list, dict):
        for part in get_args(kind):
            inside(part, seen)
    elif is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        for hint in get_type_hints(kind).values():
            inside(hint, seen)
    return seen


def test_no_history_has_a_place_for_anything_personal():
    kinds = set[type]()
    for kind in types_in_histories():
        inside(kind, kinds)
    assert len(kinds) > 10
    found = {f"{kind.__name__}.{f.name}" for kind in kinds for f in fields(kind)}
    assert not {place for place in found if place.partition(".")[2] in PERSONAL}


def test_workflows_read_no_clock_and_no_settings():
    """A module constant or a clock would break the replay of what runs now."""
    for workflow_type in WORKFLOWS:
        source = Path(inspect.getsourcefile(workflow_type)).read_text()
        assert "datetime.now" not in source
        assert "environ" not in source
