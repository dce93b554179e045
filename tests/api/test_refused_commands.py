"""Refusals are judged anew under the same key, by a real Temporal that keeps what it was told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx
import pytest
from temporalio.client import Client

from activities.appointment import AppointmentActivities
from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from domain.appointment import AppointmentStatus as S
from runtime.codec import data_converter
from runtime.embedded_temporal import EmbeddedTemporal
from runtime.lifecycles import TemporalLifecycles
from tests.support.api import as_caller, client_of, refused
from tests.support.booking import RULES, Clinic
from tests.support.catalogue import tomorrow
from tests.support.outside import MessageOutside, PaymentOutside, activities_of
from tests.support.temporal import Troubles, working
from workflows.queues import LIFECYCLES

pytestmark = pytest.mark.anyio

FULL, FREE = 10, 11  # hours


@dataclass
class Patient:
    """Of a confirmed appointment, who wants another slot."""

    client: httpx.AsyncClient
    headers: dict[str, str]
    id: int
    clinic: Clinic
    full: int  # a slot with one source, which somebody has
    free: int
    holder: str  # the order of the one who has it

    async def moves(self, slot: int, key: str = "k") -> httpx.Response:
        return await self.client.post(
            f"/appointments/{self.id}/reschedule",
            json={"scheduleId": slot},
            headers=self.headers | {"Idempotency-Key": key},
        )

    async def moved(self) -> int:
        query = "select count(*) from timeline where event = 'reschedule'"
        return int(await self.clinic.value(query))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedTemporal]:
    with EmbeddedTemporal.start() as server:
        yield server


@pytest.fixture
async def temporal(server: EmbeddedTemporal, keyring: Keyring) -> Client:
    return await Client.connect(server.address, data_converter=data_converter(keyring))


@pytest.fixture
async def patient(context: Context, keyring: Keyring, temporal: Client) -> AsyncIterator[Patient]:
    clinic = await Clinic.opened(context.engine, keyring)
    day = tomorrow() + timedelta(days=3)
    slot, full, free = [
        await clinic.slot(day=day, hour=hour, sources=1) for hour in (9, FULL, FREE)
    ]
    who = await clinic.someone()
    order_no = await clinic.booked(who, slot)
    await clinic.move(order_no, 1, S.CONFIRMED)
    holder = await clinic.booked(await clinic.someone(1), full)
    troubles = Troubles()
    activities = activities_of(MessageOutside(troubles), PaymentOutside(troubles))
    real = AppointmentActivities(context.engine, RULES)
    activities[LIFECYCLES] += [real.record_appointment, real.record_reschedule]
    lifecycles = TemporalLifecycles(temporal, context.engine, context.config)
    async with (
        working(temporal, activities),
        client_of(replace(context, lifecycles=lifecycles)) as client,
    ):
        headers = as_caller(context, who[0], Role.PATIENT)
        appointment = (await clinic.order(order_no)).id
        yield Patient(client, headers, appointment, clinic, full, free, holder)


async def test_a_slot_that_was_full_can_be_had_under_the_same_key_once_it_is_free(
    patient: Patient,
) -> None:
    for _ in range(3):  # each time judged anew
        assert refused(await patient.moves(patient.full)) == (409, "slot_full")
    await patient.clinic.move(patient.holder, 1, S.CANCELLED)
    for _ in range(2):
        assert (await patient.moves(patient.full)).status_code == 200
    assert await patient.moved() == 1


async def test_a_refused_key_is_free_for_another_slot(patient: Patient) -> None:
    assert refused(await patient.moves(patient.full)) == (409, "slot_full")
    answer = await patient.moves(patient.free)
    assert answer.status_code == 200
    assert answer.json()["scheduleId"] == patient.free
    assert refused(await patient.moves(patient.full)) == (422, "idempotency_mismatch")
    assert await patient.moved() == 1


async def test_the_same_request_many_times_at_once_is_done_once(patient: Patient) -> None:
    assert refused(await patient.moves(patient.full)) == (409, "slot_full")
    await patient.clinic.move(patient.holder, 1, S.CANCELLED)
    answers = await asyncio.gather(*(patient.moves(patient.full) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert await patient.moved() == 1


async def test_what_the_validator_refused_keeps_its_number(patient: Patient) -> None:
    """A repeat that is still on its way may yet succeed under it, so no other may."""
    unpaid = "update appointment set status = 'pending' where id = :id"
    await patient.clinic.run(unpaid, id=patient.id)
    assert refused(await patient.moves(patient.free)) == (409, "not_allowed")
    assert await patient.clinic.value("select count(*) from idempotency") == 0
