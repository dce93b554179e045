"""What people ask of a workflow: who they are, and codes."""

from dataclasses import dataclass
from datetime import datetime

from domain.access import Capacity, Role
from domain.consultation import ConsultationType
from domain.order import Actor


@dataclass(frozen=True)
class Command:
    """A person's command: in which capacity, and the account. What they wrote stays in rows."""

    capacity: Capacity
    account_id: int
    note_id: int | None = None  # where the words are, of a command that has no other place for it

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
class ByDoctor:
    """A doctor who is asked takes a consultation on, or not, or wants records first. `note_id` is
    what they wrote."""

    by: Command
    doctor_id: int
    note_id: int | None = None


@dataclass(frozen=True)
class Written:
    """A command with words, which are in a note."""

    by: Command
    note_id: int


@dataclass(frozen=True)
class Reassigned:
    """Another doctor is asked."""

    by: Command
    doctor_id: int


@dataclass(frozen=True)
class Switched:
    """A video call goes on by phone or text."""

    by: Command
    form: ConsultationType


@dataclass(frozen=True)
class Presence:
    """Somebody joined a video call, or left it."""

    role: str
    present: bool
    at: datetime


@dataclass(frozen=True)
class StaffCommand:
    """A member of staff asks something of a work item: the role they act in, and the account."""

    role: Role
    account_id: int

    @property
    def actor(self) -> Actor:
        return Actor(str(self.role), self.account_id)


@dataclass(frozen=True)
class Reassign:
    """An operator gives a work item to somebody of its role."""

    by: StaffCommand
    account_id: int


@dataclass(frozen=True)
class Decide:
    """What somebody decided: one of the work item's codes."""

    by: StaffCommand
    decision: str


@dataclass(frozen=True)
class RefundNews:
    """A refund was promised, or the gateway spoke of it."""

    refund_no: str


@dataclass(frozen=True)
class DeliveryReceipt:
    """What a provider said about a message: the channel's code and whether it arrived."""

    channel: str
    delivered: bool
