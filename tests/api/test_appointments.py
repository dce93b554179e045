"""Booking over HTTP, and who sees what of it."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from alembic.script import ScriptDirectory

from api.context import Context
from api.idempotency import hashed
from db.keyring import Keyring
from db.migrate import MIGRATIONS
from domain.access import Role
from domain.account import age_on
from domain.appointment import AppointmentStatus as S
from tests.support.api import as_caller, id_card, refused
from tests.support.booking import BORN, DAY, Clinic
from tests.support.catalogue import ZONE, tomorrow

pytestmark = pytest.mark.anyio

HERS = id_card(BORN, sequence=4)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@dataclass
class Booker:
    """A patient's account with one person, and its client."""

    client: httpx.AsyncClient
    context: Context
    account: int
    patient: int

    @property
    def headers(self) -> dict[str, str]:
        return as_caller(self.context, self.account, Role.PATIENT)

    async def book(self, slot: int, key: str | None = None, **body: Any) -> httpx.Response:
        whom = {} if "patientInfo" in body else {"patientId": self.patient}
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        return await self.client.post(
            "/appointments", json={"scheduleId": slot, **whom, **body}, headers=headers
        )

    async def booked(self, slot: int, **body: Any) -> dict[str, Any]:
        answer = await self.book(slot, **body)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order


@pytest.fixture
async def booker(client: httpx.AsyncClient, context: Context, clinic: Clinic) -> Booker:
    return Booker(client, context, *await clinic.someone(2))


@pytest.fixture
async def stranger(client: httpx.AsyncClient, context: Context, clinic: Clinic) -> Booker:
    return Booker(client, context, *await clinic.someone(7))


def written_out(**changes: Any) -> dict[str, Any]:
    return {
        "name": "林小满",
        "gender": "female",
        "age": age_on(BORN, datetime.now(ZONE).date()),
        "idCard": HERS,
        "phone": "13900000002",
    } | changes


# Booking


async def test_a_booking_is_answered_with_the_whole_order(booker: Booker, clinic: Clinic) -> None:
    slot = await clinic.slot()
    order = await booker.booked(slot)
    assert order["orderNo"].startswith("A")
    expected = {
        "userId": booker.account,
        "userName": "林小满",
        "patientId": booker.patient,
        "phone": "13900000002",
        "idCard": HERS,
        "hospitalId": 1,
        "hospitalName": "示例医院",
        "departmentId": 11,
        "departmentName": "心血管内科",
        "doctorId": clinic.doctor,
        "doctorName": "示例医生",
        "doctorTitle": "主任医师",
        "scheduleId": slot,
        "scheduleDate": str(tomorrow()),
        "timeSlot": "09:00-10:00",
        "location": "101",
        "status": "pending",
        "price": 50.0,
        "paid": False,
        "checkIn": False,
        "checkInTime": None,
        "queueNumber": None,
        "symptoms": None,
        "refundStatus": None,
        "refundedAmount": 0.0,
        "version": 0,
    }
    assert {name: order[name] for name in expected} == expected
    assert order["patientInfo"]["name"] == "林小满"
    assert order["patientInfo"]["gender"] == "female"
    assert order["terms"]["paymentWindow"] == "PT15M"
    assert order["startsAt"] == f"{tomorrow()}T09:00:00+08:00"
    assert order["payBy"].endswith("+08:00")


async def test_who_is_written_out_becomes_a_person_of_the_account(
    booker: Booker, clinic: Clinic
) -> None:
    card = id_card(BORN, sequence=8)
    info = written_out(idCard=card, name="陈大海", phone="+86 139 0013 9009")
    order = await booker.booked(await clinic.slot(), patientInfo=info)
    assert order["patientId"] != booker.patient
    assert (order["idCard"], order["phone"]) == (card, "13900139009")
    people = await booker.client.get("/users/me/patients", headers=booker.headers)
    assert order["patientId"] in [person["id"] for person in people.json()["items"]]


