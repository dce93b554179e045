"""Appointments: their rows, their birth, their moves, and how people see them."""

from db.appointment.booking import BookingRules, NewAppointment, book
from db.appointment.moves import (
    NoShowRule,
    extend_payment,
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
from db.appointment.rows import AppointmentRow, SuspensionRow
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
    "NewAppointment",
    "NoShowRule",
    "OrderFilter",
    "Payable",
    "Suspension",
    "SuspensionRow",
    "book",
    "extend_payment",
    "find_appointment",
    "find_order",
    "find_suspension_of",
    "lift_suspension",
    "list_appointments",
    "load_starts",
    "lock_payable",
    "payment_that_counts",
    "record_move",
    "suspended_until",
    "suspensions_of",
]
