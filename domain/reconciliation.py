"""Reconciliation (对账): the gateway's bill against our books. Pure: no clock, no I/O, no SQL."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

WORKFLOWS = "workflows"  # stands for a channel where rows are compared with workflows
EDGE = timedelta(hours=1)  # what was booked so near midnight may stand in the next day's bill
REFUND_TAKES = timedelta(days=14)  # a bill has a refund on the day it was asked for


class Code(StrEnum):
    MISSING_IN_BILL = "missing_in_bill"  # we have noted what the gateway does not know
    MISSING_IN_BOOKS = "missing_in_books"  # the gateway moved money that we have not noted
    OTHER_AMOUNT = "other_amount"
    NOT_IN_LEDGER = "not_in_ledger"  # the row says so, the ledger does not, or another amount
    BAD_LINE = "bad_line"  # a line of the bill that cannot be read
    NO_BILL = "no_bill"  # it did not come in time, or is refused
    ROW_WITHOUT_WORKFLOW = "row_without_workflow"
    WORKFLOW_WITHOUT_ROW = "workflow_without_row"  # it runs, its row is closed or unknown


class RunStatus(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"  # for the bill
    DONE = "done"
    NO_BILL = "no_bill"
    STOPPED = "stopped"  # by an operator, before it was over


class MoneyKind(StrEnum):
    PAYMENT = "payment"
    REFUND = "refund"


@dataclass(frozen=True)
class ReconciliationStart:
    """`day` None: the day before the one for which the schedule started it, in `zone`."""

    zone: str
    day: date | None = None


def day_before(at: datetime, zone: str) -> date:
    # Not in the workflow: its sandbox wraps ZoneInfo, which astimezone() then refuses.
    return at.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


@dataclass(frozen=True)
class Billed:
    """A movement of money as the bill tells it. `final` False: a refund that is on its way."""

    kind: MoneyKind
    number: str  # of the payment, or of the refund
    payment_no: str
    amount: Decimal
    final: bool = True


@dataclass(frozen=True)
class Booked:
    """A payment or refund as our rows tell it, whether or not money moved. Yuan, unsigned."""

    kind: MoneyKind
    number: str
    payment_no: str
    order_no: str
    amount: Decimal
    status: str
    moved: bool  # money came in, or went back through the gateway
    at: datetime | None  # when it moved
    since: datetime  # when it was asked for
    ledger: Decimal | None  # what the gateway's ledger account says of it


@dataclass(frozen=True)
class Difference:
    """One fact that does not agree. Numbers, codes and amounts only.

    `fact` is the same whenever the same is found again. `subject` is what its work item is about.
    """

    code: Code
    fact: str
    subject: str
    kind: str = ""
    number: str = ""
    payment_no: str = ""
    order_no: str = ""
    bill_amount: Decimal | None = None
    books_amount: Decimal | None = None
    details: dict[str, str] = field(default_factory=dict)

    @property
    def once(self) -> bool:
        """Whether it is filed once for ever. A workflow can be lost again after somebody looked."""
        return self.fact == self.subject


@dataclass(frozen=True)
class Span:
    """A day from midnight to midnight, where the bill's days begin."""

    day: date
    since: datetime
    until: datetime

    @classmethod
    def of(cls, day: date, zone: ZoneInfo) -> "Span":
        since, until = (
            datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1))
        )
        return cls(day, since, until)

    @property
    def look_from(self) -> datetime:
        """From here on books are looked at: what the run before left to this one, too."""
        return self.since - EDGE


def against_books(
    channel: str, lines: Iterable[Billed], books: Mapping[tuple[str, str], Booked]
) -> list[Difference]:
    """What the bill says and the books do not, or not so. `books` by kind and number, those of
    the bill's lines among them, whatever their day."""
    found = []
    for line, amount in _added_up(lines):
        booked = books.get((line.kind, line.number))
        if booked is None or (line.final and not booked.moved):
            found.append(_of_line(Code.MISSING_IN_BOOKS, channel, line, amount, booked))
        elif amount != booked.amount:
            found.append(_of_line(Code.OTHER_AMOUNT, channel, line, amount, booked))
    return found


