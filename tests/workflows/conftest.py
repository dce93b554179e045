"""A world for workflows to live in: a clock that skips, and fakes where the world begins."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from db.keyring import Keyring
from domain.access import Role
from domain.appointment import AppointmentStart, AppointmentStatus, Terms, plan
from domain.consultation import Case, ConsultationStart, ConsultationType, Urgency, Way
from domain.consultation import Progress as ConsultationProgress
from domain.consultation import Terms as ConsultationTerms
from domain.hospital import AppointmentPolicy, ConsultationPolicy
from domain.message import Template
from domain.order import NumberPrefix, new_number
from domain.payment import PaymentStart, PaymentStatus
from domain.stop_clinic import Called, CallOff, StopStart
from domain.work_item import Outcome, WorkItemStart
from runtime.codec import data_converter
from runtime.lifecycles import (  # the very options that the relay starts with
    _appointment,
    _consultation,
    _payment,
    _reconciliation,
    _stop,
    _work_item,
)
from tests.support.audits import an_audit
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
from tests.support.temporal import (
    PATIENCE,
    Pausing,
    Shown,
    Troubles,
    at_rest,
    keep,
    shown,
    skipping_clock,
    sleep_until,
    soon,
    started,
    working,
)
from workflows.queues import staff_queue

ZONE = ZoneInfo("Asia/Shanghai")
S = AppointmentStatus


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        action="store_true",
        help="keep the history of every ending under tests/histories; what is there stays",
    )


@dataclass
class World:
    env: WorkflowEnvironment
    troubles: Troubles
    appointments: AppointmentOutside
    payments: PaymentOutside
    messages: MessageOutside
    stops: StopOutside
    pausing: Pausing  # the workers' codec
    work_items: WorkItemOutside
    reconciliation: ReconciliationOutside
    consultations: ConsultationOutside
    phone: PhoneCallOutside
    staff: tuple[str, ...] = ()  # whose queues are worked on

    def working(self) -> AbstractAsyncContextManager[None]:
        config = self.env.client.config()
        converter = replace(config["data_converter"], payload_codec=self.pausing)
        fakes = activities_of(
            self.appointments,
            self.payments,
            self.messages,
            self.stops,
            self.work_items,
            self.reconciliation,
            self.consultations,
            self.phone,
        )
        client = Client(**{**config, "data_converter": converter})
        return working(client, fakes, self.staff)

    async def told(self, *templates: Template) -> None:
        """Messages go their own way: what an order says may be told after it ended."""
        await soon(lambda: set(templates) <= set(self.messages.templates))

    async def shown(self, handle: WorkflowHandle[Any, Any]) -> Shown:
        return await shown(handle, self.env.client)

    async def idle(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Until it and what it told have nothing to do before their next timers."""
        async with asyncio.timeout(PATIENCE):
            while not at_rest(await handle.fetch_history()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def idle_updates(self, handle: WorkflowHandle[Any, Any], count: int) -> None:
        """Until so many updates in all were accepted."""
        accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED

        async def seen() -> int:
            history = await handle.fetch_history()
            return sum(event.event_type == accepted for event in history.events)

        async with asyncio.timeout(PATIENCE):
            while await seen() < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def now(self) -> datetime:
        return await self.env.get_current_time()

    async def sleep(self, duration: timedelta) -> None:
        await self.env.sleep(duration)

    async def sleep_until(self, at: datetime) -> None:
        await sleep_until(self.env, at)

    async def new_appointment(self, **terms: Any) -> AppointmentStart:
        """Booked now, for ten o'clock on the day after tomorrow, unpaid."""
        now = await self.now()
        day = now.astimezone(ZONE).date() + timedelta(days=2)
        pinned = replace(Terms.of(AppointmentPolicy()), **terms)
        booking = plan(
            new_number(NumberPrefix.APPOINTMENT, day),
            7,
            3,
            starts_at=datetime(day.year, day.month, day.day, 10, tzinfo=ZONE),
            booked_at=now,
            pay_by=now + pinned.payment_window,
            terms=pinned,
            zone=ZONE,
        )
        return AppointmentStart(booking)

    async def begin(self, start: AppointmentStart) -> WorkflowHandle[Any, Any]:
        return await started(self.env.client, _appointment(start))

    async def booked(self, **terms: Any) -> tuple[WorkflowHandle[Any, Any], AppointmentStart]:
        start = await self.new_appointment(**terms)
        return await self.begin(start), start

    async def resumed(
        self, status: AppointmentStatus, version: int, payment_no: str | None = "P-1", **terms: Any
    ) -> tuple[WorkflowHandle[Any, Any], AppointmentStart]:
        """Begun again from a row that is this far."""
        start = replace(
            await self.new_appointment(**terms),
            status=status,
            version=version,
            payment_no=payment_no,
        )
        return await self.begin(start), start

    async def new_payment(self) -> PaymentStart:
        now = await self.now()
        return PaymentStart(
            payment_no=new_number(NumberPrefix.PAYMENT, now.date()),
            order_no="A-1",
            status=PaymentStatus.PENDING,
            version=0,
            settle_at=now + timedelta(minutes=17),
            refund_poll=timedelta(minutes=1),
            refund_retry_for=timedelta(hours=24),
        )

    async def pay(
        self, start: PaymentStart, signal: str | None = None, arg: object = None
    ) -> WorkflowHandle[Any, Any]:
        return await started(self.env.client, _payment(start), signal, arg)

    async def asked(
        self,
        type: ConsultationType = ConsultationType.TEXT,
        way: Way = Way.NAMED,
        *,
        scheduled_in: timedelta | None = None,
        judged: bool = False,
        **terms: Any,
    ) -> tuple[WorkflowHandle[Any, Any], ConsultationStart]:
        """A consultation, ordered now and unpaid."""
        now = await self.now()
        urgency = Urgency.EMERGENCY if way is Way.EMERGENCY else Urgency.NORMAL
        pinned = replace(ConsultationTerms.of(ConsultationPolicy(), type, urgency), **terms)
        case = Case(
            new_number(NumberPrefix.CONSULTATION, now.date()),
            type,
            way,
            3,
            21,
            pinned,
            now + scheduled_in if scheduled_in else None,
            judged,
        )
        doctor = 7 if way is Way.NAMED else None
        progress = ConsultationProgress(pay_by=now + pinned.payment_window, doctor_id=doctor)
        start = ConsultationStart(case, progress)
        return await self.consult(start), start

    async def new_case(self, **progress: Any) -> ConsultationStart:
        """A text consultation of doctor 7 that is this far."""
        now, text = await self.now(), ConsultationType.TEXT
        terms = ConsultationTerms.of(ConsultationPolicy(), text, Urgency.NORMAL)
        order_no = new_number(NumberPrefix.CONSULTATION, now.date())
        case = Case(order_no, text, Way.NAMED, 3, 21, terms)
        so_far = ConsultationProgress(pay_by=now, doctor_id=7, **progress)
        return ConsultationStart(case, so_far)

    async def consult(self, start: ConsultationStart) -> WorkflowHandle[Any, Any]:
        return await started(self.env.client, _consultation(start))

    async def stopped(
        self, orders: int, **progress: Any
    ) -> tuple[WorkflowHandle[Any, Any], StopStart]:
        """A session with so many appointments is called off."""
        self.stops.orders = [Called(n, f"A-{n}") for n in range(1, orders + 1)]
        now = await self.now()
        call_off = CallOff((7,), now + timedelta(hours=24), 13)
        start = StopStart(new_number(NumberPrefix.STOP_CLINIC, now.date()), call_off, **progress)
        return await started(self.env.client, _stop(start)), start

    async def work(self, start: WorkItemStart) -> WorkflowHandle[Any, Any]:
        return await started(self.env.client, _work_item(start))

    async def reconciled(self, day: str = "2026-11-21") -> WorkflowHandle[Any, Any]:
        return await started(self.env.client, _reconciliation(day, ZONE.key))

    async def opened(self) -> tuple[WorkflowHandle[Any, Any], PaymentStart]:
        start = await self.new_payment()
        return await self.pay(start), start


@pytest.fixture
async def idle_world(keyring: Keyring) -> AsyncIterator[World]:
    """Nobody works in it yet."""
    converter = data_converter(keyring)
    async with skipping_clock(converter) as env:
        troubles = Troubles()
        yield World(
            env,
            troubles,
            AppointmentOutside(troubles),
            PaymentOutside(troubles),
            MessageOutside(troubles),
            StopOutside(troubles),
            Pausing(converter.payload_codec),
            WorkItemOutside(troubles),
            ReconciliationOutside(troubles),
            ConsultationOutside(troubles),
            PhoneCallOutside(troubles),
        )


@pytest.fixture
async def world(idle_world: World) -> AsyncIterator[World]:
    async with idle_world.working():
        yield idle_world


Ending = Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]


