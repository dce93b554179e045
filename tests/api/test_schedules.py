"""Looking for a slot, and making slots to look for."""

import asyncio
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.context import Context
from domain.access import Caller, Role
from domain.schedule import weekday
from tests.support.catalogue import a_hospital_with_a_doctor, a_slot, tomorrow

pytestmark = pytest.mark.anyio

WEEK = timedelta(days=6)


@pytest.fixture
async def doctor(context: Context) -> int:
    return await a_hospital_with_a_doctor(context.engine)


def logged_in(context: Context, role: Role) -> dict[str, str]:
    caller = Caller(7, session_id=1, hospital_id=1, roles=frozenset({role}))
    return {"Authorization": f"Bearer {context.tokens.issue(caller)}"}


@pytest.fixture
def operator(context: Context) -> dict[str, str]:
    return logged_in(context, Role.OPERATOR)


def a_batch(doctor: int, **changes: Any) -> dict[str, Any]:
    return {
        "doctorId": doctor,
        "departmentId": 11,
        "startDate": str(tomorrow()),
        "endDate": str(tomorrow() + WEEK),
        "weekdays": [0, 1, 2, 3, 4, 5, 6],
        "timeSlots": ["10:00-11:00", "09:00-10:00"],
        "sourcePerSlot": 5,
        "location": "门诊楼 101",
        **changes,
    }


async def listed(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get("/schedules", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def fields_refused(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid"
    return [error["field"] for error in answer.json()["errors"]]


# Looking


async def test_anybody_sees_a_doctors_slots_with_place_price_and_what_is_left(
    client: httpx.AsyncClient, context: Context, doctor: int
) -> None:
    async with context.engine.begin() as connection:
        schedule = await a_slot(connection, doctor)
        await connection.execute(text("select take_source(:id, 'A1')"), {"id": schedule})
    assert await listed(client, doctorId=doctor, date=str(tomorrow())) == {
        "items": [
            {
                "id": schedule,
                "doctorId": doctor,
                "date": str(tomorrow()),
                "timeSlot": "09:00-10:00",
                "totalSources": 10,
                "usedSources": 1,
                "availableSources": 9,
                "status": "available",
                "location": "101",
                "departmentId": 11,
                "doctorName": "示例医生",
                "price": 50.0,
            }
        ],
        "total": 1,
        "page": 1,
        "size": 20,
    }


async def test_what_is_answered_is_what_openapi_promises(
    client: httpx.AsyncClient, context: Context, doctor: int
) -> None:
    from api.schemas.schedule import DoctorSchedule

    async with context.engine.begin() as connection:
        await a_slot(connection, doctor)
    (item,) = (await listed(client, doctorId=doctor))["items"]
    assert DoctorSchedule.model_validate(item).model_dump(mode="json", by_alias=True) == item


async def test_a_range_has_both_its_ends_and_a_department_those_below(
    client: httpx.AsyncClient, context: Context, doctor: int
) -> None:
    async with context.engine.begin() as connection:
        for n in range(4):
            await a_slot(connection, doctor, day=tomorrow() + timedelta(days=n))
    first, last = tomorrow() + timedelta(days=1), tomorrow() + timedelta(days=2)
    found = await listed(client, departmentId=1, startDate=str(first), endDate=str(last))
    assert [item["date"] for item in found["items"]] == [str(first), str(last)]
    assert (await listed(client, departmentId=2))["total"] == 0
    assert (await listed(client, doctorId=doctor))["total"] == 4
    assert (await listed(client, doctorId=doctor, startDate=str(last)))["total"] == 2
    assert (await listed(client, doctorId=doctor, endDate=str(first)))["total"] == 2
    page = await listed(client, doctorId=doctor, size=3, page=2)
    assert (len(page["items"]), page["total"]) == (1, 4)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("date=2026-13-01", "date"),
        ("date=0001-01-01", "date"),
        ("date=2027-01-01&startDate=2027-01-01", "date"),
        ("startDate=2027-01-02&endDate=2027-01-01", "endDate"),
        ("startDate=2027-01-01&endDate=2027-03-04", "endDate"),
        ("endDate=2020-01-01", "endDate"),
        ("doctorId=abc", "doctorId"),
        ("size=101", "size"),
    ],
)
async def test_a_wrong_query_is_named(
    client: httpx.AsyncClient, doctor: int, query: str, field: str
) -> None:
    assert await fields_refused(await client.get(f"/schedules?{query}")) == [field]


async def test_sixty_two_days_are_not_too_many_and_the_last_day_of_time_is_no_fault(
    client: httpx.AsyncClient, doctor: int
) -> None:
    assert (await listed(client, startDate="2027-01-01", endDate="2027-03-03"))["total"] == 0
    assert (await listed(client, startDate="2999-12-31"))["total"] == 0


# Scheduling


async def test_a_batch_is_created_and_what_is_in_the_way_is_told(
    client: httpx.AsyncClient, doctor: int, operator: dict[str, str]
) -> None:
    one_day = a_batch(doctor, endDate=str(tomorrow()), timeSlots=["09:00-10:00"])
    answer = await client.post("/schedules/batch", json=one_day, headers=operator)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"created": 1, "skipped": []}
    two = a_batch(doctor, endDate=str(tomorrow()), timeSlots=["10:30-11:00", "09:00-10:00"])
    answer = await client.post("/schedules/batch", json=two, headers=operator)
    assert answer.json() == {
        "created": 1,
        "skipped": [{"date": str(tomorrow()), "timeSlot": "09:00-10:00", "reason": "exists"}],
    }
    answer = await client.post("/schedules/batch", json=a_batch(doctor), headers=operator)
    assert answer.json()["created"] == 12
    assert [skip["reason"] for skip in answer.json()["skipped"]] == ["exists", "overlap"]
    found = await listed(client, doctorId=doctor, size=100)
    assert found["total"] == 14
    assert {item["totalSources"] for item in found["items"]} == {5}


