"""What people ask of a workflow: who they are, and codes."""

from dataclasses import dataclass
from datetime import datetime

from domain.access import Capacity
from domain.order import Actor


@dataclass(frozen=True)
class Command:
    """A person's command: in which capacity, and the account. What they wrote stays in rows."""

    capacity: Capacity
    account_id: int

    @property
    def actor(self) -> Actor:
        return Actor.person(self.capacity, self.account_id)


@dataclass(frozen=True)
class Extend:
    """An operator gives an unpaid order more time, until an instant."""

    by: Command
    pay_by: datetime


@dataclass(frozen=True)
class Reschedule:
    """Another slot for the same order."""

    by: Command
    schedule_id: int


@dataclass(frozen=True)
class CallOff:
    """A doctor's session is called off (停诊): these slots, and until when patients choose."""

    by: Command
    schedule_ids: tuple[int, ...]
    choose_by: datetime


@dataclass(frozen=True)
class RefundNews:
    """A refund was promised, or the gateway spoke of it."""

    refund_no: str


@dataclass(frozen=True)
class DeliveryReceipt:
    """What a provider said about a message: the channel's code and whether it arrived."""

    channel: str
    delivered: bool
