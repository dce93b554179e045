"""What a merchant asks of the gateway: open, look at, close and give back payments."""

import secrets
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from activities.gateways.payment import BillKind, RefundState
from activities.gateways.sandbox_wire import (
    BillAnswer,
    BillLineAnswer,
    PaymentAnswer,
    PrepayQuestion,
    RefundAnswer,
    RefundMode,
    RefundQuestion,
)
from sandbox.controls import refund_plan
from sandbox.money import find_payment, find_refund, payment_answer, refund_answer
from sandbox.refusal import Refusal
from sandbox.store import Store, instant, stamp


@dataclass(frozen=True)
class Merchant:
    """Each method is one transaction; `now` is the gateway's clock."""

    store: Store
    refund_delay: timedelta

    def prepay(self, question: PrepayQuestion, now: datetime) -> str:
        """The gateway's own number. Repeats are compared by amount alone."""
        with self.store.transaction() as db:
            known = find_payment(db, question.payment_no)
            if known:
                if known["amount"] != question.amount:
                    raise Refusal(409, "amount_differs")
                return str(known["gateway_no"])
            if question.expires_at <= now:
                raise Refusal(409, "already_expired")
            gateway_no = "SBX" + secrets.token_hex(12)
            db.execute(
                "INSERT INTO payment (payment_no, gateway_no, amount, description, notify_url,"
                " expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    question.payment_no,
                    gateway_no,
                    question.amount,
                    question.description,
                    question.notify_url,
                    stamp(question.expires_at),
                ),
            )
            return gateway_no

    def query(self, payment_no: str, now: datetime) -> PaymentAnswer:
        with self.store.transaction() as db:
            return payment_answer(payment_no, find_payment(db, payment_no), now)

    def close(self, payment_no: str, now: datetime) -> PaymentAnswer:
        with self.store.transaction() as db:
            db.execute(
                "UPDATE payment SET closed_at = ?"
                " WHERE payment_no = ? AND closed_at IS NULL AND paid_at IS NULL",
                (stamp(now), payment_no),
            )
            return payment_answer(payment_no, find_payment(db, payment_no), now)

    def refund(self, question: RefundQuestion, now: datetime) -> RefundAnswer:
        with self.store.transaction() as db:
            plan = refund_plan(db)
            if plan.mode is RefundMode.UNAVAILABLE:
                raise Refusal(503, "refunds_unavailable")
            known = find_refund(db, question.refund_no)
            if known:
                same = (known["payment_no"], known["amount"])
                if same != (question.payment_no, question.amount):
                    raise Refusal(409, "refund_differs")
                return refund_answer(question.refund_no, known)
            _check_refund(db, question)
            ends_at = None
            if plan.mode is not RefundMode.PENDING:
                ends_at = stamp(now + (self.refund_delay if plan.delay is None else plan.delay))
            fails = plan.mode is RefundMode.FAIL
            db.execute(
                "INSERT INTO refund (refund_no, gateway_refund_no, payment_no, amount, reason,"
                " state, ends_as, ends_at, callbacks) VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?)",
                (
                    question.refund_no,
                    "SBR" + secrets.token_hex(12),
                    question.payment_no,
                    question.amount,
                    question.reason,
                    (RefundState.FAILED if fails else RefundState.SUCCEEDED).value,
                    ends_at,
                    plan.callbacks,
                ),
            )
            return refund_answer(question.refund_no, find_refund(db, question.refund_no))

    def query_refund(self, refund_no: str) -> RefundAnswer:
        with self.store.transaction() as db:
            return refund_answer(refund_no, find_refund(db, refund_no))

    def bill(self, since: datetime, until: datetime) -> BillAnswer:
        """Money that moved in [since, until)."""
        with self.store.transaction() as db:
            rows = db.execute(
                "SELECT 'payment' AS kind, payment_no, NULL AS refund_no, amount,"
                "       paid_at AS at, transaction_id FROM payment"
                " WHERE paid_at >= :since AND paid_at < :until "
                "UNION ALL SELECT 'refund', payment_no, refund_no, refund.amount,"
                "       finished_at, transaction_id FROM refund JOIN payment USING (payment_no)"
                " WHERE finished_at >= :since AND finished_at < :until AND state = 'succeeded' "
                "ORDER BY at",
                {"since": stamp(since), "until": stamp(until)},
            ).fetchall()
        return BillAnswer(
            lines=[
                BillLineAnswer(
                    kind=BillKind(row["kind"]),
                    payment_no=row["payment_no"],
                    refund_no=row["refund_no"],
                    amount=row["amount"],
                    at=instant(row["at"]),
                    transaction_id=row["transaction_id"],
                )
                for row in rows
            ]
        )


def _check_refund(db: sqlite3.Connection, question: RefundQuestion) -> None:
    payment = find_payment(db, question.payment_no)
    if payment is None:
        raise Refusal(404, "unknown_payment")
    if not payment["paid_at"]:
        raise Refusal(409, "not_paid")
    if payment["amount"] != question.total:
        raise Refusal(409, "total_differs")
    (owed,) = db.execute(
        "SELECT coalesce(sum(amount), 0) FROM refund WHERE payment_no = ? AND state <> 'failed'",
        (question.payment_no,),
    ).fetchone()
    if owed + question.amount > payment["amount"]:
        raise Refusal(409, "refund_exceeds_paid")
