"""What reconciliation does: it asks the gateway for its bill, and Temporal for what runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.gateways.payment import (
    Bill,
    BillKind,
    BillLine,
    GatewayRefused,
    GatewayUnavailable,
    PaymentGateway,
)
from db.reconciliation import begin_run, books_for, file_difference, finish_run, stop_runs
from db.resume import may_run, resume_one, rows_that_run
from domain.hospital import WorkItemPolicy
from domain.reconciliation import (
    WORKFLOWS,
    Billed,
    Booked,
    Code,
    Difference,
    MoneyKind,
    RunStatus,
    Span,
    against_books,
    against_ledger,
    astray,
    bad_line,
    days_to_look,
    missing_in_bill,
    no_bill,
    not_billed,
)

YOUNG = timedelta(minutes=10)  # a row whose workflow may just be on its way
# Suspects a night, of each sort and kind: after a loss there is `resume`. By kind, so that many of
# one (their ids are sorted) never hide the few of another.
AT_MOST = 500


class WorkflowsSeen(Protocol):
    """What Temporal knows of the workflows of rows, by their ids `<kind>/<number>`."""

    async def running(self) -> set[str]:
        """As its lists say: they lag behind by some seconds."""

    async def runs(self, id: str) -> bool:
        """As it is now."""


@dataclass(frozen=True)
class ChannelDay:
    channel: str
    day: date


@dataclass(frozen=True)
class NoBill:
    channel: str
    day: date
    reason: str  # a code


@dataclass(frozen=True)
class Suspects:
    """Ids of workflows: those that rows lack, and those that run for nothing."""

    day: date
    lacking: tuple[str, ...] = ()
    astray: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lacking or self.astray)


@dataclass(frozen=True)
class ReconciliationActivities:
    engine: AsyncEngine
    hospital_id: int
    gateways: Mapping[str, PaymentGateway]  # by channel
    workflows: WorkflowsSeen
    work_items: WorkItemPolicy = field(default_factory=WorkItemPolicy)

    @activity.defn
    async def channels_to_reconcile(self) -> tuple[str, ...]:
        """Every gateway that is set up: what is offered no more still has money under way."""
        return tuple(sorted(self.gateways))

    @activity.defn
    async def reconcile_channel(self, wanted: ChannelDay) -> int:
        """Hold a day's bill against the books. How many differences were filed now.

        ApplicationError `BillNotOut` while it is not out, to be asked for again; `NoBill`, which
        is final, when the gateway refuses it.
        """
        channel, day = wanted.channel, wanted.day
        gateway = self.gateways.get(channel)
        if gateway is None:
            raise ApplicationError("not_set_up", type="NoBill", non_retryable=True)
        run_id = await self._begin(wanted, RunStatus.WAITING)
        bill = await _bill(gateway, day)
        span = Span.of(day, gateway.bill_zone)
        lines = [_billed(line) for line in bill.lines]
        async with self.engine.connect() as connection:
            books = await books_for(connection, self.hospital_id, channel, lines, span)
        missing, next_is_out = await _look_beside(
            gateway, not_billed(lines, books.values(), span), span
        )
        found = [
            *(bad_line(channel, day, bad.number, bad.reason) for bad in bill.bad),
            *against_books(channel, lines, books),
            *missing_in_bill(channel, missing, span, next_is_out=next_is_out),
            *against_ledger(channel, books.values()),
        ]
        figures = {"lines": len(lines), "bad_lines": len(bill.bad), "booked": _moved(books, span)}
        return await self._file(wanted, run_id, found, figures)

    @activity.defn
    async def give_up_bill(self, lacking: NoBill) -> None:
        """A person must look why there is none."""
        wanted = ChannelDay(lacking.channel, lacking.day)
        run_id = await self._begin(wanted, RunStatus.WAITING)
        found = no_bill(lacking.channel, lacking.day, lacking.reason)
        await self._file(wanted, run_id, [found], {}, RunStatus.NO_BILL)

    @activity.defn
    async def record_stopped_runs(self, day: date) -> None:
        """Nobody compares this day any more; what was compared is left as it is."""
        async with self.engine.begin() as connection:
            await stop_runs(connection, self.hospital_id, day)

    @activity.defn
    async def find_suspects(self, day: date) -> Suspects:
        """Rows without a running workflow, and the reverse, as far as lists say. Look again before
        something is made of it."""
        await self._begin(ChannelDay(WORKFLOWS, day), RunStatus.RUNNING)
        async with self.engine.connect() as connection:
            rows = await rows_that_run(connection, YOUNG)
        running = await self.workflows.running()
        async with self.engine.connect() as connection:
            needless = running - await may_run(connection, sorted(running))
        return Suspects(day, _first_of_each_kind(rows - running), _first_of_each_kind(needless))

    @activity.defn
    async def file_suspects(self, suspects: Suspects) -> int:
        """Look at each again, and file what is still so. A row gets its workflow again.
        How many were filed now."""
        wanted = ChannelDay(WORKFLOWS, suspects.day)
        run_id = await self._begin(wanted, RunStatus.RUNNING)
        lost = await self._lost(suspects.lacking)
        found = [astray(Code.ROW_WITHOUT_WORKFLOW, suspects.day, one) for one in lost]
        needless = set(suspects.astray) - await self._still_open(suspects.astray)
        for one in sorted(needless):
            if await self.workflows.runs(one):
                found.append(astray(Code.WORKFLOW_WITHOUT_ROW, suspects.day, one))
        return await self._file(wanted, run_id, found, {}, lost=lost)

    async def _lost(self, ids: tuple[str, ...]) -> list[str]:
        """Temporal first, the rows after it: a workflow that ended meanwhile has closed its row."""
        gone = {one for one in ids if not await self.workflows.runs(one)}
        async with self.engine.connect() as connection:
            return sorted(gone & await rows_that_run(connection, YOUNG))

    async def _still_open(self, ids: tuple[str, ...]) -> set[str]:
        async with self.engine.connect() as connection:
            return await may_run(connection, list(ids))

    async def _begin(self, wanted: ChannelDay, status: RunStatus) -> int:
        async with self.engine.begin() as connection:
            return await begin_run(connection, self.hospital_id, wanted.day, wanted.channel, status)

    async def _file(
        self,
        wanted: ChannelDay,
        run_id: int,
        found: list[Difference],
        figures: dict[str, int],
        status: RunStatus = RunStatus.DONE,
        *,
        lost: list[str] | None = None,
    ) -> int:
        """All in one commit; what was filed before is left as it is."""
        async with self.engine.begin() as connection:
            filed = 0
            for difference in found:
                filed += await self._file_one(connection, wanted, run_id, difference)
            for one in lost or []:
                await resume_one(connection, one)
            figures = {**figures, "differences": len(found), "filed": filed}
            await finish_run(connection, run_id, figures, status)
        return filed

    async def _file_one(
        self, connection: AsyncConnection, wanted: ChannelDay, run_id: int, found: Difference
    ) -> bool:
        return await file_difference(
            connection,
            self.hospital_id,
            run_id,
            found,
            channel=wanted.channel,
            day=wanted.day,
            policy=self.work_items,
        )


def _first_of_each_kind(ids: set[str]) -> tuple[str, ...]:
    taken = Counter[str]()
    found = []
    for one in sorted(ids):
        kind = one.partition("/")[0]
        taken[kind] += 1
        if taken[kind] <= AT_MOST:
            found.append(one)
    return tuple(found)


async def _bill(gateway: PaymentGateway, day: date) -> Bill:
    try:
        return await gateway.bill(day)
    except GatewayUnavailable as error:
        raise ApplicationError(error.code, type="BillNotOut") from None
    except GatewayRefused as error:
        raise ApplicationError(error.code, type="NoBill", non_retryable=True) from None


async def _look_beside(
    gateway: PaymentGateway, missing: list[Booked], span: Span
) -> tuple[list[Booked], bool]:
    """What the neighbours' bills have not either, and whether the next day's is out."""
    next_is_out = True
    for day in days_to_look(missing, span):
        if not missing:
            break
        try:
            bill = await gateway.bill(day)
        except GatewayUnavailable:
            if day <= span.day:  # it was out once: ask again later
                raise ApplicationError("bill_beside", type="BillNotOut") from None
            next_is_out = False
            continue
        except GatewayRefused:  # too old to be had
            continue
        there = {(line.kind, line.number) for line in map(_billed, bill.lines)}
        missing = [booked for booked in missing if (booked.kind, booked.number) not in there]
    return missing, next_is_out


def _billed(line: BillLine) -> Billed:
    kind = MoneyKind(line.kind)
    number = line.refund_no if line.kind is BillKind.REFUND else line.payment_no
    return Billed(kind, number or line.payment_no, line.payment_no, line.amount, line.final)


def _moved(books: Mapping[tuple[str, str], Booked], span: Span) -> int:
    return sum(
        booked.moved and booked.at is not None and span.since <= booked.at < span.until
        for booked in books.values()
    )
