"""The line (候补) of those who wait for a source of a full slot."""

from enum import StrEnum


class WaitlistStatus(StrEnum):
    WAITING = "waiting"
    OFFERED = "offered"  # a source came free: an unpaid order holds it for a while
    BOOKED = "booked"  # and was paid
    LAPSED = "lapsed"  # and was not paid, or this person could not have it any more
    LEFT = "left"  # by themselves
    ENDED = "ended"  # the slot began, or was called off, without a source for them


class LineEnd(StrEnum):
    """Why a place ended without an offer and not by the patient, as they are told."""

    CALLED_OFF = "called_off"
    LAPSED = "lapsed"  # the booking rules give this person no place there any more
    BEGUN = "begun"
