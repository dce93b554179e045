"""The figures, the report and a run by hand, over HTTP."""

import csv
import io
from dataclasses import replace
from datetime import date
from decimal import Decimal

import httpx
import pytest

from api.context import Context
from api.fields import today_at
from db.keyring import Keyring
from db.reconciliation import begin_run, file_difference, finish_run
from domain.access import Role
from domain.hospital import WorkItemPolicy
from domain.reconciliation import Code, Difference, RunStatus, bad_line
from tests.support.api import as_caller, refused
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio

DAY = date(2026, 11, 21)
PATH = "/ops/reconciliation"
EXTRA = Difference(
    Code.MISSING_IN_BOOKS,
    "missing_in_books:sandbox:P9",
    "missing_in_books:sandbox:P9",
    kind="payment",
    number="P9",
    payment_no="P9",
    bill_amount=Decimal("50.00"),
)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
async def operator(context: Context, clinic: Clinic) -> dict[str, str]:
    return as_caller(context, await clinic.account(), Role.OPERATOR)


async def compared(context: Context, *found: Difference) -> None:
    async with context.engine.begin() as connection:
        run = await begin_run(connection, 1, DAY, "sandbox", RunStatus.WAITING)
        for one in found:
            assert await file_difference(
                connection, 1, run, one, channel="sandbox", day=DAY, policy=WorkItemPolicy()
            )
        await finish_run(connection, run, {"lines": 3, "filed": len(found)}, RunStatus.DONE)


async def test_operators_see_runs_and_what_did_not_agree(
    client: httpx.AsyncClient, context: Context, operator: dict[str, str]
) -> None:
    await compared(context, EXTRA, bad_line("sandbox", DAY, 7, "bad_amount"))
    listed = (await client.get(PATH, headers=operator)).json()
    assert listed["total"] == 1
    assert listed["items"][0]["figures"] == {"lines": 3, "filed": 2}
    body = (await client.get(f"{PATH}/{DAY}", headers=operator)).json()
    assert [run["status"] for run in body["runs"]] == ["done"]
    extra, bad = body["differences"]
    assert (extra["code"], extra["number"], extra["billAmount"], extra["booksAmount"]) == (
        "missing_in_books", "P9", 50.0, None,
    )  # fmt: skip
    assert (extra["workItemStatus"], extra["decision"]) == ("open", "")
    assert bad["details"] == {"line": "7", "reason": "bad_amount"}
    item = await client.get(f"/work-items/{extra['workItemId']}", headers=operator)
    assert item.json()["details"]["bill"] == "50.00"


async def test_the_report_opens_in_a_spreadsheet_and_holds_no_formula(
    client: httpx.AsyncClient, context: Context, operator: dict[str, str]
) -> None:
    await compared(context, replace(EXTRA, number="=1+1", payment_no="@P9"))
    answer = await client.get(f"{PATH}/{DAY}.csv", headers=operator)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="reconciliation-2026-11-21.csv"' in answer.headers["content-disposition"]
    assert answer.content.startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert (row["day"], row["code"], row["bill_amount"]) == (
        "2026-11-21", "missing_in_books", "50.00",
    )  # fmt: skip
    assert (row["number"], row["payment_no"], row["books_amount"]) == ("'=1+1", "'@P9", "")


async def test_a_day_that_was_not_compared_is_not_there(
    client: httpx.AsyncClient, operator: dict[str, str]
) -> None:
    for path in (f"{PATH}/{DAY}", f"{PATH}/{DAY}.csv"):
        assert refused(await client.get(path, headers=operator)) == (404, "not_found")
    assert refused(await client.get(f"{PATH}/today", headers=operator)) == (422, "invalid")


async def test_a_run_by_hand_is_promised_and_audited(
    client: httpx.AsyncClient, clinic: Clinic, operator: dict[str, str]
) -> None:
    body = {"day": "2026-11-21", "reason": "账单更正"}
    answer = await client.post(PATH, json=body, headers=operator)
    assert (answer.status_code, answer.json()) == (
        202, {"day": "2026-11-21", "workflowId": "reconciliation/2026-11-21"},
    )  # fmt: skip
    assert await clinic.ids("select workflow || '/' || subject from outbox") == [
        "reconciliation/2026-11-21"
    ]
    query = """select details::text from audit
                where event = 'reconciliation_asked' and note is not null"""
    assert await clinic.ids(query) == ["{}"]  # what was written is sealed


async def test_a_day_must_be_over(
    client: httpx.AsyncClient, context: Context, operator: dict[str, str]
) -> None:
    today = today_at(context.config.hospital)
    body = {"day": today.isoformat(), "reason": "x"}
    assert refused(await client.post(PATH, json=body, headers=operator)) == (422, "invalid")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
async def test_it_is_the_operators_alone(
    client: httpx.AsyncClient, context: Context, clinic: Clinic, role: Role
) -> None:
    headers = as_caller(context, await clinic.account(), role)
    body = {"day": "2026-11-21", "reason": "x"}
    for answer in (
        await client.get(PATH, headers=headers),
        await client.get(f"{PATH}/{DAY}", headers=headers),
        await client.get(f"{PATH}/{DAY}.csv", headers=headers),
        await client.post(PATH, json=body, headers=headers),
    ):
        assert refused(answer) == (403, "forbidden")
