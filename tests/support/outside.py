"""The activities of each lifecycle, remembered instead of done. Fakes with the real names."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.appointment import Extension, Rescheduled, Rescheduling
from activities.consultation import Expected, Ringing
from activities.message import Outgoing, Plan, Sending
from activities.payment import OwedRefund, PaymentMove
from activities.phone_call import PlaceCall, PlacedCall
from activities.reconciliation import ChannelDay, NoBill, Suspects
from activities.stop_clinic import Batch, Calling, Failing
from activities.work_item import Change
from domain.appointment import CALLED_OFF, AppointmentMove
from domain.consultation import ConsultationMove
from domain.message import Channel, Template
from domain.order import Move
from domain.payment import MoneyTaken, RefundCause, RefundStatus, Settlement
from domain.phone_call import CallEnded, Refusal
from domain.stop_clinic import Called
from domain.work_item import (
    NewWorkItem,
    Progress,
    WorkItem,
    WorkItemMove,
    WorkItemStart,
    WorkItemStatus,
)
from tests.support.temporal import Activities, Troubles
from workflows.queues import GATEWAYS, LIFECYCLES, MESSAGES, SETTLEMENTS

PRICE = Decimal("50.00")
GONE = Rescheduled("slot_full")
NOTHING_PAID = Settlement(paid=False)


@dataclass
class AppointmentOutside:
    troubles: Troubles
    suspended_until: datetime | None = None
    moves: list[AppointmentMove] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    withdrawn: bool = False  # the session was called off, and nobody told the order
    rescheduled: Rescheduled = GONE  # what every wish for a slot is answered
    wishes: list[Rescheduling] = field(default_factory=list)

    @property
    def statuses(self) -> list[str]:
        return [move.to_status for move in self.moves]

    @property
    def last(self) -> AppointmentMove:
        return self.moves[-1]

    @activity.defn
    async def record_appointment(self, move: AppointmentMove) -> str | None:
        await self.troubles.meet()
        if self.withdrawn and move.supposes_a_session:
            return CALLED_OFF
        self.moves.append(move)
        return None

    @activity.defn
    async def record_appointment_extension(self, extension: Extension) -> None:
        await self.troubles.meet()
        self.extensions.append(extension)

    @activity.defn
    async def record_reschedule(self, wanted: Rescheduling) -> Rescheduled:
        await self.troubles.meet()
        self.wishes.append(wanted)
        return self.rescheduled

    @activity.defn
    async def find_suspension(self, order_no: str) -> datetime | None:
        await self.troubles.meet()
        return self.suspended_until


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class ConsultationOutside:
    troubles: Troubles
    moves: list[ConsultationMove] = field(default_factory=list)
    on_duty: list[int] = field(default_factory=list)
    written: bool = False  # the doctor wrote, and the news of it is late
    in_the_room: bool = False  # the doctor came, and the news of it is late
    at_the_list: asyncio.Event = field(default_factory=asyncio.Event)  # somebody looks who is on
    list_read: asyncio.Event = field(default_factory=_set)  # clear it to hold them up

    @property
    def events(self) -> list[str]:
        return [move.event for move in sorted(self.moves, key=lambda move: move.version)]

    @property
    def last(self) -> ConsultationMove:
        """By version: two may be written at once."""
        return max(self.moves, key=lambda move: move.version)

    @activity.defn
    async def record_consultation(self, move: ConsultationMove) -> None:
        await self.troubles.meet()
        self.moves.append(move)

    @activity.defn
    async def has_answered(self, order_no: str) -> bool:
        await self.troubles.meet()
        return self.written

    @activity.defn
    async def doctor_came(self, expected: Expected) -> bool:
        await self.troubles.meet()
        return self.in_the_room

    @activity.defn
    async def next_to_ring(self, so_far: Ringing) -> Ringing:
        await self.troubles.meet()
        self.at_the_list.set()
        await self.list_read.wait()
        fresh = [doctor for doctor in self.on_duty if doctor not in so_far.doctors]
        return Ringing(so_far.order_no, tuple(fresh[:1] or self.on_duty))


@dataclass
class StopOutside:
    """A session with these appointments, open until somebody says how many are left."""

    troubles: Troubles
    orders: list[Called] = field(default_factory=list)
    open: list[int] = field(default_factory=lambda: [0])  # one answer after another
    called: list[str] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)  # orders that cannot be told
    failing: list[tuple[str, ...]] = field(default_factory=list)

    @activity.defn
    async def next_to_call_off(self, batch: Batch) -> list[Called]:
        await self.troubles.meet()
        return [order for order in self.orders if order.id > batch.after][: batch.limit]

    @activity.defn
    async def call_off_order(self, calling: Calling) -> None:
        await self.troubles.meet()
        if calling.order_no in self.silent:
            raise ConnectionError(calling.order_no)
        self.called.append(calling.order_no)

    @activity.defn
    async def record_failing(self, failing: Failing) -> None:
        await self.troubles.meet()
        self.failing.append(failing.order_nos)

    @activity.defn
    async def count_open_orders(self, stop_no: str) -> int:
        await self.troubles.meet()
        return self.open.pop(0) if len(self.open) > 1 else self.open[0]

    @activity.defn
    async def record_stop(self, move: Move) -> None:
        await self.troubles.meet()
        self.moves.append(move)


@dataclass
class PaymentOutside:
    """Gateway, ledger and the order's ear."""

    troubles: Troubles
    settlement: Settlement = NOTHING_PAID  # what the payments of an order answer when asked
    settled: int = 0  # how often they were asked
    taken: MoneyTaken | None = None  # what the gateway's query answers
    taken_at_close: MoneyTaken | None = None  # what its close answers
    useless: RefundCause | None = None  # why the order cannot use the money
    moves: list[PaymentMove] = field(default_factory=list)
    owed: list[OwedRefund] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    # By refund number: what the gateway answers, one after another; the last answer stays.
    answers: dict[str, list[RefundStatus]] = field(
        default_factory=lambda: defaultdict(lambda: [RefundStatus.SUCCEEDED])
    )
    refunds: dict[str, RefundStatus] = field(default_factory=dict)
    asked: list[tuple[str, datetime]] = field(default_factory=list)
    all_back: bool = True  # whether the refunds that are made add up to all that came in

    @property
    def statuses(self) -> list[str]:
        return [change.move.to_status for change in self.moves]

    @activity.defn
    async def settle_order(self, order_no: str) -> Settlement:
        self.settled += 1
        await self.troubles.meet()
        return self.settlement

    @activity.defn
    async def ask_for_money(self, payment_no: str) -> MoneyTaken | None:
        await self.troubles.meet()
        return self.taken

    @activity.defn
    async def close_payment(self, payment_no: str) -> MoneyTaken | None:
        await self.troubles.meet()
        return self.taken_at_close

    @activity.defn
    async def record_payment_move(self, change: PaymentMove) -> bool:
        await self.troubles.meet()
        self.moves.append(change)
        return change.money is None or change.money.amount == PRICE

    @activity.defn
    async def deliver_payment(self, payment_no: str) -> RefundCause | None:
        await self.troubles.meet()
        self.delivered.append(payment_no)
        return self.useless

    @activity.defn
    async def owe_refund(self, owed: OwedRefund) -> str | None:
        await self.troubles.meet()
        if owed not in self.owed:
            self.owed.append(owed)
        return self.owe(f"R-{owed.cause}")

    @activity.defn
    async def refunds_to_make(self, payment_no: str) -> tuple[str, ...]:
        await self.troubles.meet()
        return tuple(no for no, status in self.refunds.items() if status is RefundStatus.PENDING)

    @activity.defn
    async def make_refund(self, refund_no: str) -> RefundStatus:
        self.asked.append((refund_no, activity.info().scheduled_time))
        await self.troubles.meet()
        answers = self.answers[refund_no]
        status = self.refunds[refund_no] = answers.pop(0) if len(answers) > 1 else answers[0]
        return status

    @activity.defn
    async def nothing_left(self, payment_no: str) -> bool:
        await self.troubles.meet()
        made = list(self.refunds.values())
        return self.all_back and bool(made) and all(s is RefundStatus.SUCCEEDED for s in made)

    def owe(self, refund_no: str) -> str:
        """A refund is owed, by whomever."""
        self.refunds.setdefault(refund_no, RefundStatus.PENDING)
        return refund_no