def _added_up(lines: Iterable[Billed]) -> list[tuple[Billed, Decimal]]:
    """A number that stands there twice took money twice."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    by_number = {}
    for line in lines:
        sums[line.kind, line.number] += line.amount
        by_number[line.kind, line.number] = line
    return [(line, sums[key]) for key, line in by_number.items()]


def against_ledger(channel: str, books: Iterable[Booked]) -> list[Difference]:
    """What rows say has moved and the ledger does not say, or not so."""
    return [
        _of_books(Code.NOT_IN_LEDGER, channel, booked, _amount("ledger", booked.ledger))
        for booked in books
        if booked.moved and booked.ledger != booked.amount
    ]


def not_billed(lines: Iterable[Billed], books: Iterable[Booked], span: Span) -> list[Booked]:
    """What moved on that day, or just before, and is not in its bill. Neighbours may have it."""
    billed = {(line.kind, line.number) for line in lines}
    return [
        booked
        for booked in books
        if booked.moved
        and booked.at is not None
        and span.look_from <= booked.at < span.until
        and (booked.kind, booked.number) not in billed
    ]


def days_to_look(missing: Iterable[Booked], span: Span) -> list[date]:
    """Whose bills may have what this day's has not: the neighbours', and for a refund those since
    it was asked for. The nearest first."""
    days = set[date]()
    for booked in missing:
        days |= {span.day - timedelta(days=1), span.day + timedelta(days=1)}
        if booked.kind is MoneyKind.REFUND:
            asked = max(booked.since, span.since - REFUND_TAKES).astimezone(span.since.tzinfo)
            back = (span.day - asked.date()).days
            days |= {span.day - timedelta(days=n) for n in range(1, back + 1)}
    return sorted(days, key=lambda day: (abs(day - span.day), day))


def missing_in_bill(
    channel: str, missing: Sequence[Booked], span: Span, *, next_is_out: bool
) -> list[Difference]:
    """What no bill has. Near the day's end, and while the next day's bill is not out, it is left
    to the next run."""
    return [
        _of_books(Code.MISSING_IN_BILL, channel, booked)
        for booked in missing
        if next_is_out or booked.at is None or booked.at < span.until - EDGE
    ]


def bad_line(channel: str, day: date, number: int, reason: str) -> Difference:
    fact = f"{Code.BAD_LINE}:{channel}:{day}:{number}"
    return Difference(Code.BAD_LINE, fact, fact, details={"line": str(number), "reason": reason})


def no_bill(channel: str, day: date, reason: str) -> Difference:
    fact = f"{Code.NO_BILL}:{channel}:{day}"
    return Difference(Code.NO_BILL, fact, fact, details={"reason": reason})


def astray(code: Code, day: date, workflow_id: str) -> Difference:
    """A row without its workflow, or the reverse. The next night it is another fact."""
    kind, _, number = workflow_id.partition("/")
    subject = f"{code}:{workflow_id}"
    return Difference(code, f"{subject}:{day}", subject, kind=kind, number=number)


def _of_line(
    code: Code, channel: str, line: Billed, amount: Decimal, booked: Booked | None
) -> Difference:
    fact = f"{code}:{channel}:{line.number}"
    return Difference(
        code,
        fact,
        fact,
        kind=line.kind,
        number=line.number,
        payment_no=line.payment_no,
        order_no=booked.order_no if booked else "",
        bill_amount=amount,
        books_amount=booked.amount if booked else None,
        details={"status": booked.status} if booked else {},
    )


def _of_books(
    code: Code, channel: str, booked: Booked, details: dict[str, str] | None = None
) -> Difference:
    fact = f"{code}:{channel}:{booked.number}"
    return Difference(
        code,
        fact,
        fact,
        kind=booked.kind,
        number=booked.number,
        payment_no=booked.payment_no,
        order_no=booked.order_no,
        books_amount=booked.amount,
        details={"status": booked.status, **(details or {})},
    )


def _amount(name: str, amount: Decimal | None) -> dict[str, str]:
    return {} if amount is None else {name: f"{amount:f}"}