async def test_only_the_given_weekdays_count_from_sunday_as_zero(
    client: httpx.AsyncClient, doctor: int, operator: dict[str, str]
) -> None:
    batch = a_batch(doctor, weekdays=[0, 6], timeSlots=["09:00-10:00"])
    answer = await client.post("/schedules/batch", json=batch, headers=operator)
    assert answer.json()["created"] == 2
    items = (await listed(client, doctorId=doctor))["items"]
    assert {date.fromisoformat(item["date"]).isoweekday() for item in items} == {6, 7}


async def test_days_gone_by_and_asked_for_holidays_are_skipped(
    client: httpx.AsyncClient, context: Context, doctor: int, operator: dict[str, str]
) -> None:
    object.__setattr__(context.config, "holidays", (tomorrow(),))
    yesterday = str(tomorrow() - timedelta(days=2))
    batch = a_batch(
        doctor,
        startDate=yesterday,
        endDate=str(tomorrow()),
        timeSlots=["00:00-00:01"],
        skipHolidays=True,
    )
    answer = await client.post("/schedules/batch", json=batch, headers=operator)
    assert answer.json()["created"] == 0
    assert [skip["reason"] for skip in answer.json()["skipped"]] == ["past", "past", "holiday"]
    batch["skipHolidays"] = False
    answer = await client.post("/schedules/batch", json=batch, headers=operator)
    assert answer.json()["created"] == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"doctorId": 999999}, "doctorId"),
        ({"departmentId": 999999}, "departmentId"),
        ({"departmentId": 2}, "departmentId"),
        ({"weekdays": [7]}, "weekdays.0"),
        ({"weekdays": []}, "weekdays"),
        ({"timeSlots": []}, "timeSlots"),
        ({"timeSlots": ["9:00-10:00"]}, "timeSlots.0"),
        ({"timeSlots": ["08:00-09:00", "11:00-10:00"]}, "timeSlots.1"),
        ({"timeSlots": ["09:00-10:00", "09:30-10:30"]}, "timeSlots"),
        ({"timeSlots": ["09:00-10:00", "09:00-10:00"]}, "timeSlots"),
        ({"sourcePerSlot": 0}, "sourcePerSlot"),
        ({"sourcePerSlot": 201}, "sourcePerSlot"),
        ({"endDate": "2020-01-01"}, "endDate"),
        ({"startDate": "2027-01-01", "endDate": "2028-01-02"}, "endDate"),
        ({"startDate": "0001-01-01"}, "startDate"),
        ({"location": " "}, "location"),
    ],
)
async def test_a_wrong_batch_names_the_field_and_creates_nothing(
    client: httpx.AsyncClient,
    doctor: int,
    operator: dict[str, str],
    changes: dict[str, Any],
    field: str,
) -> None:
    answer = await client.post(
        "/schedules/batch", json=a_batch(doctor, **changes), headers=operator
    )
    assert await fields_refused(answer) == [field]
    assert (await listed(client, doctorId=doctor))["total"] == 0


