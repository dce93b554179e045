"""Money that moves, and the events that tell of it, in one transaction.

Every function works inside the caller's transaction.
"""

import secrets
import sqlite3
from datetime import datetime

from activities.gateways.payment import EventKind, PaymentState, RefundState
from activities.gateways.sandbox_wire import EventBody, PaymentAnswer, RefundAnswer
from sandbox.refusal import Refusal
from sandbox.store import instant, stamp


def take_money(db: sqlite3.Connection, payment_no: str, now: datetime) -> sqlite3.Row:
    """Mark it paid; money is taken once, whoever pays again."""
    db.execute(
        "UPDATE payment SET paid_at = ?, transaction_id = ?"
        " WHERE payment_no = ? AND paid_at IS NULL",
        (stamp(now), "SBT" + secrets.token_hex(12), payment_no),
    )
    return known_payment(db, payment_no)


def tell_payment(db: sqlite3.Connection, payment: sqlite3.Row, times: int, due: datetime) -> None:
    body = EventBody(
        event_id=_event_id(),
        kind=EventKind.PAYMENT_SUCCEEDED,
        payment_no=payment["payment_no"],
        amount=payment["amount"],
        at=instant(payment["paid_at"]),
        transaction_id=payment["transaction_id"],
    )
    _tell(db, payment["notify_url"], body, times, due)


def end_refund(db: sqlite3.Connection, refund_no: str, state: RefundState, now: datetime) -> None:
    """Move a pending refund to its end and tell of it; an ended one stays as it is."""
    ended = db.execute(
        "UPDATE refund SET state = ?, finished_at = ? WHERE refund_no = ? AND state = 'pending'",
        (state.value, stamp(now), refund_no),
    )
    if ended.rowcount == 0:
        return
    refund = db.execute("SELECT * FROM refund WHERE refund_no = ?", (refund_no,)).fetchone()
    payment = known_payment(db, refund["payment_no"])
    succeeded = state is RefundState.SUCCEEDED
    body = EventBody(
        event_id=_event_id(),
        kind=EventKind.REFUND_SUCCEEDED if succeeded else EventKind.REFUND_FAILED,
        payment_no=refund["payment_no"],
        refund_no=refund_no,
        amount=refund["amount"],
        at=now,
        transaction_id=payment["transaction_id"],
    )
    _tell(db, payment["notify_url"], body, refund["callbacks"], now)


def end_due_refunds(db: sqlite3.Connection, now: datetime) -> None:
    due = db.execute(
        "SELECT refund_no, ends_as FROM refund"
        " WHERE state = 'pending' AND ends_at <= ? ORDER BY ends_at",
        (stamp(now),),
    ).fetchall()
    for row in due:
        end_refund(db, row["refund_no"], RefundState(row["ends_as"]), now)


def known_payment(db: sqlite3.Connection, payment_no: str) -> sqlite3.Row:
    row = find_payment(db, payment_no)
    if row is None:
        raise Refusal(404, "unknown_payment")
    return row


def _event_id() -> str:
    return "SBE" + secrets.token_hex(12)


def _tell(db: sqlite3.Connection, url: str, body: EventBody, times: int, due: datetime) -> None:
    refund = body.kind is not EventKind.PAYMENT_SUCCEEDED
    subject = f"refund:{body.refund_no}" if refund else f"payment:{body.payment_no}"
    # A later telling of the same fact is the same event: the first body and id stay.
    if times:
        db.execute(
            "INSERT INTO event (event_id, subject, url, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (subject) DO NOTHING",
            (body.event_id, subject, url, body.model_dump_json()),
        )
    for _ in range(times):
        db.execute(
            "INSERT INTO delivery (event_id, due_at)"
            " SELECT event_id, ? FROM event WHERE subject = ?",
            (stamp(due), subject),
        )


def find_payment(db: sqlite3.Connection, payment_no: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM payment WHERE payment_no = ?", (payment_no,)
    ).fetchone()
    return row


def find_refund(db: sqlite3.Connection, refund_no: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM refund WHERE refund_no = ?", (refund_no,)
    ).fetchone()
    return row


def payment_answer(payment_no: str, row: sqlite3.Row | None, now: datetime) -> PaymentAnswer:
    if row is None:
        return PaymentAnswer(payment_no=payment_no, state=PaymentState.UNKNOWN)
    return PaymentAnswer(
        payment_no=payment_no,
        state=payment_state(row, now),
        amount=row["amount"],
        paid_at=instant(row["paid_at"]) if row["paid_at"] else None,
        transaction_id=row["transaction_id"],
    )


def payment_state(row: sqlite3.Row, now: datetime) -> PaymentState:
    if row["paid_at"]:
        return PaymentState.PAID
    if row["closed_at"] or instant(row["expires_at"]) <= now:
        return PaymentState.CLOSED
    return PaymentState.PENDING


def refund_answer(refund_no: str, row: sqlite3.Row | None) -> RefundAnswer:
    if row is None:
        return RefundAnswer(refund_no=refund_no, state=RefundState.UNKNOWN)
    return RefundAnswer(
        refund_no=refund_no,
        state=RefundState(row["state"]),
        payment_no=row["payment_no"],
        amount=row["amount"],
        finished_at=instant(row["finished_at"]) if row["finished_at"] else None,
        gateway_refund_no=row["gateway_refund_no"],
    )