@dataclass(frozen=True)
class Told:
    template: Template
    due: datetime | None
    at: datetime


@dataclass
class MessageOutside:
    troubles: Troubles
    channels: tuple[Channel, ...] = ()
    receipts_from: frozenset[Channel] = frozenset()
    closed: frozenset[Channel] = frozenset()  # ways that fail for good
    told: list[Told] = field(default_factory=list)
    rung: list[int] = field(default_factory=list)  # doctors, to an emergency
    sent: list[Sending] = field(default_factory=list)

    @property
    def templates(self) -> list[Template]:
        return [told.template for told in self.told]

    @property
    def tried(self) -> list[Channel]:
        return [sending.channel for sending in self.sent]

    @activity.defn
    async def plan_message(self, message: Outgoing) -> Plan:
        await self.troubles.meet()
        if message.template is Template.CONSULTATION_RING and message.doctor_id:
            self.rung.append(message.doctor_id)
        self.told.append(Told(message.template, message.due, activity.info().scheduled_time))
        return Plan(self.channels, timedelta(minutes=2))

    @activity.defn
    async def send_message(self, sending: Sending) -> bool:
        await self.troubles.meet()
        self.sent.append(sending)
        if sending.channel in self.closed:
            raise ApplicationError("no_address", type="ChannelClosed", non_retryable=True)
        return sending.channel in self.receipts_from


