"""Who hears of a work item: staff when it is theirs, and a patient whose appeal nobody decided."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.message import Outgoing
from activities.work_item import Change, WorkItemActivities
from db.keyring import Keyring
from db.work_item import open_work_item
from domain.access import Role
from domain.message import Template
from domain.work_item import (
    NewWorkItem,
    WorkItemKind,
    WorkItemMove,
    WorkItemStatus,
    for_desk,
    with_reminder,
)
from tests.support.booking import Clinic

pytestmark = pytest.mark.anyio

S, K = WorkItemStatus, WorkItemKind
LEASE = timedelta(minutes=15)
TOLD = "select subject from outbox where workflow = 'message' order by subject"


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
def work(clinic: Clinic) -> WorkItemActivities:
    return WorkItemActivities(clinic.engine, 1)


async def opened(clinic: Clinic, new: NewWorkItem) -> str:
    async with clinic.engine.begin() as connection:
        number = await open_work_item(connection, 1, new)
    assert number is not None
    return number


async def staff(clinic: Clinic, role: Role) -> int:
    account = await clinic.account()
    await clinic.run("update account set roles = :r where id = :a", r=[role], a=account)
    return account


def a_move(number: str, version: int, event: str, to: S = S.OPEN, **more: Any) -> WorkItemMove:
    values = {"actor_role": "system", "escalated": event == "escalated", **more}
    return WorkItemMove(number, version, event, to, datetime.now(UTC), **values)


async def test_whom_it_is_escalated_to_hears_of_it_once(
    clinic: Clinic, work: WorkItemActivities
) -> None:
    await staff(clinic, Role.NURSE)
    operators = [await staff(clinic, Role.OPERATOR) for _ in range(2)]
    call = for_desk(K.RED_FLAG, "patient/1", LEASE)
    number = await opened(clinic, replace(call, escalates_to=Role.OPERATOR))
    await clinic.run("delete from outbox")
    for _ in range(2):  # the first answer was lost
        escalated = a_move(number, 1, "escalated")
        assert await work.record_work_item(Change(escalated, K.RED_FLAG, "patient/1")) is None
    await work.record_work_item(Change(a_move(number, 2, "claimed"), K.RED_FLAG, "patient/1"))
    assert await clinic.ids(TOLD) == [f"{number}:work_item_escalated:1-{who}" for who in operators]


async def test_what_waits_for_long_is_reminded_of_once_a_day_and_person(
    clinic: Clinic, work: WorkItemActivities
) -> None:
    operator = await staff(clinic, Role.OPERATOR)
    await staff(clinic, Role.NURSE)
    for subject in ("R1", "R2"):
        stuck = for_desk(K.REFUND_STUCK, subject, LEASE)
        number = await opened(clinic, with_reminder(stuck, datetime.now(UTC)))
        escalated = a_move(number, 1, "escalated")
        await work.record_work_item(Change(escalated, K.REFUND_STUCK, subject))
    day = await clinic.value("select current_date")
    assert await clinic.ids(TOLD) == [f"{day}:work_items_wait:0-{operator}"]


async def test_whoever_it_is_given_to_hears_of_it(clinic: Clinic, work: WorkItemActivities) -> None:
    anne, operator = await staff(clinic, Role.NURSE), await staff(clinic, Role.OPERATOR)
    number = await opened(clinic, for_desk(K.SUSPENSION_LIFT, "A1", LEASE))
    for version, whom in ((1, anne), (2, operator), (3, anne)):  # to oneself: no news
        given = a_move(number, version, "reassigned", S.CLAIMED, actor_id=operator, claimed_by=whom)
        await work.record_work_item(Change(given, K.SUSPENSION_LIFT, "A1"))
    assert await clinic.ids(TOLD) == [f"{number}:work_item_reassigned:{v}-{anne}" for v in (1, 3)]


async def test_an_appeal_that_nobody_decided_is_answered_when_the_suspension_ends(
    clinic: Clinic, work: WorkItemActivities
) -> None:
    number = await opened(clinic, for_desk(K.SUSPENSION_LIFT, "A1", LEASE))
    over = a_move(number, 1, "expired", S.EXPIRED)
    told = await work.record_work_item(Change(over, K.SUSPENSION_LIFT, "A1"))
    assert told == Outgoing(f"{number}:suspension_over", "A1", Template.SUSPENSION_OVER)