async def test_who_is_written_out_again_is_the_same_person(booker: Booker, clinic: Clinic) -> None:
    first = await booker.booked(await clinic.slot(), patientInfo=written_out())
    assert first["patientId"] == booker.patient
    again = await booker.book(await clinic.slot(hour=15), patientInfo=written_out())
    assert refused(again) == (409, "already_booked")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"idCard": HERS[:-1] + ("1" if HERS[-1] != "1" else "2")}, "patientInfo.idCard"),
    ({"idCard": "1234"}, "patientInfo.idCard"),
    ({"gender": "male"}, "patientInfo.idCard"),  # the number says otherwise
    ({"age": 80}, "patientInfo.idCard"),
    ({"gender": "x"}, "patientInfo.gender"),
    ({"age": -1}, "patientInfo.age"),
    ({"age": "old"}, "patientInfo.age"),
    ({"phone": "12345"}, "patientInfo.phone"),
    ({"name": ""}, "patientInfo.name"),
    ({"name": "林\u0000小满"}, "patientInfo.name"),
    ({"name": "陈大海"}, "patientInfo.name"),  # held under another name
]


async def test_a_wrong_field_is_named_and_what_was_sent_is_not_repeated(
    booker: Booker, clinic: Clinic
) -> None:
    slot = await clinic.slot()
    for change, field in WRONG:
        answer = await booker.book(slot, patientInfo=written_out(**change))
        assert refused(answer) == (422, "invalid"), change
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        sent = [str(value) for value in change.values() if len(str(value)) > 3]
        assert not [value for value in sent if value in answer.text]
    assert await clinic.figures(slot) == (0, 0, 0)


async def test_either_a_person_written_out_or_one_by_id(booker: Booker, clinic: Clinic) -> None:
    slot = await clinic.slot()
    both = await booker.book(slot, patientInfo=written_out(), patientId=booker.patient)
    neither = await booker.book(slot, patientId=None)
    assert refused(both) == refused(neither) == (422, "invalid")


async def test_symptoms_are_kept_sealed_and_shown_again(booker: Booker, clinic: Clinic) -> None:
    order = await booker.booked(await clinic.slot(), symptoms="头痛两天\u200b")
    assert order["symptoms"] == "头痛两天\u200b"
    sealed = await clinic.value("select symptoms from appointment")
    assert "头痛".encode() not in bytes(sealed)


async def test_refusals_have_their_own_codes(booker: Booker, clinic: Clinic) -> None:
    slot, full = await clinic.slot(), await clinic.slot(hour=15, sources=0)
    await booker.booked(slot)
    elsewhere = await clinic.another_doctor()
    begun = await clinic.slot(elsewhere)
    far = await clinic.slot(elsewhere, day=tomorrow() + 60 * DAY)
    await clinic.run("update schedule set starts_at = now() where id = :id", id=begun)
    found = [refused(await booker.book(wanted)) for wanted in (slot, full, begun, far, 10**9)]
    assert found == [
        (409, "already_booked"),
        (409, "slot_full"),
        (409, "slot_begun"),
        (409, "not_open_yet"),
        (404, "not_found"),
    ]


async def test_a_stranger_who_writes_the_person_out_learns_nothing(
    booker: Booker, stranger: Booker, clinic: Clinic
) -> None:
    slot = await clinic.slot()
    await booker.booked(slot)
    answer = await stranger.book(slot, patientInfo=written_out())
    assert refused(answer) == (409, "booking_refused")
    people = await stranger.client.get("/users/me/patients", headers=stranger.headers)
    assert people.json()["total"] == 1, "a refusal leaves nobody behind"


async def test_another_accounts_person_is_not_found(
    booker: Booker, stranger: Booker, clinic: Clinic
) -> None:
    slot = await clinic.slot()
    assert refused(await booker.book(slot, patientId=stranger.patient)) == (404, "not_found")
    with_symptoms = await booker.book(slot, patientId=stranger.patient, symptoms="头痛")
    assert refused(with_symptoms) == (404, "not_found")