@pytest.fixture
def ending(request: pytest.FixtureRequest) -> Ending:
    """The workflow's result; its history is kept when asked for by `--record-histories`."""

    async def ended(handle: WorkflowHandle[Any, Any]) -> Any:
        result = await handle.result()
        if request.config.getoption("--record-histories", default=False):
            group = request.node.parent.name.removeprefix("Test")
            words = re.findall("[A-Z]?[a-z0-9]+", f"{group} {request.node.name[5:]}")
            lifecycle = handle.id.partition("/")[0]
            keep(await handle.fetch_history(), lifecycle, "-".join(words).lower())
        return result

    return ended


# Work items


@pytest.fixture
async def staffed(idle_world: World) -> AsyncIterator[World]:
    """A world in which pharmacists' work items are looked after."""
    idle_world.staff = (staff_queue(Role.PHARMACIST),)
    async with idle_world.working():
        yield idle_world


@pytest.fixture
def outcome(ending: Ending) -> Ending:
    """What became of a work item, its history kept as any ending."""

    async def ended(work: WorkflowHandle[Any, Any]) -> Outcome:
        result = await ending(work)
        return result if isinstance(result, Outcome) else Outcome(**result)

    return ended


@pytest.fixture
def opened(staffed: World) -> Callable[..., Awaitable[WorkflowHandle[Any, Any]]]:
    """An audit that waits, with these changes."""

    async def begun(**changes: Any) -> WorkflowHandle[Any, Any]:
        item = replace(an_audit(await staffed.now()), **changes)
        return await staffed.work(WorkItemStart(item))

    return begun
