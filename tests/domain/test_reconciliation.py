"""What a bill and our books can disagree about."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from domain.reconciliation import (
    Billed,
    Booked,
    Code,
    MoneyKind,
    Span,
    against_books,
    against_ledger,
    astray,
    bad_line,
    days_to_look,
    missing_in_bill,
    not_billed,
)

C, K = Code, MoneyKind
DAY = date(2026, 11, 21)
SPAN = Span.of(DAY, ZoneInfo("Asia/Shanghai"))
NOON = datetime(2026, 11, 21, 4, tzinfo=UTC)
FIFTY, SIXTY = Decimal("50.00"), Decimal("60.00")


def billed(amount: Decimal = FIFTY, kind: K = K.PAYMENT, final: bool = True) -> Billed:
    return Billed(kind, "N1", "P1", amount, final)


def booked(
    kind: K = K.PAYMENT,
    *,
    moved: bool = True,
    at: datetime | None = NOON,
    since: datetime = NOON,
    ledger: Decimal | None = FIFTY,
) -> Booked:
    return Booked(kind, "N1", "P1", "A1", FIFTY, "paid", moved, at, since, ledger)


@pytest.mark.parametrize(
    ("line", "row", "codes"),
    [
        (billed(), booked(), []),
        (billed(), None, [C.MISSING_IN_BOOKS]),
        (billed(), booked(moved=False), [C.MISSING_IN_BOOKS]),
        (billed(SIXTY), booked(), [C.OTHER_AMOUNT]),
        (billed(kind=K.REFUND, final=False), booked(K.REFUND, moved=False), []),
        (billed(SIXTY, K.REFUND, False), booked(K.REFUND, moved=False), [C.OTHER_AMOUNT]),
        (billed(kind=K.REFUND, final=False), None, [C.MISSING_IN_BOOKS]),
        (billed(kind=K.REFUND), booked(K.REFUND, moved=False), [C.MISSING_IN_BOOKS]),
    ],
)
def test_a_line_agrees_with_its_row_or_says_in_what_not(
    line: Billed, row: Booked | None, codes: list[Code]
) -> None:
    books = {(row.kind.value, row.number): row} if row else {}
    assert [found.code for found in against_books("sandbox", [line], books)] == codes


def test_money_that_was_taken_twice_is_another_amount() -> None:
    row = booked()
    (found,) = against_books("sandbox", [billed(), billed()], {("payment", "N1"): row})
    assert (found.code, found.bill_amount) == (C.OTHER_AMOUNT, 2 * FIFTY)


@pytest.mark.parametrize(
    ("row", "agrees"),
    [
        (booked(), True),
        (booked(ledger=None), False),
        (booked(ledger=SIXTY), False),
        (booked(moved=False, ledger=None), True),
    ],
)
def test_what_moved_is_in_the_ledger(row: Booked, agrees: bool) -> None:
    assert (against_ledger("sandbox", [row]) == []) is agrees


HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        (booked(), True),
        (booked(at=SPAN.until), False),
        (booked(at=SPAN.since - MINUTE), True),  # the run before left it to this one
        (booked(at=SPAN.since - 2 * HOUR), False),
        (booked(moved=False), False),
    ],
)
def test_only_what_moved_that_day_is_looked_for_in_its_bill(row: Booked, missing: bool) -> None:
    assert bool(not_billed([], [row], SPAN)) is missing
    assert not_billed([billed()], [row], SPAN) == []


@pytest.mark.parametrize(
    ("at", "next_is_out", "filed"),
    [
        (NOON, False, True),
        (NOON, True, True),
        (SPAN.until - MINUTE, False, False),
        (SPAN.until - MINUTE, True, True),
    ],
)
def test_near_midnight_it_waits_for_the_next_days_bill(
    at: datetime, next_is_out: bool, filed: bool
) -> None:
    found = missing_in_bill("sandbox", [booked(at=at)], SPAN, next_is_out=next_is_out)
    assert bool(found) is filed


def test_a_refund_is_looked_for_since_it_was_asked_for() -> None:
    near = [date(2026, 11, 20), date(2026, 11, 22)]
    assert days_to_look([booked()], SPAN) == near
    asked = booked(K.REFUND, since=NOON - timedelta(days=3))
    assert days_to_look([asked], SPAN) == [*near, date(2026, 11, 19), date(2026, 11, 18)]
    long_ago = booked(K.REFUND, since=NOON - timedelta(days=300))
    assert len(days_to_look([long_ago], SPAN)) == 15
    assert days_to_look([], SPAN) == []


def test_the_same_fact_has_the_same_key() -> None:
    first, again = (against_books("sandbox", [billed()], {}) for _ in range(2))
    assert first == again
    assert first[0].once
    assert bad_line("sandbox", DAY, 7, "bad_time").fact != bad_line("sandbox", DAY, 8, "x").fact


def test_a_workflow_that_is_lost_again_is_another_fact_of_the_same_subject() -> None:
    one, two = (
        astray(C.ROW_WITHOUT_WORKFLOW, day, "payment/P1") for day in (DAY, SPAN.until.date())
    )
    assert one.fact != two.fact
    assert one.subject == two.subject
    assert not one.once
    assert (one.kind, one.number) == ("payment", "P1")
