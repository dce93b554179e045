"""What was compared each night, what did not agree, and our books as the bill is held against."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, case, func, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Fields, Numbered
from db.work_item import open_work_item
from domain.hospital import WorkItemPolicy
from domain.reconciliation import Billed, Booked, Difference, MoneyKind, RunStatus, Span
from domain.work_item import NewWorkItem, WorkItemKind, for_desk, with_reminder

K = WorkItemKind.RECONCILIATION_DIFFERENCE


class RunRow(Numbered, Base):
    """One day of one channel. Compared again it is the same row."""

    __tablename__ = "reconciliation_run"
    __table_args__ = (UniqueConstraint("hospital_id", "day", "channel"),)

    hospital_id: Mapped[int]
    day: Mapped[date]
    channel: Mapped[str]
    status: Mapped[str]  # domain.reconciliation.RunStatus
    figures: Mapped[Fields]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class DifferenceRow(Numbered, Base):
    """One fact that does not agree, with the run that found it first."""

    __tablename__ = "reconciliation_difference"
    __table_args__ = (UniqueConstraint("hospital_id", "fact"),)

    hospital_id: Mapped[int]
    run_id: Mapped[int] = mapped_column(ForeignKey("reconciliation_run.id"), index=True)
    fact: Mapped[str]
    subject: Mapped[str]  # of its work item
    code: Mapped[str]
    kind: Mapped[str]
    number: Mapped[str]
    payment_no: Mapped[str]
    order_no: Mapped[str]
    bill_amount: Mapped[Decimal | None]
    books_amount: Mapped[Decimal | None]
    details: Mapped[Fields]  # codes and amounts
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())


@dataclass(frozen=True)
class Run:
    day: date
    channel: str
    status: RunStatus
    figures: dict[str, int]
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Found:
    """A difference, and how far its work item is. Empty where it concerns none."""

    channel: str
    code: str
    kind: str
    number: str
    payment_no: str
    order_no: str
    bill_amount: Decimal | None
    books_amount: Decimal | None
    details: dict[str, str]
    found_at: datetime
    work_item_id: int | None
    work_item_status: str
    decision: str


# The books


PAYMENTS = text(
    """select 'payment' as kind, p.payment_no as number, p.payment_no, p.order_no,
              case when p.received > 0 then p.received else p.amount end as amount, p.status,
              p.received > 0 as moved, p.paid_at as at, p.created_at as since, l.amount as ledger
         from payment p left join lateral (
              select sum(e.amount) as amount
                from ledger_transfer t join ledger_entry e on e.transfer_id = t.id
               where t.key = 'paid:' || p.payment_no
                 and e.ledger_account = 'gateway:' || p.channel) l on true
        where p.hospital_id = :hospital_id and p.channel = :channel
          and (p.payment_no = any(:payments) or p.paid_at >= :since and p.paid_at < :until)"""
)
# One that a person settled otherwise, and that the gateway made all the same, moved too.
REFUNDS = text(
    """select 'refund' as kind, r.refund_no as number, r.payment_no, r.order_no, r.amount,
              r.status, r.status = 'succeeded' or l.amount is not null as moved,
              coalesce(l.at, r.finished_at) as at, r.created_at as since, -l.amount as ledger
         from refund r join payment p on p.payment_no = r.payment_no left join lateral (
              select sum(e.amount) as amount, min(t.at) as at
                from ledger_transfer t join ledger_entry e on e.transfer_id = t.id
               where t.key = 'refund:' || r.refund_no
                 and e.ledger_account = 'gateway:' || p.channel) l on true
        where r.hospital_id = :hospital_id and p.channel = :channel
          and (r.refund_no = any(:refunds) or r.finished_at >= :since and r.finished_at < :until)"""
)


async def books_for(
    connection: AsyncConnection, hospital_id: int, channel: str, lines: list[Billed], span: Span
) -> dict[tuple[str, str], Booked]:
    """What we know of the bill's numbers, and what moved that day, by kind and number."""
    numbers = {kind: [line.number for line in lines if line.kind is kind] for kind in MoneyKind}
    values = {
        "hospital_id": hospital_id,
        "channel": channel,
        "payments": numbers[MoneyKind.PAYMENT],
        "refunds": numbers[MoneyKind.REFUND],
        "since": span.look_from,
        "until": span.until,
    }
    found = {}
    for query in (PAYMENTS, REFUNDS):
        for row in await connection.execute(query, values):
            booked = Booked(**{**row._mapping, "kind": MoneyKind(row.kind)})
            found[booked.kind.value, booked.number] = booked
    return found


# Runs