@dataclass
class WorkItemOutside:
    """The rows of work items."""

    troubles: Troubles
    moves: list[WorkItemMove] = field(default_factory=list)
    rows: dict[str, WorkItemStart] = field(default_factory=dict)  # by kind, subject and round
    news: dict[str, Template] = field(default_factory=dict)  # by decision: what the patient hears

    @property
    def events(self) -> list[str]:
        return [move.event for move in self.moves]

    @activity.defn
    async def open_work_item(self, new: NewWorkItem) -> WorkItemStart:
        await self.troubles.meet()
        name = f"{new.kind}:{new.subject}:{new.round}"
        terms = {f.name: getattr(new, f.name) for f in fields(WorkItem) if f.name != "number"}
        return self.rows.setdefault(
            name, WorkItemStart(WorkItem(number=f"W-{len(self.rows) + 1}", **terms))
        )

    @activity.defn
    async def record_work_item(self, change: Change) -> Outgoing | None:
        await self.troubles.meet()
        move = change.move
        self.moves.append(move)
        for name, start in self.rows.items():
            if start.item.number == move.order_no:
                progress = Progress(
                    WorkItemStatus(move.to_status),
                    move.version,
                    move.claimed_by,
                    move.lease_until,
                    move.escalated,
                    move.decision,
                )
                self.rows[name] = replace(start, progress=progress)
        news = self.news.get(move.decision)
        return Outgoing(f"{move.order_no}:{news}", change.subject, news) if news else None


@dataclass
class ReconciliationOutside:
    """Bills and rows: how many differences each channel has, and what is amiss in Temporal."""

    troubles: Troubles
    channels: dict[str, int] = field(default_factory=lambda: {"sandbox": 0})
    refused: frozenset[str] = frozenset()  # channels without a bill, for good
    late: int = 0  # so many times a bill is not out yet
    suspects: tuple[str, ...] = ()
    compared: list[ChannelDay] = field(default_factory=list)
    given_up: list[NoBill] = field(default_factory=list)
    stopped: list[date] = field(default_factory=list)
    looks: list[datetime] = field(default_factory=list)
    tries: list[datetime] = field(default_factory=list)  # when bills were asked for, or given up

    @activity.defn
    async def channels_to_reconcile(self) -> tuple[str, ...]:
        await self.troubles.meet()
        return tuple(self.channels)

    @activity.defn
    async def reconcile_channel(self, wanted: ChannelDay) -> int:
        await self.troubles.meet()
        self.tries.append(activity.info().started_time)
        if wanted.channel in self.refused:
            raise ApplicationError("no_right", type="NoBill", non_retryable=True)
        if self.late:
            self.late -= 1
            raise ApplicationError("bill_not_out", type="BillNotOut")
        self.compared.append(wanted)
        return self.channels[wanted.channel]

    @activity.defn
    async def give_up_bill(self, lacking: NoBill) -> None:
        await self.troubles.meet()
        self.tries.append(activity.info().scheduled_time)
        self.given_up.append(lacking)

    @activity.defn
    async def record_stopped_runs(self, day: date) -> None:
        await self.troubles.meet()
        self.stopped.append(day)

    @activity.defn
    async def find_suspects(self, day: date) -> Suspects:
        await self.troubles.meet()
        self.looks.append(activity.info().scheduled_time)
        return Suspects(day, self.suspects)

    @activity.defn
    async def file_suspects(self, suspects: Suspects) -> int:
        await self.troubles.meet()
        self.looks.append(activity.info().scheduled_time)
        return len(suspects.lacking)


@dataclass
class PhoneCallOutside:
    """Phones that ring: which were rung, and how a call ended when somebody asks."""

    troubles: Troubles
    refusal: Refusal | None = None  # what every wish for a call is answered
    placed: list[PlaceCall] = field(default_factory=list)
    ended: dict[str, CallEnded] = field(default_factory=dict)  # by call number
    asked: list[str] = field(default_factory=list)

    @activity.defn
    async def place_call(self, wanted: PlaceCall) -> PlacedCall:
        await self.troubles.meet()
        if wanted not in self.placed:
            self.placed.append(wanted)
        return PlacedCall(f"T-{wanted.order_no}-{wanted.attempt}", self.refusal)

    @activity.defn
    async def settle_call(self, call_no: str) -> CallEnded | None:
        await self.troubles.meet()
        self.asked.append(call_no)
        return self.ended.get(call_no)


QUEUE_OF = {
    "settle_order": SETTLEMENTS,
    "call_off_order": SETTLEMENTS,
    "ask_for_money": GATEWAYS,
    "close_payment": GATEWAYS,
    "make_refund": GATEWAYS,
    "settle_call": GATEWAYS,
    "reconcile_channel": GATEWAYS,
    "send_message": MESSAGES,
    "place_call": MESSAGES,
}
"""Of activities that are not done where rows are written."""


def activities_of(*fakes: object) -> Activities:
    """Every activity of these, by the queue that does it."""
    found: dict[str, list[Callable[..., Any]]] = defaultdict(list)
    for fake in fakes:
        for name in vars(type(fake)):
            if hasattr(vars(type(fake))[name], "__temporal_activity_definition"):
                found[QUEUE_OF.get(name, LIFECYCLES)].append(getattr(fake, name))
    return found
