"""Duty (值班): a doctor is there for online consultations, now, of these types."""

from datetime import timedelta
from enum import StrEnum


class DutyType(StrEnum):
    TEXT = "text"
    VIDEO = "video"
    PHONE = "phone"
    EMERGENCY = "emergency"


HEARTBEAT = timedelta(seconds=30)  # how often an app says again that its doctor is there
SEEN_WITHIN = timedelta(minutes=2)  # who said nothing for longer is shown as away