async def test_only_patients_book(booker: Booker, clinic: Clinic) -> None:
    body = {"scheduleId": await clinic.slot(), "patientId": booker.patient}
    for role in set(Role) - {Role.PATIENT}:
        headers = as_caller(booker.context, booker.account, role)
        answer = await booker.client.post("/appointments", json=body, headers=headers)
        assert refused(answer) == (403, "forbidden"), role


async def test_nobody_books_without_a_login(client: httpx.AsyncClient) -> None:
    answer = await client.post("/appointments", json={"scheduleId": 1, "patientId": 1})
    assert refused(answer) == (401, "not_authenticated")


# Idempotency-Key


@pytest.mark.parametrize("body", [{}, {"patientInfo": written_out()}, {"symptoms": "头痛"}])
async def test_one_key_twenty_times_at_once_is_one_order(
    booker: Booker, clinic: Clinic, body: dict[str, Any]
) -> None:
    slot = await clinic.slot()
    answers = await asyncio.gather(*(booker.book(slot, key="k-1", **body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert await clinic.figures(slot) == (1, 1, 1)


async def test_the_same_key_with_another_body_is_refused(booker: Booker, clinic: Clinic) -> None:
    slot, other = await clinic.slot(), await clinic.slot(hour=15)
    await booker.booked(slot, key="k")
    assert refused(await booker.book(other, key="k")) == (422, "idempotency_mismatch")
    new_one = written_out(idCard=id_card(BORN, sequence=8))
    answer = await booker.book(slot, key="k", patientInfo=new_one)
    assert refused(answer) == (422, "idempotency_mismatch")
    assert await clinic.value("select count(*) from patient") == 1


async def test_a_refusal_is_judged_anew_under_the_same_key(booker: Booker, clinic: Clinic) -> None:
    slot = await clinic.slot()
    await clinic.run("update schedule set withdrawn = true")
    assert refused(await booker.book(slot, key="k")) == (409, "schedule_unavailable")
    await clinic.run("update schedule set withdrawn = false")
    order = await booker.booked(slot, key="k")
    assert (await booker.book(slot, key="k")).json() == order


# Looking


async def test_its_owner_looks_at_it_and_leaves_no_trace(booker: Booker, clinic: Clinic) -> None:
    order = await booker.booked(await clinic.slot())
    path = f"/appointments/{order['id']}"
    assert (await booker.client.get(path, headers=booker.headers)).json() == order
    listed = await booker.client.get("/appointments", headers=booker.headers)
    assert listed.json() == {"items": [order], "total": 1, "page": 1, "size": 20}
    timeline = await booker.client.get(f"{path}/timeline", headers=booker.headers)
    (born,) = timeline.json()
    assert (born["event"], born["from"], born["to"]) == ("booked", None, "pending")
    assert born["actor"] == {"role": "patient", "id": booker.account}
    assert (born["reason"], born["version"]) == ("", 0)
    assert await clinic.value("select count(*) from access_log") == 0


async def test_a_strangers_order_is_not_found_everywhere(
    booker: Booker, stranger: Booker, clinic: Clinic
) -> None:
    order = await booker.booked(await clinic.slot())
    path = f"/appointments/{order['id']}"
    asks: Sequence[tuple[str, str, Any]] = [
        ("GET", path, None),
        ("GET", f"{path}/timeline", None),
        ("POST", f"{path}/cancel", {}),
        ("POST", f"{path}/check-in", None),
        ("POST", f"{path}/complete", None),
        ("POST", "/payments", {"orderNo": order["orderNo"], "channel": "sandbox"}),
    ]
    for headers in (
        stranger.headers,
        as_caller(booker.context, 99, Role.DOCTOR, doctor_id=clinic.doctor + 1),
        as_caller(booker.context, 99, Role.PHARMACIST),
    ):
        for method, url, body in asks:
            answer = await booker.client.request(method, url, json=body, headers=headers)
            assert refused(answer) == (404, "not_found"), (method, url)
        listed = await booker.client.get("/appointments", headers=headers)
        assert listed.json()["items"] == []


async def test_who_may_see_it_may_not_therefore_do_all(booker: Booker, clinic: Clinic) -> None:
    order = await booker.booked(await clinic.slot())
    path, operations = f"/appointments/{order['id']}", f"/ops/orders/{order['orderNo']}"
    pay = {"orderNo": order["orderNo"], "channel": "sandbox"}
    doctor = as_caller(booker.context, 99, Role.DOCTOR, doctor_id=clinic.doctor)
    nurse = as_caller(booker.context, 98, Role.NURSE)
    operator = as_caller(booker.context, 97, Role.OPERATOR)
    for headers, url, body in [
        (booker.headers, f"{path}/complete", None),
        (booker.headers, f"{operations}/extend", {"reason": "x"}),
        (booker.headers, f"{operations}/cancel-and-refund", {"reason": "x"}),
        (doctor, f"{path}/cancel", None),
        (doctor, f"{path}/check-in", None),
        (doctor, "/payments", pay),
        (nurse, f"{path}/cancel", None),
        (nurse, f"{path}/complete", None),
        (nurse, f"{operations}/extend", {"reason": "x"}),
        (operator, "/payments", pay),
    ]:
        answer = await booker.client.post(url, json=body, headers=headers)
        assert refused(answer) == (403, "forbidden"), url
    # An operator's route tells others nothing about which orders there are.
    unknown = await booker.client.post(
        "/ops/orders/A0/extend", json={"reason": "x"}, headers=booker.headers
    )
    assert refused(unknown) == (403, "forbidden")
    assert await clinic.value("select count(*) from audit") == 0


async def test_its_doctor_reads_it_and_that_is_written_down(booker: Booker, clinic: Clinic) -> None:
    order = await booker.booked(await clinic.slot())
    doctor = as_caller(booker.context, 99, Role.DOCTOR, doctor_id=clinic.doctor)
    path = f"/appointments/{order['id']}"
    for url in (path, f"{path}/timeline", "/appointments"):
        assert (await booker.client.get(url, headers=doctor)).status_code == 200
    query = """select concat_ws(' ', actor_role, actor_id, patient_id, object, action)
                 from access_log order by id"""
    whose = f"doctor 99 {booker.patient} appointment/{order['orderNo']}"
    assert await clinic.ids(query) == [f"{whose} read", f"{whose} timeline", f"{whose} list"]


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.NURSE])
async def test_staff_read_all_and_that_is_written_down(
    booker: Booker, clinic: Clinic, role: Role
) -> None:
    order = await booker.booked(await clinic.slot())
    staff = as_caller(booker.context, 97, role)
    listed = await booker.client.get("/appointments", headers=staff)
    assert [item["id"] for item in listed.json()["items"]] == [order["id"]]
    query = "select actor_role || ' ' || action from access_log"
    assert await clinic.ids(query) == [f"{role} list"]


async def test_orders_outlive_a_person_who_was_deleted(
    booker: Booker, stranger: Booker, clinic: Clinic
) -> None:
    """Their keys are thrown away; the orders still stand in lists, and in those of others."""
    slot = await clinic.slot()
    order = await booker.booked(slot, symptoms="头痛")
    await stranger.booked(slot)
    await clinic.run(
        f"""update data_key set wrapped = null where id in (
            select data_key_id from patient where id = {booker.patient} union
            select data_key_id from account where id = {booker.account})"""
    )
    operator = as_caller(booker.context, 97, Role.OPERATOR)
    listed = await booker.client.get("/appointments", headers=operator)
    assert listed.status_code == 200, listed.text
    hers, gone = listed.json()["items"]
    assert hers["patientInfo"]["name"] != "已删除"
    nothing = {"name": "已删除", "gender": None, "age": None, "idCard": "", "phone": ""}
    assert gone["patientInfo"] == nothing
    assert (gone["userName"], gone["phone"], gone["idCard"]) == ("已删除", "", "")
    assert (gone["orderNo"], gone["price"], gone["symptoms"]) == (order["orderNo"], 50.0, None)
    one = await booker.client.get(f"/appointments/{order['id']}", headers=operator)
    assert one.json() == gone
    again = await booker.book(await clinic.slot(hour=14), symptoms="x")
    assert refused(again) == (404, "not_found")


async def test_an_operators_words_about_somebody_deleted_are_kept_with_the_writer(
    booker: Booker, stranger: Booker, clinic: Clinic
) -> None:
    order = await booker.booked(await clinic.slot())
    await clinic.run(
        f"""update data_key set wrapped = null where id in (
            select data_key_id from patient where id = {booker.patient})"""
    )
    operator = as_caller(booker.context, stranger.account, Role.OPERATOR)
    path = f"/ops/orders/{order['orderNo']}/extend"
    answer = await booker.client.post(path, json={"reason": "请稍候"}, headers=operator)
    assert refused(answer) == (503, "try_again"), "Temporal is away; what was asked is written down"
    whose = f"select data_key_id from account where id = {stranger.account}"
    assert await clinic.value("select data_key_id from audit") == await clinic.value(whose)


async def test_an_idempotency_key_is_not_kept_as_it_was_sent(
    booker: Booker, stranger: Booker, clinic: Clinic
) -> None:
    """Clients put into it what they like, such as a phone number."""
    for number, who in enumerate((booker, stranger)):
        answer = await who.book(await clinic.slot(hour=9 + number), key="13900000002")
        assert answer.status_code == 201, answer.text
    kept = await clinic.ids("select key from idempotency order by account_id")
    assert len(set(kept)) == 2
    assert [key for key in kept if not re.fullmatch(r"[0-9a-f]{64}", key)] == []
    assert kept[0] == hashed(booker.account, "13900000002")


async def test_keys_from_before_are_hashed_by_the_schema_as_by_the_route(clinic: Clinic) -> None:
    await clinic.run(
        "insert into idempotency (account_id, key, body_hash) values (7, 'a~b', ''), (8, 'a~b', '')"
    )
    revision = ScriptDirectory(str(MIGRATIONS)).get_revision("0007_idempotency")
    await clinic.run(f"update idempotency set key = {revision.module.HASHED}")
    kept = await clinic.ids("select key from idempotency order by account_id")
    assert kept == [hashed(7, "a~b"), hashed(8, "a~b")]


async def test_a_list_is_narrowed_and_paged_newest_first(booker: Booker, clinic: Clinic) -> None:
    slots = [await clinic.slot(day=tomorrow() + days * DAY) for days in range(3)]
    orders = [await booker.booked(slot) for slot in slots]
    await clinic.move(orders[1]["orderNo"], 1, S.CONFIRMED, at=datetime.now(UTC))

    async def ids(**query: Any) -> list[int]:
        answer = await booker.client.get("/appointments", params=query, headers=booker.headers)
        assert answer.status_code == 200, answer.text
        return [orders.index(next(o for o in orders if o["id"] == item["id"]))
                for item in answer.json()["items"]]  # fmt: skip

    assert await ids() == [2, 1, 0]
    assert await ids(size=2) == [2, 1]
    assert await ids(size=2, page=2) == [0]
    assert await ids(page=9) == []
    assert await ids(status="confirmed") == [1]
    assert await ids(date=str(tomorrow())) == [0]
    for wrong in ({"status": "lost"}, {"date": "soon"}, {"page": 0}, {"size": 101}):
        answer = await booker.client.get("/appointments", params=wrong, headers=booker.headers)
        assert refused(answer) == (422, "invalid"), wrong


async def test_a_paid_order_shows_its_queue_number(booker: Booker, clinic: Clinic) -> None:
    order = await booker.booked(await clinic.slot())
    await clinic.move(order["orderNo"], 1, S.CONFIRMED, at=datetime.now(UTC), payment_no="P1")
    seen = await booker.client.get(f"/appointments/{order['id']}", headers=booker.headers)
    body = seen.json()
    assert (body["status"], body["paid"], body["queueNumber"]) == ("confirmed", True, 1)
