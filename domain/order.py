"""What every order has: a number that tells nothing, and people who act on it."""

import secrets
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from domain.access import Capacity

# Without I, L, O and U, so that a number can be read out over the phone (Crockford base 32).
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class OrderKind(StrEnum):
    APPOINTMENT = "appointment"
    CONSULTATION = "consultation"


class NumberPrefix(StrEnum):
    APPOINTMENT = "A"
    CONSULTATION = "C"
    PAYMENT = "P"
    REFUND = "R"
    STOP_CLINIC = "S"
    WORK_ITEM = "W"
    PHONE_CALL = "T"


def new_number(prefix: NumberPrefix, today: date) -> str:
    """`A261122` and twelve random characters (60 bits): it can be neither guessed nor counted."""
    drawn = secrets.randbits(60)
    tail = "".join(ALPHABET[drawn >> shift & 31] for shift in range(0, 60, 5))
    return f"{prefix}{today:%y%m%d}{tail}"


def kind_of(order_no: str) -> OrderKind | None:
    """Which lifecycle a number belongs to, by its prefix; None when it is no order's."""
    kinds = {
        NumberPrefix.APPOINTMENT: OrderKind.APPOINTMENT,
        NumberPrefix.CONSULTATION: OrderKind.CONSULTATION,
    }
    return next((kind for prefix, kind in kinds.items() if order_no.startswith(prefix)), None)


@dataclass(frozen=True)
class Actor:
    """Who made a move: a person in a capacity, or the system by a timer or a message."""

    role: str
    id: int | None = None

    @classmethod
    def person(cls, capacity: Capacity, account_id: int) -> "Actor":
        role = {
            Capacity.OWNER: "patient",
            Capacity.ITS_DOCTOR: "doctor",
            Capacity.CANDIDATE: "doctor",
        }.get(capacity, capacity)
        return cls(str(role), account_id)


SYSTEM = Actor("system")
GATEWAY = Actor("gateway")


@dataclass(frozen=True)
class Move:
    """One move of one order, as its workflow decided it. Codes and ids only."""

    order_no: str
    version: int
    event: str
    to_status: str
    at: datetime
    actor_role: str
    actor_id: int | None = None
    from_status: str | None = None
    reason: str = ""
