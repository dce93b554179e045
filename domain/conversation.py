"""What doctor and patient write to each other in a consultation (对话)."""

import re
from dataclasses import dataclass
from enum import StrEnum

from domain.access import Capacity

TEXT_AT_MOST = 2000  # characters


class Side(StrEnum):
    PATIENT = "patient"
    DOCTOR = "doctor"

    @classmethod
    def of(cls, capacity: Capacity) -> "Side":
        return cls.PATIENT if capacity is Capacity.OWNER else cls.DOCTOR

    @property
    def other(self) -> "Side":
        return Side.DOCTOR if self is Side.PATIENT else Side.PATIENT


class MessageType(StrEnum):
    TEXT = "text"
    IMAGE = "image"


@dataclass(frozen=True)
class Cursor:
    """How far a listener is: the last message, the order's version, what each side has read. Each
    only grows, so that what is missing can be told from any cursor; it is the `id:` of an event."""

    seq: int = 0
    version: int = -1
    patient_read: int = 0
    doctor_read: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.version}.{self.patient_read}.{self.doctor_read}"

    def covers(self, other: "Cursor") -> bool:
        """Whether who is here has everything that who is there has."""
        return (
            self.seq >= other.seq
            and self.version >= other.version
            and self.patient_read >= other.patient_read
            and self.doctor_read >= other.doctor_read
        )

    def within(self, there: "Cursor") -> "Cursor":
        """No further than what there is. An id from beyond it is from before the database was
        restored, or made up: of it only the messages count, and where the order stands is told
        anew."""
        return self if there.covers(self) else Cursor(min(self.seq, there.seq))

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """`12.3.10.12`, or a message's number alone; None for anything else."""
        if not re.fullmatch(r"[0-9]{1,9}(\.-?[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9})?", text):
            return None
        return cls(*(int(part) for part in text.split(".")))
