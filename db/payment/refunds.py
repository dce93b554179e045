"""Refunds: promised once per cause, never more than came in."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import local_today
from db.outbox import promise
from db.payment.ledger import ELSEWHERE, transfer
from db.payment.payments import owner_of
from db.payment.rows import RefundRow
from db.work_item import open_work_item
from domain.hospital import WorkItemPolicy
from domain.message import Template
from domain.order import NumberPrefix, new_number
from domain.payment import RefundCause, RefundStatus, refundable, share_of
from domain.work_item import WorkItemKind, for_desk, with_reminder


@dataclass(frozen=True)
class Refund:
    refund_no: str
    payment_no: str
    order_no: str
    amount: Decimal
    cause: RefundCause
    status: RefundStatus
    version: int
    hospital_id: int


def _refunds() -> Any:
    r = RefundRow
    return select(
        r.refund_no,
        r.payment_no,
        r.order_no,
        r.amount,
        r.cause,
        r.status,
        r.version,
        r.hospital_id,
    ).order_by(r.id)


def _refund(row: Any) -> Refund:
    return Refund(
        **{**row._mapping, "cause": RefundCause(row.cause), "status": RefundStatus(row.status)}
    )


async def refunds_of(connection: AsyncConnection, payment_no: str) -> list[Refund]:
    rows = await connection.execute(_refunds().where(RefundRow.payment_no == payment_no))
    return [_refund(row) for row in rows]


async def find_refund(connection: AsyncConnection, refund_no: str) -> Refund | None:
    row = (
        await connection.execute(_refunds().where(RefundRow.refund_no == refund_no))
    ).one_or_none()
    return _refund(row) if row else None


async def owe_refund(
    connection: AsyncConnection,
    payment_no: str,
    refund_no: str,
    cause: RefundCause,
    share: Decimal,
) -> str | None:
    """Promise money back, once per cause and never more than came in.

    Answers the refund's number, that of an earlier call for the same cause, or None when nothing
    is left to give back. The row lock makes the sum true.
    """
    received = await _lock_payment(connection, payment_no)
    for refund in reversed(await refunds_of(connection, payment_no)):
        if refund.cause is cause:
            return refund.refund_no
    wanted = share_of(received, share)
    return await _promise_back(connection, payment_no, refund_no, cause, wanted, received)


async def _lock_payment(connection: AsyncConnection, payment_no: str) -> Decimal:
    """What came in. Nobody else promises money of this payment until the transaction ends."""
    received: Decimal = (
        await connection.execute(
            text("select received from payment where payment_no = :payment_no for update"),
            {"payment_no": payment_no},
        )
    ).scalar_one()
    return received


async def _promise_back(
    connection: AsyncConnection,
    payment_no: str,
    refund_no: str,
    cause: RefundCause,
    wanted: Decimal,
    received: Decimal,
) -> str | None:
    """A new refund, of what is left at the most; None when nothing is."""
    earlier = await refunds_of(connection, payment_no)
    owed = sum((r.amount for r in earlier if r.status is not RefundStatus.FAILED), Decimal(0))
    amount = refundable(received, owed, wanted)
    if not amount:
        return None
    payment = (
        await connection.execute(
            text("select hospital_id, order_no from payment where payment_no = :payment_no"),
            {"payment_no": payment_no},
        )
    ).one()
    await connection.execute(
        insert(RefundRow).values(
            hospital_id=payment.hospital_id,
            refund_no=refund_no,
            payment_no=payment_no,
            order_no=payment.order_no,
            amount=amount,
            cause=cause,
            status=RefundStatus.PENDING,
        )
    )
    await _tell_payment(connection, payment.order_no, payment_no, "refund_owed", refund_no)
    return refund_no


async def _tell_payment(
    connection: AsyncConnection, order_no: str, payment_no: str, signal: str, refund_no: str
) -> None:
    await promise(
        connection,
        stream=order_no,
        workflow="payment",
        subject=payment_no,
        signal=signal,
        args={"refund_no": refund_no},
    )


async def record_refund(
    connection: AsyncConnection, refund: Refund, status: RefundStatus, at: datetime
) -> bool:
    """The gateway's last word on a refund; what went back is in the ledger, and its payer promised
    the news, by the same commit.

    True when a person has said meanwhile that it was paid otherwise: then it was paid twice, the
    ledger shows it, and somebody must look (have_double_looked_at).
    """
    said = await connection.execute(
        text(
            """update refund set status = :status, version = version + 1, finished_at = :at
                where refund_no = :refund_no
                  and status not in ('succeeded', 'settled_elsewhere')"""
        ),
        {"refund_no": refund.refund_no, "status": status, "at": at},
    )
    if status is RefundStatus.SUCCEEDED:
        key = f"refund:{refund.refund_no}"
        await transfer(connection, key, refund.payment_no, at, -refund.amount)
    if said.rowcount:
        if status is RefundStatus.SUCCEEDED:
            await _tell_payer(connection, refund.refund_no, Template.PAYMENT_REFUNDED)
        return False
    stands = await find_refund(connection, refund.refund_no)
    settled = stands is not None and stands.status is RefundStatus.SETTLED_ELSEWHERE
    return settled and status is RefundStatus.SUCCEEDED


async def _tell_payer(connection: AsyncConnection, refund_no: str, template: Template) -> None:
    """The same fact as the payment's workflow may tell: whichever comes first is the one."""
    fact = f"{refund_no}:{template}"
    await promise(connection, stream=fact, workflow="message", subject=fact)


