"""Test controls: what payers, banks and bad luck do, on demand."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from activities.gateways.payment import RefundState
from activities.gateways.sandbox_wire import PaymentAnswer, RefundAnswer, RefundMode
from sandbox.money import (
    end_refund,
    find_refund,
    known_payment,
    payment_answer,
    refund_answer,
    take_money,
    tell_payment,
)
from sandbox.refusal import Refusal
from sandbox.store import Store, instant, stamp


@dataclass(frozen=True)
class RefundPlan:
    """What becomes of the refunds to come. `delay` None: the gateway's own default."""

    mode: RefundMode = RefundMode.SUCCEED
    delay: timedelta | None = None
    callbacks: int = 1


_PLAN = TypeAdapter(RefundPlan)


def refund_plan(db: sqlite3.Connection) -> RefundPlan:
    text = _get(db, "refunds")
    return RefundPlan() if text is None else _PLAN.validate_json(text)


@dataclass(frozen=True)
class Controls:
    store: Store

    def pay(
        self,
        payment_no: str,
        now: datetime,
        *,
        times: int,
        delay: timedelta,
        fail: bool,
        callback: bool,
    ) -> PaymentAnswer:
        """Money is taken even after a close, as real gateways sometimes do."""
        with self.store.transaction() as db:
            payment = known_payment(db, payment_no)
            if fail:
                note_failed_attempt(db, payment_no, now)
            else:
                payment = take_money(db, payment_no, now)
                tell_payment(db, payment, times if callback else 0, now + delay)
            return payment_answer(payment_no, payment, now)

    def plan_refunds(self, plan: RefundPlan) -> None:
        with self.store.transaction() as db:
            _set(db, "refunds", _PLAN.dump_json(plan).decode())

    def settle_refund(self, refund_no: str, outcome: RefundState, now: datetime) -> RefundAnswer:
        with self.store.transaction() as db:
            if find_refund(db, refund_no) is None:
                raise Refusal(404, "unknown_refund")
            end_refund(db, refund_no, outcome, now)
            answer = refund_answer(refund_no, find_refund(db, refund_no))
            if answer.state is not outcome:
                raise Refusal(409, "already_settled")
            return answer

    def begin_outage(self, until: datetime) -> None:
        with self.store.transaction() as db:
            _set(db, "outage_until", stamp(until))

    def outage(self, now: datetime) -> bool:
        with self.store.transaction() as db:
            until = _get(db, "outage_until")
            return until is not None and now < instant(until)


def note_failed_attempt(db: sqlite3.Connection, payment_no: str, now: datetime) -> None:
    db.execute(
        "INSERT INTO failed_attempt (payment_no, at) VALUES (?, ?)", (payment_no, stamp(now))
    )


def _get(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM control WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row["value"])


def _set(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute(
        "INSERT INTO control (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