async def test_a_batch_too_large_for_one_transaction_is_refused(
    client: httpx.AsyncClient, doctor: int, operator: dict[str, str]
) -> None:
    slots = [f"{hour:02}:00-{hour:02}:30" for hour in range(24)]
    large = a_batch(
        doctor, endDate=str(tomorrow() + timedelta(days=365)), timeSlots=slots, sourcePerSlot=200
    )
    answer = await client.post("/schedules/batch", json=large, headers=operator)
    assert await fields_refused(answer) == ["sourcePerSlot"]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OPERATOR}))
async def test_only_operators_schedule(
    client: httpx.AsyncClient, context: Context, doctor: int, role: Role
) -> None:
    headers = logged_in(context, role)
    answer = await client.post("/schedules/batch", json=a_batch(doctor), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = await client.patch("/schedules/1", json={"totalSources": 1}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = await client.post("/schedules/batch", json=a_batch(doctor))
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


async def test_a_repeated_batch_is_answered_as_the_first_was(
    client: httpx.AsyncClient, doctor: int, operator: dict[str, str]
) -> None:
    await client.post(
        "/schedules/batch",
        json=a_batch(doctor, endDate=str(tomorrow()), timeSlots=["09:30-10:00"]),
        headers=operator,
    )
    once = {**operator, "Idempotency-Key": "november"}
    today = weekday(tomorrow() - timedelta(days=1))
    batch = a_batch(
        doctor,
        startDate=str(tomorrow() - timedelta(days=3)),
        endDate=str(tomorrow() + timedelta(days=3)),
        weekdays=[day for day in range(7) if day != today],  # today is past and future
    )
    answers = await asyncio.gather(
        *(client.post("/schedules/batch", json=batch, headers=once) for _ in range(3))
    )
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    first = answers[0].json()
    assert first["created"] == 7
    assert {skip["reason"] for skip in first["skipped"]} == {"past", "overlap"}
    assert all(answer.json() == first for answer in answers)
    other = await client.post("/schedules/batch", json=a_batch(doctor, weekdays=[1]), headers=once)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


# Changing


async def test_an_operator_changes_sources_and_room(
    client: httpx.AsyncClient, context: Context, doctor: int, operator: dict[str, str]
) -> None:
    async with context.engine.begin() as connection:
        schedule = await a_slot(connection, doctor, sources=3)
        for order_no in ("A1", "A2"):
            await connection.execute(
                text("select take_source(:id, :order_no)"),
                {"id": schedule, "order_no": order_no},
            )
    path = f"/schedules/{schedule}"
    larger = await client.patch(path, json={"totalSources": 8, "location": "202"}, headers=operator)
    assert larger.status_code == 200, larger.text
    shown = larger.json()
    assert (shown["totalSources"], shown["usedSources"], shown["availableSources"]) == (8, 2, 6)
    assert (shown["location"], shown["status"], shown["price"]) == ("202", "available", 50)
    full = (await client.patch(path, json={"totalSources": 2}, headers=operator)).json()
    assert (full["availableSources"], full["status"], full["location"]) == (0, "full", "202")
    below = await client.patch(path, json={"totalSources": 1}, headers=operator)
    assert (below.status_code, below.json()["code"]) == (409, "below_used")
    assert below.json()["used"] == 2
    async with context.engine.connect() as connection:
        entries = await connection.execute(
            text("select subject, actor_id, details from audit order by id")
        )
        first, second = entries.all()
    assert (first.subject, first.actor_id) == (f"schedule/{schedule}", 7)
    assert first.details == {
        "before": [3, "101"],
        "asked": {"totalSources": 8, "location": "202"},
    }
    assert second.details["before"] == [8, "202"]


async def test_a_wrong_change_names_the_field_and_an_unknown_schedule_is_not_found(
    client: httpx.AsyncClient, doctor: int, operator: dict[str, str]
) -> None:
    unknown = await client.patch("/schedules/999999", json={"location": "1"}, headers=operator)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    for field, value in [("totalSources", -1), ("totalSources", 201), ("location", "")]:
        wrong = await client.patch("/schedules/999999", json={field: value}, headers=operator)
        assert await fields_refused(wrong) == [field]
