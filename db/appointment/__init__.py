"""Appointments: their rows, their birth, their moves, and how people see them."""

from db.appointment.booking import NewAppointment, book
from db.appointment.moves import (
    extend_payment,
    move_order,
    payment_that_counts,
    record_move,
    suspended_until,
)
from db.appointment.orders import (
    Appointment,
    OrderFilter,
    Payable,
    find_appointment,
    find_order,
    list_appointments,
    lock_payable,
)
from db.appointment.rows import AppointmentRow, StopRow, SuspensionRow, WaitlistRow
from db.appointment.rules import BookingRules, NoShowRule
from db.appointment.starts import TERMS, load_starts

__all__ = [
    "TERMS",
    "Appointment",
    "AppointmentRow",
    "BookingRules",
    "NewAppointment",
    "NoShowRule",
    "OrderFilter",
    "Payable",
    "StopRow",
    "SuspensionRow",
    "WaitlistRow",
    "book",
    "extend_payment",
    "find_appointment",
    "find_order",
    "list_appointments",
    "load_starts",
    "lock_payable",
    "move_order",
    "payment_that_counts",
    "record_move",
    "suspended_until",
]
