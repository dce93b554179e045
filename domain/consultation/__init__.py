"""Online consultation (在线问诊) rules. Pure: no clock, no I/O, no Temporal, no SQL.

What an order does next by itself is `next_step`: the whole of what was promised in time, in one
place. What a person may do is `refusal`. What an event changes is in `changes`.
"""

from domain.consultation import changes
from domain.consultation.asks import Ask, refusal
from domain.consultation.promises import BY_ITSELF, Due, Step, next_step
from domain.consultation.words import (
    Case,
    ConsultationMove,
    ConsultationStart,
    ConsultationStatus,
    ConsultationType,
    Progress,
    Reason,
    Terms,
    Urgency,
    VisitKind,
    Way,
)

__all__ = [
    "BY_ITSELF",
    "Ask",
    "Case",
    "ConsultationMove",
    "ConsultationStart",
    "ConsultationStatus",
    "ConsultationType",
    "Due",
    "Progress",
    "Reason",
    "Step",
    "Terms",
    "Urgency",
    "VisitKind",
    "Way",
    "changes",
    "next_step",
    "refusal",
]
