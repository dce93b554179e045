"""A doctor's day over HTTP: who sees which queue, and what calling answers."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.context import Context
from db.account import sealing_key_of_patient
from db.keyring import Keyring
from domain.access import Role
from domain.account import age_on
from domain.appointment import AppointmentStatus as S
from tests.support.api import as_caller, refused
from tests.support.booking import BORN, DAY, MINUTE, Clinic
from tests.support.catalogue import ZONE, tomorrow

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
CALL, RECALL, PASS = "call-next", "recall", "pass"


@dataclass
class Day:
    """A doctor's session tomorrow, and everybody's way to it."""

    client: httpx.AsyncClient
    context: Context
    clinic: Clinic
    slot: int
    owners: dict[str, int] = field(default_factory=dict)  # accounts by order

    @property
    def doctor(self) -> dict[str, str]:
        return as_caller(self.context, 99, Role.DOCTOR, doctor_id=self.clinic.doctor)

    def owner(self, order_no: str) -> dict[str, str]:
        return as_caller(self.context, self.owners[order_no], Role.PATIENT)

    async def expects(self, number: int, symptoms: str | None = None) -> str:
        account, patient = who = await self.clinic.someone(number)
        sealed = None
        if symptoms is not None:
            async with self.clinic.engine.connect() as connection:
                key = await sealing_key_of_patient(
                    connection, self.clinic.keyring, account, patient
                )
            assert key is not None
            sealed = key.key.seal({"symptoms": symptoms})
        order_no = await self.clinic.booked(who, self.slot, symptoms=sealed)
        await self.clinic.move(order_no, 1, S.CONFIRMED, at=NOW, payment_no="P1")
        self.owners[order_no] = account
        return order_no

    async def check_in(self, order_no: str, after: timedelta = -MINUTE) -> None:
        starts_at = (await self.clinic.order(order_no)).starts_at
        await self.clinic.move(order_no, 2, S.CHECKED_IN, at=starts_at + after)

    async def full_of(self, count: int) -> list[str]:
        orders = [await self.expects(number) for number in range(count)]
        for order_no in orders:
            await self.check_in(order_no)
        return orders

    async def call(
        self,
        what: str,
        order_no: str | None = None,
        *,
        who: dict[str, str] | None = None,
        key: str | None = None,
        **body: Any,
    ) -> httpx.Response:
        body = body or ({"orderNo": order_no} if order_no else {"scheduleId": self.slot})
        headers = (who or self.doctor) | ({"Idempotency-Key": key} if key else {})
        path = f"/doctors/me/queue/{what}"
        return await self.client.post(path, json=body, headers=headers)

    async def called(self, what: str, order_no: str | None = None, **how: Any) -> dict[str, Any]:
        answer = await self.call(what, order_no, **how)
        assert answer.status_code == 200, answer.text
        patient: dict[str, Any] = answer.json()
        return patient

    async def get(self, path: str, who: dict[str, str] | None = None, **query: Any) -> Any:
        answer = await self.client.get(path, params=query, headers=who or self.doctor)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def queue(self) -> list[dict[str, Any]]:
        found = await self.get("/doctors/me/queue", date=str(tomorrow()))
        (session,) = found["sessions"]
        patients: list[dict[str, Any]] = session["patients"]
        return patients

    async def place(self, order_no: str, who: dict[str, str] | None = None) -> Any:
        order = await self.clinic.order(order_no)
        return await self.get(f"/appointments/{order.id}/queue", who or self.owner(order_no))


@pytest.fixture
async def day(client: httpx.AsyncClient, context: Context, keyring: Keyring) -> Day:
    clinic = await Clinic.opened(context.engine, keyring)
    return Day(client, context, clinic, await clinic.slot())


# The doctor looks


async def test_a_doctor_sees_the_own_sessions_with_figures(day: Day) -> None:
    first, second, _ = [await day.expects(number) for number in range(3)]
    await day.check_in(first)
    await day.check_in(second)
    await day.called(CALL)
    await day.clinic.slot(await day.clinic.another_doctor())
    page = await day.get("/doctors/me/sessions")
    (session,) = page["items"]
    assert (page["total"], page["page"], page["size"]) == (1, 1, 20)
    expected = {
        "id": day.slot,
        "doctorId": day.clinic.doctor,
        "departmentId": 11,
        "date": str(tomorrow()),
        "timeSlot": "09:00-10:00",
        "startsAt": f"{tomorrow()}T09:00:00+08:00",
        "endsAt": f"{tomorrow()}T10:00:00+08:00",
        "location": "101",
        "withdrawn": False,
        "totalSources": 10,
        "usedSources": 3,
        "availableSources": 7,
        "confirmed": 1,
        "checkedIn": 2,
        "waiting": 1,
        "completed": 0,
        "noShow": 0,
    }
    assert session == expected


async def test_sessions_are_asked_for_by_days(day: Day) -> None:
    later = await day.clinic.slot(day=tomorrow() + DAY)

    async def ids(**query: Any) -> list[int]:
        found = await day.get("/doctors/me/sessions", **query)
        return [session["id"] for session in found["items"]]

    first, last = str(tomorrow()), str(tomorrow() + DAY)
    assert await ids(startDate=first, endDate=last) == [day.slot, later]
    assert await ids(startDate=last, endDate=last) == [later]
    assert await ids(startDate=first, endDate=last, size=1, page=2) == [later]
    backwards = {"startDate": last, "endDate": first}
    answer = await day.client.get("/doctors/me/sessions", params=backwards, headers=day.doctor)
    assert refused(answer) == (422, "invalid")


async def test_a_doctor_sees_the_patients_of_the_day_in_the_order_of_their_turn(day: Day) -> None:
    expected, late, here = [
        await day.expects(number, words) for number, words in [(1, None), (2, None), (3, "头痛")]
    ]
    await day.check_in(late, MINUTE)
    await day.check_in(here)
    found = await day.queue()
    assert [patient["orderNo"] for patient in found] == [here, late, expected]
    first, second, third = found
    order = await day.clinic.order(here)
    assert first == {
        "id": order.id,
        "orderNo": here,
        "patientId": order.patient_id,
        "name": "林小满",
        "gender": "female",
        "age": age_on(BORN, tomorrow()),
        "queueNumber": 3,
        "status": "checked_in",
        "checkInTime": f"{tomorrow()}T08:59:00+08:00",
        "late": False,
        "calls": 0,
        "calledAt": None,
        "passedAt": None,
        "symptoms": "头痛",
    }
    assert (second["late"], second["queueNumber"], second["symptoms"]) == (True, 11, None)
    assert (third["status"], third["checkInTime"]) == ("confirmed", None)


async def test_the_day_is_today_at_the_hospital_unless_said(day: Day) -> None:
    today = await day.get("/doctors/me/queue")
    assert today == {"date": str(datetime.now(ZONE).date()), "sessions": []}
    (session,) = (await day.get("/doctors/me/queue", date=str(tomorrow())))["sessions"]
    assert (session["id"], session["patients"]) == (day.slot, [])


async def test_reading_the_queue_is_written_down(day: Day) -> None:
    (order_no,) = await day.full_of(1)
    await day.queue()
    await day.called(CALL)
    await day.get(f"/schedules/{day.slot}/queue", as_caller(day.context, 97, Role.NURSE))
    await day.place(order_no)
    seen = """select concat_ws(' ', actor_role, actor_id, object, action)
                from access_log order by id"""
    whose = f"appointment/{order_no}"
    assert await day.clinic.ids(seen) == [
        f"doctor 99 {whose} queue", f"doctor 99 {whose} call", f"nurse 97 {whose} queue",
    ]  # fmt: skip


# The doctor calls


async def test_calling_answers_with_the_patient_and_promises_a_message(day: Day) -> None:
    orders = await day.full_of(2)
    patient = await day.called(CALL)
    assert (patient["orderNo"], patient["name"], patient["calls"]) == (orders[0], "林小满", 1)
    assert patient["calledAt"].endswith("+08:00")
    assert (await day.queue())[0] == patient
    fact = f"{orders[0]}:appointment_called:1"
    promised = "select subject from outbox where workflow = 'message' and signal is null"
    assert await day.clinic.ids(promised) == [fact]
    assert (
        await day.clinic.value("select stream from outbox where subject = :s", s=fact)
        == (orders[0])
    )


async def test_when_nobody_waits_that_is_said(day: Day) -> None:
    await day.expects(1)
    assert refused(await day.call(CALL, key="k")) == (409, "queue_empty")
    (order_no,) = [await day.expects(2)]
    await day.check_in(order_no)
    assert (await day.called(CALL, key="k"))["orderNo"] == order_no, "judged anew"
    assert refused(await day.call(CALL)) == (409, "queue_empty")


async def test_one_key_twenty_times_at_once_calls_one_patient(day: Day) -> None:
    orders = await day.full_of(3)
    answers = await asyncio.gather(*(day.call(CALL, key="k") for _ in range(20)))
    assert {answer.json()["orderNo"] for answer in answers} == {orders[0]}
    assert await day.clinic.value("select sum(calls) from appointment") == 1
    again = [await day.called(RECALL, orders[0], key="r") for _ in range(2)]
    assert [patient["calls"] for patient in again] == [2, 2]
    assert refused(await day.call(RECALL, orders[1], key="r")) == (422, "idempotency_mismatch")


async def test_two_screens_never_call_one_patient_twice(day: Day) -> None:
    orders = await day.full_of(4)
    answers = await asyncio.gather(*(day.call(CALL) for _ in range(8)))
    called = [answer.json()["orderNo"] for answer in answers if answer.status_code == 200]
    assert sorted(called) == sorted(orders)
    assert {refused(answer) for answer in answers if answer.status_code != 200} == {
        (409, "queue_empty")
    }


async def test_who_does_not_come_is_called_again_then_passed_over(day: Day) -> None:
    first, second = await day.full_of(2)
    assert refused(await day.call(RECALL, first)) == (409, "not_called")
    assert refused(await day.call(PASS, first)) == (409, "not_called")
    await day.called(CALL)
    assert (await day.called(RECALL, first))["calls"] == 2
    passed = await day.called(PASS, first)
    assert (passed["queueNumber"], passed["calledAt"], passed["calls"]) == (11, None, 2)
    assert passed["passedAt"] is not None
    assert not passed["late"]
    assert [(await day.called(CALL))["orderNo"] for _ in range(2)] == [second, first]


async def test_who_has_left_is_refused_with_the_present_state(day: Day) -> None:
    (order_no,) = await day.full_of(1)
    await day.called(CALL)
    await day.clinic.move(order_no, 3, S.COMPLETED, at=NOW)
    for what in (RECALL, PASS):
        answer = await day.call(what, order_no)
        assert refused(answer) == (409, "not_allowed")
        assert answer.json()["orderStatus"] == "completed"
    assert await day.queue() == []


async def test_nobody_is_called_into_a_session_that_was_called_off(day: Day) -> None:
    first, _ = await day.full_of(2)
    await day.called(CALL)
    await day.clinic.run("update schedule set withdrawn = true")
    await day.clinic.run("delete from outbox")
    for what, order_no in ((CALL, None), (RECALL, first), (PASS, first)):
        assert refused(await day.call(what, order_no)) == (409, "called_off"), what
    assert await day.clinic.value("select sum(calls) from appointment") == 1
    assert await day.clinic.value("select count(*) from outbox") == 0


# Who may


async def test_another_doctors_queue_is_not_there(day: Day) -> None:
    (order_no,) = await day.full_of(1)
    other = as_caller(day.context, 98, Role.DOCTOR, doctor_id=await day.clinic.another_doctor())
    for body in ({"what": CALL}, {"what": RECALL, "order_no": order_no},
                 {"what": PASS, "order_no": order_no}, {"what": RECALL, "order_no": "A0"},
                 {"what": CALL, "scheduleId": 10**9}):  # fmt: skip
        assert refused(await day.call(who=other, **body)) == (404, "not_found"), body
    assert (await day.get("/doctors/me/sessions", other))["items"] == []
    found = await day.get("/doctors/me/queue", other, date=str(tomorrow()))
    assert found["sessions"] == []


async def test_only_doctors_have_a_day(day: Day) -> None:
    (order_no,) = await day.full_of(1)
    for role in set(Role) - {Role.DOCTOR}:
        who = as_caller(day.context, day.owners[order_no], role)
        for path in ("/doctors/me/sessions", "/doctors/me/queue"):
            assert refused(await day.client.get(path, headers=who)) == (403, "forbidden")
        for what, named in ((CALL, None), (RECALL, order_no), (PASS, order_no)):
            assert refused(await day.call(what, named, who=who)) == (403, "forbidden")
    assert refused(await day.client.get("/doctors/me/queue")) == (401, "not_authenticated")


async def test_the_desk_sees_names_and_numbers_and_not_why(day: Day) -> None:
    order_no = await day.expects(1, "头痛两天")
    await day.check_in(order_no)
    for role in (Role.OPERATOR, Role.NURSE):
        desk = as_caller(day.context, 97, role)
        queue = await day.get(f"/schedules/{day.slot}/queue", desk)
        (patient,) = queue["patients"]
        assert (queue["waiting"], patient["name"], patient["queueNumber"]) == (1, "林小满", 1)
        assert "symptoms" not in patient
        answer = await day.client.get("/schedules/999/queue", headers=desk)
        assert refused(answer) == (404, "not_found")
    for who in (day.doctor, day.owner(order_no), as_caller(day.context, 9, Role.PHARMACIST)):
        answer = await day.client.get(f"/schedules/{day.slot}/queue", headers=who)
        assert refused(answer) == (403, "forbidden")


# The patient


async def test_a_patient_sees_how_many_are_called_before(day: Day) -> None:
    first, second = await day.expects(1), await day.expects(2)
    assert await day.place(second) == {
        "status": "confirmed", "queueNumber": 2, "ahead": None, "calls": 0,
        "calledAt": None, "passedAt": None,
    }  # fmt: skip
    await day.check_in(first)
    await day.check_in(second)
    assert (await day.place(second))["ahead"] == 1
    await day.called(CALL)
    assert ((await day.place(second))["ahead"], (await day.place(first))["ahead"]) == (0, 0)
    assert (await day.place(first))["calledAt"] is not None
    await day.clinic.move(first, 3, S.COMPLETED, at=NOW)
    assert (await day.place(first))["ahead"] is None


async def test_a_strangers_place_is_not_found(day: Day) -> None:
    first, second = await day.full_of(2)
    path = f"/appointments/{(await day.clinic.order(first)).id}/queue"
    answer = await day.client.get(path, headers=day.owner(second))
    assert refused(answer) == (404, "not_found")


async def test_an_unpaid_order_has_no_number_to_show(day: Day) -> None:
    who = await day.clinic.someone()
    order_no = await day.clinic.booked(who, day.slot)
    day.owners[order_no] = who[0]
    assert (await day.place(order_no))["queueNumber"] is None


# Staff are patients too


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.OPERATOR, Role.NURSE])
async def test_staff_list_their_own_orders_by_asking_for_mine(day: Day, role: Role) -> None:
    hers, _ = await day.full_of(2)
    doctor_id = await day.clinic.another_doctor() if role is Role.DOCTOR else None
    account = day.owners[hers]
    who = as_caller(day.context, account, role, Role.PATIENT, doctor_id=doctor_id)
    mine = await day.get("/appointments", who, mine="true")
    assert [order["orderNo"] for order in mine["items"]] == [hers]
    assert await day.clinic.value("select count(*) from access_log") == 0
    all_of_them = await day.get("/appointments", who)
    assert all_of_them["total"] == (0 if role is Role.DOCTOR else 2)