async def all_went_back(connection: AsyncConnection, payment_no: str) -> bool:
    """Whether nothing of what came in is left here."""
    left: Decimal | None = await connection.scalar(
        text(
            """select received - coalesce((select sum(amount) from refund r
                       where r.payment_no = p.payment_no
                         and r.status in ('succeeded', 'settled_elsewhere')), 0)
                 from payment p where payment_no = :payment_no"""
        ),
        {"payment_no": payment_no},
    )
    return left == 0


# What a person decides about one that is stuck


async def is_overdue(connection: AsyncConnection, refund_no: str, patience: timedelta) -> bool:
    """Whether it has been on its way for longer than that, since it was promised or since a
    person last looked at it."""
    overdue: bool | None = await connection.scalar(
        text(
            """select now() > :patience + greatest(r.created_at, (
                       select max(w.closed_at) from work_item w
                        where w.kind = 'refund_stuck' and w.subject = r.refund_no))
                 from refund r where r.refund_no = :refund_no and r.status = 'pending'"""
        ),
        {"refund_no": refund_no, "patience": patience},
    )
    return bool(overdue)


async def retry_refund(connection: AsyncConnection, refund_no: str) -> None:
    """The money goes on its way again: under the same number while the gateway may still make it
    (a new one could pay twice), under a new one when it refused for good."""
    refund = await _stuck(connection, refund_no)
    if refund is None:
        return
    if refund.status is RefundStatus.PENDING:
        await _tell_payment(
            connection, refund.order_no, refund.payment_no, "refund_owed", refund_no
        )
        return
    received = await _lock_payment(connection, refund.payment_no)
    number = new_number(NumberPrefix.REFUND, await local_today(connection))
    await _promise_back(
        connection, refund.payment_no, number, refund.cause, refund.amount, received
    )


async def settle_elsewhere(
    connection: AsyncConnection, refund_no: str, *, by: int | None, at: datetime
) -> bool:
    """A person found that the money went back by other means: at the counter, by bank transfer.
    What the gateway holds stays the hospital's.

    True when the gateway has made it meanwhile, or another refund in its place may: a person says
    that they paid, so the ledger shows that too, and somebody must look (have_double_looked_at).
    """
    refund = await _stuck(connection, refund_no)
    if refund is None:
        paid = await find_refund(connection, refund_no)
        if paid is None or paid.status is RefundStatus.SETTLED_ELSEWHERE:
            return False
        await _paid_elsewhere(connection, paid, at)
        return True
    await connection.execute(
        text(
            """update refund set status = 'settled_elsewhere', version = version + 1,
                   finished_at = :at, settled_by = :by where refund_no = :refund_no"""
        ),
        {"refund_no": refund_no, "at": at, "by": by},
    )
    await _paid_elsewhere(connection, refund, at)
    await _tell_payment(
        connection, refund.order_no, refund.payment_no, "refund_finished", refund_no
    )
    await _tell_payer(connection, refund_no, Template.PAYMENT_SETTLED_ELSEWHERE)
    return False


async def _paid_elsewhere(connection: AsyncConnection, refund: Refund, at: datetime) -> None:
    key = f"settled:{refund.refund_no}"
    await transfer(connection, key, refund.payment_no, at, -refund.amount, through=ELSEWHERE)


async def have_double_looked_at(
    connection: AsyncConnection, refund_no: str, policy: WorkItemPolicy
) -> None:
    """What went back twice, by the gateway and by a person's hand, an operator asks back. Once."""
    refund = await find_refund(connection, refund_no)
    if refund is None:
        return
    subject = f"paid_twice:{refund_no}"
    desk = for_desk(WorkItemKind.RECONCILIATION_DIFFERENCE, subject, policy.lease)
    payer = await owner_of(connection, refund.hospital_id, refund.payment_no)
    twice = replace(
        with_reminder(desk, datetime.now(UTC) + policy.remind_after),
        round=0,
        order_no=refund.order_no,
        excluded=() if payer is None else (payer,),
        details={
            "code": "paid_twice",
            "kind": "refund",
            "number": refund_no,
            "payment_no": refund.payment_no,
            "amount": str(refund.amount),
        },
    )
    await open_work_item(connection, refund.hospital_id, twice)


async def _stuck(connection: AsyncConnection, refund_no: str) -> Refund | None:
    """The refund, its row locked, unless it is done, or another one took its place."""
    locked = _refunds().where(RefundRow.refund_no == refund_no).with_for_update()
    row = (await connection.execute(locked)).one_or_none()
    if row is None:
        return None
    refund = _refund(row)
    if refund.status not in (RefundStatus.PENDING, RefundStatus.FAILED):
        return None
    later = [r for r in await refunds_of(connection, refund.payment_no) if r.cause is refund.cause]
    return refund if later[-1].refund_no == refund_no else None
