"""A hospital that has not switched appointments on."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api.context import Context
from db.keyring import Keyring
from domain.access import Role
from tests.support.api import as_caller, client_of, close_context, make_context, refused
from tests.support.booking import Clinic, without_appointments

pytestmark = pytest.mark.anyio


@pytest.fixture
async def closed(database_url: str, keyring: Keyring) -> AsyncIterator[Context]:
    context = await make_context(database_url, keyring, without_appointments())
    yield context
    await close_context(context)


@pytest.fixture
async def client(closed: Context) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(closed) as client:
        yield client


async def test_nothing_is_booked_and_nobody_gets_in_line(
    client: httpx.AsyncClient, closed: Context, keyring: Keyring
) -> None:
    clinic = await Clinic.opened(closed.engine, keyring)
    slot = await clinic.slot(sources=1)
    account, patient = await clinic.someone()
    headers = as_caller(closed, account, Role.PATIENT)
    wanted = {"scheduleId": slot, "patientId": patient}
    booked = await client.post("/appointments", json=wanted, headers=headers)
    assert refused(booked) == (409, "not_offered")
    await clinic.booked(await clinic.someone(1), slot)  # of the time before
    joined = await client.post(f"/schedules/{slot}/waitlist", headers=headers)
    assert refused(joined) == (409, "not_offered")


async def test_slots_and_doctors_show_no_price(
    client: httpx.AsyncClient, closed: Context, keyring: Keyring
) -> None:
    clinic = await Clinic.opened(closed.engine, keyring)
    await clinic.slot()
    slots = (await client.get("/schedules")).json()["items"]
    assert [slot["price"] for slot in slots] == [None]
    doctor = (await client.get(f"/doctors/{clinic.doctor}")).json()
    assert doctor["prices"]["registration"] is None