async def begin_run(
    connection: AsyncConnection, hospital_id: int, day: date, channel: str, status: RunStatus
) -> int:
    """The run's id. One of an earlier night begins again; its differences stay."""
    values = {"hospital_id": hospital_id, "day": day, "channel": channel, "status": status}
    again = {
        "status": status,
        "finished_at": None,
        "started_at": case((RunRow.finished_at.is_(None), RunRow.started_at), else_=func.now()),
    }
    made: int = (
        await connection.execute(
            insert(RunRow)
            .values(**values, figures={})
            .on_conflict_do_update(index_elements=["hospital_id", "day", "channel"], set_=again)
            .returning(RunRow.id)
        )
    ).scalar_one()
    return made


async def finish_run(
    connection: AsyncConnection, run_id: int, figures: dict[str, int], status: RunStatus
) -> None:
    await connection.execute(
        update(RunRow)
        .where(RunRow.id == run_id)
        .values(status=status, finished_at=func.now(), figures=figures)
    )


async def stop_runs(connection: AsyncConnection, hospital_id: int, day: date) -> None:
    """Those of this day that are not finished never will be."""
    await connection.execute(
        update(RunRow)
        .where(RunRow.hospital_id == hospital_id, RunRow.day == day, RunRow.finished_at.is_(None))
        .values(status=RunStatus.STOPPED, finished_at=func.now())
    )


async def file_difference(
    connection: AsyncConnection,
    hospital_id: int,
    run_id: int,
    found: Difference,
    *,
    channel: str,
    day: date,
    policy: WorkItemPolicy,
) -> bool:
    """A row, and a work item in the same commit. False when this fact is filed already."""
    values = {**vars(found), "hospital_id": hospital_id, "run_id": run_id}
    made = await connection.execute(
        insert(DifferenceRow).values(values).on_conflict_do_nothing().returning(DifferenceRow.id)
    )
    if made.one_or_none() is None:
        return False
    await open_work_item(connection, hospital_id, _work_item(found, channel, day, policy))
    return True


def _work_item(found: Difference, channel: str, day: date, policy: WorkItemPolicy) -> NewWorkItem:
    desk = for_desk(K, found.subject, policy.lease)
    base = with_reminder(desk, datetime.now(UTC) + policy.remind_after)
    told = {
        "code": str(found.code),
        "day": day.isoformat(),
        "channel": channel,
        "kind": found.kind,
        "number": found.number,
        "payment_no": found.payment_no,
        "bill": "" if found.bill_amount is None else f"{found.bill_amount:f}",
        "books": "" if found.books_amount is None else f"{found.books_amount:f}",
        **found.details,
    }
    return NewWorkItem(
        **{
            **vars(base),
            "round": 0 if found.once else None,
            "order_no": found.order_no or None,
            "details": {name: value for name, value in told.items() if value},
        }
    )


# For operators


async def list_runs(
    connection: AsyncConnection, hospital_id: int, *, page: int, size: int
) -> tuple[list[Run], int]:
    """A page, newest day first, and how many there are in all."""
    rows = await connection.execute(
        text(
            """select day, channel, status, figures, started_at, finished_at
                 from reconciliation_run where hospital_id = :hospital_id
                order by day desc, channel limit :size offset (:page - 1) * :size"""
        ),
        {"hospital_id": hospital_id, "page": page, "size": size},
    )
    total = await connection.scalar(
        text("select count(*) from reconciliation_run where hospital_id = :hospital_id"),
        {"hospital_id": hospital_id},
    )
    return [_run(row) for row in rows], total or 0


async def runs_of(connection: AsyncConnection, hospital_id: int, day: date) -> list[Run]:
    rows = await connection.execute(
        text(
            """select day, channel, status, figures, started_at, finished_at
                 from reconciliation_run where hospital_id = :hospital_id and day = :day
                order by channel"""
        ),
        {"hospital_id": hospital_id, "day": day},
    )
    return [_run(row) for row in rows]


def _run(row: Any) -> Run:
    return Run(**{**row._mapping, "status": RunStatus(row.status)})


async def differences_of(connection: AsyncConnection, hospital_id: int, day: date) -> list[Found]:
    """Those that the runs of this day found first, in the order of finding."""
    rows = await connection.execute(
        text(
            """select r.channel, d.code, d.kind, d.number, d.payment_no, d.order_no,
                      d.bill_amount, d.books_amount, d.details, d.found_at,
                      w.id as work_item_id, coalesce(w.status, '') as work_item_status,
                      coalesce(w.decision, '') as decision
                 from reconciliation_difference d
                 join reconciliation_run r on r.id = d.run_id
                 left join lateral (
                      select id, status, decision from work_item
                       where hospital_id = d.hospital_id and kind = :kind and subject = d.subject
                       order by round desc limit 1) w on true
                where r.hospital_id = :hospital_id and r.day = :day order by d.id"""
        ),
        {"hospital_id": hospital_id, "day": day, "kind": K},
    )
    return [Found(**row._mapping) for row in rows]
