"""The ledger: every fen has two entries, told once, and nothing is ever changed."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.keyring import Keyring
from domain.payment import RefundCause, RefundStatus
from tests.support.booking import Clinic, Till

pytestmark = pytest.mark.anyio


@pytest.fixture
async def till(engine: AsyncEngine, keyring: Keyring) -> Till:
    clinic = await Clinic.opened(engine, keyring)
    till = Till(clinic)
    await till.open(await clinic.booked(await clinic.someone(), await clinic.slot()))
    return till


def amounts(gateway: str) -> dict[str, Decimal]:
    return {"gateway:sandbox": Decimal(gateway), "patients": -Decimal(gateway)}


async def test_money_in_is_owed_by_the_gateway_and_to_the_patients(till: Till) -> None:
    await till.take()
    assert await till.balances() == amounts("50.00")
    assert await till.clinic.ids("select key from ledger_transfer") == ["paid:P1"]


async def test_money_told_of_many_times_at_once_is_in_the_ledger_once(till: Till) -> None:
    await asyncio.gather(*(till.take(version=n) for n in range(1, 11)))
    assert await till.balances() == amounts("50.00")
    assert await till.clinic.value("select count(*) from ledger_entry") == 2


async def test_a_refund_is_the_same_transfer_back(till: Till) -> None:
    await till.take()
    part = await till.owe(RefundCause.LATE, "0.3")
    assert part is not None
    assert await till.balances() == amounts("50.00")  # owed is not yet gone
    for _ in range(2):
        await till.end(part, RefundStatus.SUCCEEDED)
    assert await till.balances() == amounts("35.00")
    keys = await till.clinic.ids("select key from ledger_transfer order by id")
    assert keys == ["paid:P1", f"refund:{part}"]


async def test_a_failed_refund_moves_nothing(till: Till) -> None:
    await till.take()
    refund_no = await till.owe(RefundCause.CLINIC)
    assert refund_no is not None
    await till.end(refund_no, RefundStatus.FAILED)
    assert await till.balances() == amounts("50.00")


async def test_a_transfer_that_does_not_balance_cannot_be_committed(till: Till) -> None:
    await till.take()
    for entries in ("(1, 'patients', 1.00)", "(1, 'a', 1.00), (1, 'b', -0.99)"):
        with pytest.raises(DBAPIError, match="does not balance"):
            await till.clinic.run(
                f"insert into ledger_entry (transfer_id, ledger_account, amount) values {entries}"
            )
    with pytest.raises(DBAPIError, match="amount_not_zero"):
        await till.clinic.run(
            "insert into ledger_entry (transfer_id, ledger_account, amount) values (1, 'a', 0)"
        )
    assert await till.balances() == amounts("50.00")


@pytest.mark.parametrize("table", ["ledger_transfer", "ledger_entry"])
async def test_the_ledger_can_be_neither_changed_nor_taken_away(till: Till, table: str) -> None:
    await till.take()
    for attack in (f"update {table} set id = id + 1", f"delete from {table}",
                   f"truncate {table} cascade"):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            await till.clinic.run(attack)
    assert await till.balances() == amounts("50.00")


async def test_a_payment_half_written_leaves_no_money(till: Till) -> None:
    with pytest.raises(DBAPIError):
        await till.take("P1", "99999999999.99")  # beyond what a column holds
    assert await till.balances() == {}
    assert await till.clinic.value("select status from payment") == "pending"
