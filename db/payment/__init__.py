"""Payments, refunds, and the ledger in which every fen has two entries."""

from db.payment.payments import (
    Payment,
    find_payment,
    keep_pay_url,
    load_payment_start,
    money_in_inbox,
    open_payment,
    owner_of,
    payments_of,
    record_payment,
)
from db.payment.refunds import (
    Refund,
    all_went_back,
    find_refund,
    have_double_looked_at,
    is_overdue,
    owe_refund,
    record_refund,
    refunds_of,
    retry_refund,
    settle_elsewhere,
)
from db.payment.rows import (
    LedgerEntryRow,
    LedgerTransferRow,
    PaymentRow,
    RefundRow,
)

__all__ = [
    "LedgerEntryRow",
    "LedgerTransferRow",
    "Payment",
    "PaymentRow",
    "Refund",
    "RefundRow",
    "all_went_back",
    "find_payment",
    "find_refund",
    "have_double_looked_at",
    "is_overdue",
    "keep_pay_url",
    "load_payment_start",
    "money_in_inbox",
    "open_payment",
    "owe_refund",
    "owner_of",
    "payments_of",
    "record_payment",
    "record_refund",
    "refunds_of",
    "retry_refund",
    "settle_elsewhere",
]
