"""A doctor's session that is called off (停诊): what its patients are told, and how far it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StopStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"  # by an operator: no further patient is told
    DONE = "done"  # every appointment has moved, ended or been refunded


class StopScope(StrEnum):
    """How much of the doctor's day."""

    SLOT = "slot"
    DAY = "day"


@dataclass(frozen=True)
class CallOff:
    """What each appointment is told: these slots, and until when its patient may choose."""

    schedule_ids: tuple[int, ...]
    choose_by: datetime
    account_id: int  # the operator's


@dataclass(frozen=True)
class StopStart:
    """A stop-clinic as its workflow knows it, and how far its row is."""

    stop_no: str
    call_off: CallOff
    status: StopStatus = StopStatus.RUNNING
    version: int = 0
    resume_by: datetime | None = None  # a pause ends then; None: of one begun before this was told
    failing: tuple[str, ...] = ()  # orders that could not be told so far


@dataclass(frozen=True)
class Called:
    """One appointment on the way through: its row's id, to go on from there."""

    id: int
    order_no: str
