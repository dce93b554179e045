"""Appointments: their rows, their birth, their moves, and how people see them."""

from db.appointment.booking import NewAppointment, book
from db.appointment.moves import (
    extend_payment,
    move_order,
    record_move,
    suspended_until,
)
from db.appointment.orders import (
    Appointment,
    OrderFilter,
    find_appointment,
    find_appointment_by_number,
    list_appointments,
)
from db.appointment.queue import (
    Calling,
    NoSuchSession,
    Place,
    QueueEntry,
    SessionCalledOff,
    call_again,
    call_next,
    find_in_queue,
    pass_over,
    place_in_queue,
    queue_of_day,
    queue_of_session,
)
from db.appointment.rows import AppointmentRow, StopRow, SuspensionRow, WaitlistRow
from db.appointment.rules import BookingRules, NoShowRule
from db.appointment.sessions import SessionFigures, SessionsWanted, find_session, list_sessions
from db.appointment.starts import TERMS, load_starts
from db.appointment.suspensions import (
    Suspension,
    find_suspension_of,
    lift_suspension,
    suspensions_of,
)

__all__ = [
    "TERMS",
    "Appointment",
    "AppointmentRow",
    "BookingRules",
    "Calling",
    "NewAppointment",
    "NoShowRule",
    "NoSuchSession",
    "OrderFilter",
    "Place",
    "QueueEntry",
    "SessionCalledOff",
    "SessionFigures",
    "SessionsWanted",
    "StopRow",
    "Suspension",
    "SuspensionRow",
    "WaitlistRow",
    "book",
    "call_again",
    "call_next",
    "extend_payment",
    "find_appointment",
    "find_appointment_by_number",
    "find_in_queue",
    "find_session",
    "find_suspension_of",
    "lift_suspension",
    "list_appointments",
    "list_sessions",
    "load_starts",
    "move_order",
    "pass_over",
    "place_in_queue",
    "queue_of_day",
    "queue_of_session",
    "record_move",
    "suspended_until",
    "suspensions_of",
]
