"""What the end of a consultation means for the money, and what the patient is told."""

from domain.consultation.words import Reason
from domain.message import Template
from domain.payment import RefundCause


def refund_cause(reason: Reason) -> RefundCause:
    return {
        Reason.PATIENT: RefundCause.PATIENT,
        Reason.UNPAID: RefundCause.ORDER_CLOSED,
    }.get(reason, RefundCause.CLINIC)


def news_of(reason: Reason) -> Template:
    """Of an order that came to nothing."""
    return {
        Reason.UNPAID: Template.CONSULTATION_UNPAID_CLOSED,
        Reason.PATIENT: Template.CONSULTATION_CANCELLED,
        Reason.UNSUITABLE: Template.CONSULTATION_REFERRED,
    }.get(reason, Template.CONSULTATION_REFUNDED)
