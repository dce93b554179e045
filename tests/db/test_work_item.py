"""Work items on a real PostgreSQL: opened once, written in order, listed to whom they concern."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.journal import read_timeline
from db.keyring import Keyring
from db.work_item import (
    Wanted,
    find_round,
    list_work_items,
    load_work_items,
    open_work_item,
    record_move,
    withdraw_work_item,
)
from domain.access import Role
from domain.work_item import (
    NewWorkItem,
    Progress,
    WorkItemKind,
    WorkItemMove,
    WorkItemStatus,
    for_desk,
)
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio

S, K = WorkItemStatus, WorkItemKind
LEASE = timedelta(minutes=15)
STUCK = for_desk(K.REFUND_STUCK, "R1", LEASE)
AUDIT = NewWorkItem("audit", "RX1", Role.PHARMACIST, ("approved",), LEASE, excluded=(5,))


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


async def opened(clinic: Clinic, new: NewWorkItem = STUCK) -> str | None:
    async with clinic.engine.begin() as connection:
        return await open_work_item(connection, 1, new)


async def moved(clinic: Clinic, number: str | None, to: S, version: int = 1, **more: Any) -> bool:
    assert number is not None
    values = {"event": to, "to_status": to, "at": datetime.now(UTC), "actor_role": "operator"}
    move = WorkItemMove(order_no=number, version=version, **{**values, **more})
    async with clinic.engine.begin() as connection:
        return await record_move(connection, move)


async def listed(clinic: Clinic, account: int = 1, roles: Any = None, **how: Any) -> list[str]:
    async with clinic.engine.connect() as connection:
        items, total = await list_work_items(connection, Wanted(1, account, roles, **how))
    assert total >= len(items)
    return [item.number for item in items]


# Opening


async def test_what_is_opened_is_promised_its_workflow_and_has_a_timeline(clinic: Clinic) -> None:
    number = await opened(clinic, replace(STUCK, details={"why": "failed"}))
    assert number is not None
    assert number.startswith("W")
    assert await clinic.ids("select workflow || '/' || subject from outbox") == [
        f"work_item/{number}"
    ]
    async with clinic.engine.connect() as connection:
        start = (await load_work_items(connection, [number]))[number]
        [move] = await read_timeline(connection, number)
    assert (start.item.subject, start.item.decisions) == ("R1", ("retry", "paid_otherwise"))
    assert (start.item.lease, start.progress) == (LEASE, Progress())
    assert (move.event, move.version, move.actor_role) == ("opened", 0, "system")


async def test_many_at_once_open_one_while_it_is_open(clinic: Clinic) -> None:
    numbers = await asyncio.gather(*(opened(clinic) for _ in range(8)))
    [number] = [number for number in numbers if number]
    assert await opened(clinic) is None
    await moved(clinic, number, S.DECIDED, decision="retry")
    assert await opened(clinic) is not None
    assert await clinic.value("select max(round) from work_item") == 1


async def test_a_round_that_is_named_is_the_same_for_ever(clinic: Clinic) -> None:
    audit = replace(AUDIT, round=0)
    number = await opened(clinic, audit)
    await moved(clinic, number, S.DECIDED, decision="approved", claimed_by=7)
    assert await opened(clinic, audit) is None
    assert await opened(clinic, replace(audit, round=1)) is not None
    async with clinic.engine.connect() as connection:
        found = await find_round(connection, 1, "audit", "RX1", 0)
        assert found is not None
        assert (found.item.number, found.progress.decision) == (number, "approved")
        assert await find_round(connection, 1, "audit", "RX1", 2) is None


async def test_words_about_an_order_go_with_its_patient(clinic: Clinic) -> None:
    who = await clinic.someone()
    order_no = await clinic.booked(who, await clinic.slot())
    await opened(clinic, replace(STUCK, order_no=order_no))
    key = await clinic.value("select data_key_id from patient where id = :id", id=who[1])
    assert await clinic.value("select data_key_id from work_item") == key


async def test_what_came_right_is_withdrawn_while_it_is_open(clinic: Clinic) -> None:
    number = await opened(clinic)
    for _ in range(2):
        async with clinic.engine.begin() as connection:
            await withdraw_work_item(connection, K.REFUND_STUCK, "R1")
            await withdraw_work_item(connection, K.REFUND_STUCK, "R2")
        await moved(clinic, number, S.CANCELLED)
    query = "select concat_ws(' ', workflow, subject, signal) from outbox where signal is not null"
    assert await clinic.ids(query) == [f"work_item {number} withdraw"]


# Telling staff


async def staff(clinic: Clinic, *roles: str) -> int:
    account = await clinic.account()
    await clinic.run("update account set roles = :r where id = :a", r=list(roles), a=account)
    return account


async def told(clinic: Clinic) -> list[str]:
    facts = "select subject from outbox where workflow = 'message' order by id"
    return [str(fact) for fact in await clinic.ids(facts)]


async def test_what_cannot_wait_is_told_to_everybody_of_its_role(clinic: Clinic) -> None:
    anne, bert = await staff(clinic, "nurse"), await staff(clinic, "nurse", "operator")
    away, patient = await staff(clinic, "nurse"), await staff(clinic, "patient", "nurse")
    await staff(clinic, "operator")
    await clinic.run("update account set active = false where id = :a", a=away)
    call = replace(for_desk(K.RED_FLAG, "patient/1", LEASE), excluded=(patient,))
    number = await opened(clinic, call)
    assert await opened(clinic, call) is None
    assert await told(clinic) == [f"{number}:work_item_opened:0-{who}" for who in (anne, bert)]


async def test_nobody_is_disturbed_by_what_can_wait(clinic: Clinic) -> None:
    await staff(clinic, "operator")
    await opened(clinic)
    assert await told(clinic) == []


# Moves


async def test_a_move_is_written_once_and_an_older_one_undoes_nothing(clinic: Clinic) -> None:
    number = await opened(clinic)
    assert number is not None
    until = datetime.now(UTC) + LEASE
    assert await moved(clinic, number, S.DECIDED, 2, decision="retry", claimed_by=7)
    assert not await moved(clinic, number, S.DECIDED, 2, decision="retry", claimed_by=7)
    assert not await moved(clinic, number, S.CLAIMED, 1, claimed_by=8, lease_until=until)
    async with clinic.engine.connect() as connection:
        start = (await load_work_items(connection, [number]))[number]
        versions = [move.version for move in await read_timeline(connection, number)]
    assert start.progress == Progress(S.DECIDED, 2, 7, None, decision="retry")
    assert versions == [0, 1, 2]


# The worklist


async def test_everybody_sees_their_own_queue(clinic: Clinic) -> None:
    refund, audit = await opened(clinic), await opened(clinic, AUDIT)
    assert await listed(clinic, roles=None) == [refund, audit]
    assert await listed(clinic, roles={Role.OPERATOR}) == [refund]
    assert await listed(clinic, roles={Role.PHARMACIST, Role.DOCTOR}) == [audit]
    assert await listed(clinic, 5, {Role.PHARMACIST}) == []  # excluded
    assert await listed(clinic, roles={Role.CHIEF_PHARMACIST}) == []
    assert await listed(clinic, roles=None, role=Role.PHARMACIST) == [audit]
    assert await listed(clinic, roles=None, kind="refund_stuck") == [refund]


async def test_what_was_escalated_is_in_both_queues(clinic: Clinic) -> None:
    audit = await opened(clinic, replace(AUDIT, escalates_to=Role.CHIEF_PHARMACIST))
    await moved(clinic, audit, S.OPEN, escalated=True)
    for role in (Role.PHARMACIST, Role.CHIEF_PHARMACIST):
        assert await listed(clinic, roles={role}) == [audit]
        assert await listed(clinic, roles=None, role=role) == [audit]


async def test_when_the_lease_is_over_it_is_open_to_whoever_looks(clinic: Clinic) -> None:
    number, now = await opened(clinic), datetime.now(UTC)
    await moved(clinic, number, S.CLAIMED, 1, claimed_by=7, lease_until=now + LEASE)
    assert await listed(clinic, status=S.CLAIMED) == [number]
    assert await listed(clinic, 7, mine=True) == [number]
    assert await listed(clinic, 8, mine=True) == []
    await moved(clinic, number, S.CLAIMED, 2, claimed_by=7, lease_until=now - LEASE)
    assert await listed(clinic, status=S.OPEN) == [number]
    assert await listed(clinic, status=S.CLAIMED) == await listed(clinic, 7, mine=True) == []


async def test_those_that_wait_come_first_and_the_oldest_of_them(clinic: Clinic) -> None:
    numbers = [
        await opened(clinic, for_desk(K.RECONCILIATION_DIFFERENCE, f"D{n}", LEASE))
        for n in range(5)
    ]
    at = datetime.now(UTC)
    for version, over in enumerate((numbers[0], numbers[2])):
        await moved(clinic, over, S.DECIDED, at=at + timedelta(seconds=version))
    wanted = [numbers[1], numbers[3], numbers[4], numbers[2], numbers[0]]
    assert await listed(clinic) == wanted
    assert await listed(clinic, page=2, size=2) == wanted[2:4]
    assert await listed(clinic, status=S.DECIDED) == wanted[3:]
