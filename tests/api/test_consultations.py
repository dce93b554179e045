"""Ordering an online consultation, and who may see it: over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.context import Context
from db.account import add_patient
from db.keyring import Keyring
from domain.access import Role
from domain.account import Gender, NewPatient
from domain.hospital import (
    Compliance,
    ConsultationPrices,
    DoctorLevel,
    Feature,
    HospitalConfig,
    LevelPrice,
)
from tests.support.api import (
    as_caller,
    client_of,
    close_context,
    hospital_config,
    id_card,
    make_context,
    refused,
)
from tests.support.care import Care
from tests.support.catalogue import a_doctor

pytestmark = pytest.mark.anyio

PATH = "/consultations"


def price(level: DoctorLevel, yuan: str) -> LevelPrice:
    return LevelPrice(level, level, Decimal(yuan))


def config_of(compliance: Compliance = Compliance.NONE) -> HospitalConfig:
    config = hospital_config()
    hospital = replace(config.hospital, features=frozenset({Feature.ONLINE_CONSULTATION}))
    prices = ConsultationPrices(
        text=(price(DoctorLevel.CHIEF, "99.90"), price(DoctorLevel.ATTENDING, "39.90")),
        phone=(price(DoctorLevel.CHIEF, "0"),),
        emergency=Decimal("49.90"),
    )
    return replace(config, hospital=hospital, consultation_prices=prices, compliance=compliance)


async def opened(database_url: str, keyring: Keyring, config: HospitalConfig) -> Context:
    return await make_context(database_url, keyring, config)


@pytest.fixture
async def care(database_url: str, keyring: Keyring) -> AsyncIterator[Care]:
    context = await opened(database_url, keyring, config_of())
    async with client_of(context) as client:
        yield await Care.opened(client, context)
    await close_context(context)


@pytest.fixture
async def lawful(database_url: str, keyring: Keyring) -> AsyncIterator[Care]:
    """The same under `compliance: cn-2022`."""
    context = await opened(database_url, keyring, config_of(Compliance.CN_2022))
    async with client_of(context) as client:
        yield await Care.opened(client, context)
    await close_context(context)


Who = tuple[int, int]  # account, person


async def ask(care: Care, who: Who, **wanted: Any) -> httpx.Response:
    body = {"type": "text", "complaint": "头痛两天", "patientId": who[1], **wanted}
    return await care.send("POST", PATH, care.patient(who[0]), body)


async def doctor_of(care: Care, level: str, **columns: Any) -> int:
    async with care.context.engine.begin() as connection:
        doctor = await a_doctor(connection, level=level)
        for name, value in columns.items():
            await connection.execute(
                text(f"update doctor set {name} = cast(:value as jsonb) where id = :id"),
                {"value": value, "id": doctor},
            )
    return doctor


async def count(care: Care, table: str) -> int:
    async with care.context.engine.connect() as connection:
        return int(await connection.scalar(text(f"select count(*) from {table}")) or 0)


# Prices


async def test_the_price_is_that_of_type_and_level_and_is_fixed(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor)).json()
    assert (order["price"], order["paid"], order["status"]) == (99.9, False, "pending")
    attending = await doctor_of(care, "attending")
    assert (await ask(care, who, doctorId=attending)).json()["price"] == 39.9


async def test_what_has_no_price_is_not_offered_and_never_free(care: Care) -> None:
    who = await care.clinic.someone()
    resident = await doctor_of(care, "resident")
    assert refused(await ask(care, who, doctorId=resident)) == (409, "not_offered")
    video = await ask(care, who, doctorId=care.clinic.doctor, type="video")
    assert refused(video) == (409, "not_offered")


async def test_an_expert_may_have_a_price_of_their_own_and_nobody_else(care: Care) -> None:
    who = await care.clinic.someone()
    expert = await doctor_of(care, "chief", own_prices='{"text": "299.00"}')
    assert (await ask(care, who, doctorId=expert)).json()["price"] == 299.0
    attending = await doctor_of(care, "attending", own_prices='{"text": "299.00"}')
    assert (await ask(care, who, doctorId=attending)).json()["price"] == 39.9
    shown = (await care.send("GET", f"/doctors/{expert}", None)).json()
    assert shown["prices"]["text"] == 299.0


async def test_what_costs_nothing_waits_for_its_doctor_at_once(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    assert (order["paid"], order["waitingFor"]) == (True, "doctor")
    instants = ("createdAt", "payBy", "waitingSince", "acceptBy", "due")
    assert {order[name][-6:] for name in instants} == {"+08:00"}


async def test_a_pool_costs_what_its_cheapest_level_costs(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, departmentId=1)).json()
    assert (order["price"], order["doctorId"], order["way"]) == (39.9, None, "quick")
    assert refused(await ask(care, who, departmentId=99)) == (404, "not_found")


async def test_a_hospital_without_the_feature_offers_none(
    client: httpx.AsyncClient, context: Context
) -> None:
    care = await Care.opened(client, context)
    who = await care.clinic.someone()
    assert refused(await ask(care, who, doctorId=care.clinic.doctor)) == (409, "not_offered")


# Whom it is for


async def test_it_is_for_the_accounts_own_person_unless_one_is_named(care: Care) -> None:
    account, person = await care.clinic.someone()
    wanted = {"doctorId": care.clinic.doctor, "patientId": None}
    assert (await ask(care, (account, person), **wanted)).json()["patientId"] == person
    nobody = await care.clinic.account()
    assert refused(await ask(care, (nobody, 0), **wanted)) == (422, "invalid")


async def test_a_strangers_person_does_not_exist(care: Care) -> None:
    account, _ = await care.clinic.someone()
    _, other = await care.clinic.someone(1)
    answer = await ask(care, (account, other), doctorId=care.clinic.doctor)
    assert refused(answer) == (404, "not_found")


async def test_doctors_do_not_ask_themselves(care: Care) -> None:
    account, person = await care.clinic.someone()
    own = as_caller(care.context, account, Role.PATIENT, Role.DOCTOR, doctor_id=care.clinic.doctor)
    body = {"type": "text", "complaint": "头痛两天", "patientId": person}
    wanted = body | {"doctorId": care.clinic.doctor}
    answer = await care.send("POST", PATH, own, wanted)
    assert refused(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == ["doctorId"]
    colleague = body | {"doctorId": await doctor_of(care, "chief")}
    assert (await care.send("POST", PATH, own, colleague)).status_code == 201


async def test_a_stranger_and_an_unasked_doctor_find_nothing(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    stranger = care.patient(await care.clinic.account())
    other = await care.doctor(await doctor_of(care, "chief"))
    for name in ("", "/timeline", "/notes", "/background"):
        path = f"{PATH}/{order['id']}{name}"
        assert refused(await care.send("GET", path, stranger)) == (404, "not_found")
        assert refused(await care.send("GET", path, other)) == (404, "not_found")
    asked = await care.send("GET", f"{PATH}/{order['id']}", await care.doctor())
    assert asked.json()["complaint"] == "头痛两天"


async def test_a_doctor_lists_nothing_that_nobody_paid_for_yet(care: Care) -> None:
    who = await care.clinic.someone()
    unpaid = (await ask(care, who, doctorId=care.clinic.doctor)).json()
    asked = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    cases = (await care.send("GET", PATH, await care.doctor())).json()
    assert ([one["id"] for one in cases["items"]], cases["total"]) == ([asked["id"]], 1)
    own = (await care.send("GET", PATH, care.patient(who[0]))).json()
    assert {one["id"] for one in own["items"]} == {unpaid["id"], asked["id"]}


async def test_a_doctor_who_is_the_patient_finds_it_among_their_own_alone(care: Care) -> None:
    account, person = await care.clinic.someone()
    order = (await ask(care, (account, person), doctorId=care.clinic.doctor, type="phone")).json()
    both = as_caller(care.context, account, Role.PATIENT, Role.DOCTOR, doctor_id=care.clinic.doctor)

    async def listed(query: str) -> list[int]:
        answer = await care.send("GET", f"{PATH}?{query}", both)
        return [one["id"] for one in answer.json()["items"]]

    assert await listed("mine=true") == []
    assert await listed("queue=true") == []
    assert await listed("mine=false") == [order["id"]]


async def test_what_others_than_the_owner_read_leaves_a_trace(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    await care.send("GET", f"{PATH}/{order['id']}", care.patient(who[0]))
    assert await count(care, "access_log") == 0
    await care.send("GET", f"{PATH}/{order['id']}", await care.doctor())
    await care.send("GET", f"{PATH}/{order['id']}/background", await care.doctor())
    assert await count(care, "access_log") == 2


async def test_an_operator_who_acts_on_an_order_has_read_it(care: Care) -> None:
    order = (await ask(care, await care.clinic.someone(), doctorId=care.clinic.doctor)).json()
    again, body = f"/ops/orders/{order['orderNo']}/retry", {"reason": "流程丢失"}
    operator = as_caller(care.context, await care.clinic.account(), Role.OPERATOR)
    answer = await care.send("POST", again, operator, body)
    assert (answer.status_code, answer.json()["orderNo"]) == (200, order["orderNo"])
    traces = f"select action from access_log where object = 'consultation/{order['orderNo']}'"
    assert await care.clinic.ids(traces) == ["retry"]


async def test_a_doctor_who_is_the_patient_treats_nobody(care: Care) -> None:
    account, person = await care.clinic.someone()
    order = (await ask(care, (account, person), doctorId=care.clinic.doctor, type="phone")).json()
    both = as_caller(care.context, account, Role.PATIENT, Role.DOCTOR, doctor_id=care.clinic.doctor)
    answer = await care.send("POST", f"{PATH}/{order['id']}/accept", both)
    assert refused(answer) == (403, "forbidden")


async def test_what_was_written_is_sealed(care: Care) -> None:
    who = await care.clinic.someone()
    await ask(care, who, doctorId=care.clinic.doctor, description="一看就知道的词")
    async with care.context.engine.connect() as connection:
        row = (await connection.execute(text("select * from consultation"))).one()
    assert "一看就知道的词" not in str(row)
    assert "一看就知道的词".encode() not in row.sealed


# Red flags

EMERGENCY = {"urgency": "emergency", "departmentId": 1, "complaint": "突然胸口剧痛,大汗"}


async def test_an_emergency_with_red_flags_is_sent_to_hospital_before_it_costs_anything(
    care: Care,
) -> None:
    who = await care.clinic.someone()
    answer = await ask(care, who, **EMERGENCY)
    assert refused(answer) == (409, "red_flag")
    [flag, *_] = answer.json()["redFlags"]
    assert "120" in flag["advice"]
    assert await count(care, "consultation") == 0
    await ask(care, who, **EMERGENCY)
    assert await count(care, "work_item") == 1  # while a nurse has it on the list
    nurse = as_caller(care.context, await care.clinic.account(), Role.NURSE)
    [item] = (await care.send("GET", "/work-items?kind=red_flag", nurse)).json()["items"]
    story = (await care.send("GET", f"/work-items/{item['id']}", nurse)).json()
    assert "胸口剧痛" in story["note"]
    assert story["note"].startswith("[chest_pain")
    assert item["queue"] == "staff-nurse"
    async with care.context.engine.connect() as connection:
        assert await connection.scalar(text("select excluded from work_item")) == [who[0]]
    overseen = (await care.send("GET", f"/work-items/{item['id']}", care.operator)).json()
    assert (overseen["id"], overseen["note"]) == (item["id"], None)  # until it is escalated
    async with care.context.engine.connect() as connection:
        row = (await connection.execute(text("select * from work_item"))).one()
    assert "胸口" not in str(row)
    assert "chest_pain" not in str(row)


async def test_other_signs_of_the_same_person_are_another_call(care: Care) -> None:
    who = await care.clinic.someone()
    for complaint in ("突然胸口剧痛,大汗", "不想活了,想自杀", "不想活了,想自杀"):
        await ask(care, who, **EMERGENCY | {"complaint": complaint})
    assert await count(care, "work_item") == 2


async def test_a_missing_price_or_department_does_not_keep_anybody_from_hearing_call_120(
    care: Care,
) -> None:
    who = await care.clinic.someone()
    answer = await ask(care, who, **EMERGENCY | {"departmentId": 999})
    assert refused(answer) == (409, "red_flag")


async def test_an_emergency_without_red_flags_is_rung_for_at_a_flat_price(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, **EMERGENCY | {"complaint": "孩子把耳塞弄进了耳朵"})).json()
    assert (order["price"], order["way"], order["doctorId"]) == (49.9, "emergency", None)


@pytest.mark.parametrize("kind", [{}, [], 1, True, "体检"])
async def test_an_unknown_kind_of_visit_is_invalid_whatever_its_type(care: Care, kind: Any) -> None:
    who = await care.clinic.someone()
    answer = await ask(care, who, doctorId=care.clinic.doctor, visitKind=kind)
    assert refused(answer) == (422, "invalid")


async def test_an_emergency_names_no_doctor(care: Care) -> None:
    who = await care.clinic.someone()
    answer = await ask(care, who, **EMERGENCY, doctorId=care.clinic.doctor)
    assert refused(answer) == (422, "invalid")


async def test_any_other_consultation_tells_of_its_red_flags(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, complaint="突然胸口剧痛")).json()
    assert order["redFlags"]
    calm = (await ask(care, who, doctorId=care.clinic.doctor, complaint="没有胸痛,咳嗽")).json()
    assert calm["redFlags"] == []
    assert await count(care, "work_item") == 1  # a nurse calls: nobody waits a day with that
    async with care.context.engine.connect() as connection:
        rows = (await connection.execute(text("select * from consultation"))).all()
    assert order["redFlags"][0]["id"] not in str(rows)


# Lawful care


async def consent(care: Care, who: Who, kind: str = "online_care") -> None:
    texts = (await care.send("GET", "/consents", care.patient(who[0]))).json()["items"]
    version = next(given["version"] for given in texts if given["kind"] == kind)
    body = {"kind": kind, "version": version, "patientId": who[1]}
    given = await care.send("POST", "/users/me/consents", care.patient(who[0]), body)
    assert given.status_code == 201, given.text


async def licensed(care: Care) -> None:
    body = {
        "licenceNo": "110990000000001",
        "licenceValidUntil": "2999-12-31",
        "practisingSince": "2010-07-01",
        "institution": "示例医院",
        "institutionConsentUntil": "2999-12-31",
    }
    path = f"/doctors/{care.clinic.doctor}/credential"
    kept = await care.send("PUT", path, care.operator, body)
    assert kept.status_code < 300, kept.text


async def test_nobody_is_treated_without_consent_to_the_text_of_the_day(lawful: Care) -> None:
    await licensed(lawful)
    who = await lawful.clinic.someone()
    answer = await ask(lawful, who, doctorId=lawful.clinic.doctor)
    assert refused(answer) == (409, "consent_missing")
    assert [needed["kind"] for needed in answer.json()["needed"]] == ["online_care"]
    assert answer.json()["rule"] == "R20"
    await consent(lawful, who)
    assert (await ask(lawful, who, doctorId=lawful.clinic.doctor)).status_code == 201


async def test_red_flags_are_told_before_any_consent_is_asked_for(lawful: Care) -> None:
    who = await lawful.clinic.someone()
    assert refused(await ask(lawful, who, **EMERGENCY)) == (409, "red_flag")


async def test_a_minor_needs_a_guardians_consent_too(lawful: Care) -> None:
    await licensed(lawful)
    account = await lawful.clinic.account()
    born = date.today() - timedelta(days=8 * 366)  # noqa: DTZ011 - years, not hours
    child = NewPatient("小满", Gender.MALE, id_card(born), "+8613800138000")
    async with lawful.context.engine.begin() as connection:
        person = await add_patient(connection, lawful.context.keyring, 1, account, child)
    assert person is not None
    await consent(lawful, (account, person))
    answer = await ask(lawful, (account, person), doctorId=lawful.clinic.doctor)
    assert [needed["kind"] for needed in answer.json()["needed"]] == ["guardian"]


async def test_a_follow_up_needs_evidence(lawful: Care) -> None:
    await licensed(lawful)
    who = await lawful.clinic.someone()
    await consent(lawful, who)
    wanted = {"doctorId": lawful.clinic.doctor, "visitKind": "follow_up"}
    answer = await ask(lawful, who, **wanted)
    assert refused(answer) == (409, "evidence_missing")
    assert answer.json()["rule"] == "R03"
    order = (await ask(lawful, who, **wanted, evidence="2026年3月出院小结:高血压")).json()
    assert order["visitKind"] == "follow_up"
    notes = await lawful.send("GET", f"{PATH}/{order['id']}/notes", lawful.patient(who[0]))
    assert [note["kind"] for note in notes.json()] == ["evidence"]


async def concluded(care: Care, order: dict[str, Any], doctor: dict[str, str], **said: str) -> Any:
    body = {"advice": "规律作息", **said}
    return await care.send("POST", f"{PATH}/{order['id']}/complete", doctor, body)


async def test_advice_has_no_diagnosis_and_a_follow_up_has_one(lawful: Care) -> None:
    await licensed(lawful)
    who, doctor = await lawful.clinic.someone(), await lawful.doctor()
    await consent(lawful, who)
    free = {"doctorId": lawful.clinic.doctor, "type": "phone"}
    advice = (await ask(lawful, who, **free)).json()
    answer = await concluded(lawful, advice, doctor, diagnosis="紧张性头痛")
    assert refused(answer) == (409, "diagnosis_not_allowed")
    assert answer.json()["rule"] == "R01"
    wanted = free | {"visitKind": "follow_up", "evidence": "2026年3月出院小结:高血压"}
    follow_up = (await ask(lawful, who, **wanted)).json()
    answer = await concluded(lawful, follow_up, doctor)
    assert [error["field"] for error in answer.json()["errors"]] == ["diagnosis"]


async def test_a_doctor_who_may_take_nobody_reads_nobodys_case(lawful: Care) -> None:
    await licensed(lawful)
    who = await lawful.clinic.someone()
    await consent(lawful, who)
    order = (await ask(lawful, who, departmentId=1, type="phone")).json()
    doctor, path = await lawful.doctor(), f"{PATH}/{order['id']}"
    listed = await lawful.send("GET", f"{PATH}?queue=true", doctor)
    assert [one["id"] for one in listed.json()["items"]] == [order["id"]]
    assert (await lawful.send("GET", f"{path}/background", doctor)).status_code == 200
    async with lawful.context.engine.begin() as connection:
        await connection.execute(text("delete from doctor_credential"))
    listed = await lawful.send("GET", f"{PATH}?queue=true", doctor)
    assert refused(listed) == (409, "licence_missing")
    assert listed.json()["rule"] == "R07"
    for name in ("", "/background", "/notes"):
        assert refused(await lawful.send("GET", path + name, doctor)) == (404, "not_found")
    # Who tries to take it is told why not.
    accepting = await lawful.send("POST", f"{path}/accept", doctor)
    assert refused(accepting) == (409, "licence_missing")


async def test_records_that_nobody_asked_for_are_not_made_the_orders(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    path = f"{PATH}/{order['id']}/evidence"
    answer = await care.send("POST", path, care.patient(who[0]), {"attachments": ["7"]})
    assert refused(answer) == (409, "not_allowed")  # before file 7 is looked at


async def test_without_a_profile_a_follow_up_needs_nothing(care: Care) -> None:
    who = await care.clinic.someone()
    wanted = {"doctorId": care.clinic.doctor, "visitKind": "follow_up"}
    assert (await ask(care, who, **wanted)).status_code == 201


async def test_an_expired_licence_takes_no_new_cases(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    await licensed(care)
    async with care.context.engine.begin() as connection:
        await connection.execute(
            text("update doctor_credential set licence_valid_until = current_date - 1")
        )
    answer = await ask(care, who, doctorId=care.clinic.doctor)
    assert refused(answer) == (409, "doctor_unavailable")
    accepting = await care.send("POST", f"{PATH}/{order['id']}/accept", await care.doctor())
    assert refused(accepting) == (409, "licence_expired")


async def test_under_the_profile_who_has_no_recorded_licence_takes_nobody(lawful: Care) -> None:
    who = await lawful.clinic.someone()
    answer = await ask(lawful, who, doctorId=lawful.clinic.doctor)
    assert refused(answer) == (409, "doctor_unavailable")


# Rating


async def ended(care: Care, id: int, status: str, ago: str) -> None:
    async with care.context.engine.begin() as connection:
        await connection.execute(
            text(
                """update consultation set status = :status,
                       ended_at = now() - cast(:ago as interval) where id = :id"""
            ),
            {"status": status, "ago": ago, "id": id},
        )


@pytest.mark.parametrize(
    ("status", "ago", "answer"),
    [
        ("completed", "1 day", 200),
        ("completed", "15 days 1 minute", 409),
        ("refunded", "1 day", 409),
        ("consulting", "0 days", 409),
    ],
)
async def test_what_was_completed_is_rated_once_within_fifteen_days(
    care: Care, status: str, ago: str, answer: int
) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    await ended(care, order["id"], status, ago)
    path = f"{PATH}/{order['id']}/rating"
    rated = await care.send("POST", path, care.patient(who[0]), {"rating": 4})
    assert rated.status_code == answer
    again = await care.send("POST", path, care.patient(who[0]), {"rating": 5})
    assert again.status_code == 409
    byhim = await care.send("POST", path, await care.doctor(), {"rating": 5})
    assert byhim.status_code == 403


async def test_a_rating_is_one_to_five(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    for rating in (0, 6, 4.5):
        path = f"{PATH}/{order['id']}/rating"
        answer = await care.send("POST", path, care.patient(who[0]), {"rating": rating})
        assert refused(answer) == (422, "invalid")


# The doctor's side


async def test_a_queue_holds_what_its_doctor_could_accept(care: Care) -> None:
    who = await care.clinic.someone()
    named = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    unpaid = (await ask(care, who, doctorId=care.clinic.doctor)).json()
    pool = (await ask(care, who, departmentId=1, type="phone")).json()
    elsewhere = (await ask(care, who, departmentId=2, type="phone")).json()

    async def queue(headers: dict[str, str]) -> list[int]:
        answer = await care.send("GET", f"{PATH}?queue=true", headers)
        return [one["id"] for one in answer.json()["items"]]

    assert await queue(await care.doctor()) == [named["id"], pool["id"]]  # who waits longest first
    assert named["waitingSince"] <= pool["waitingSince"]
    assert unpaid["waitingSince"] is None
    other = await care.doctor(await doctor_of(care, "chief"))
    assert await queue(other) == [pool["id"]]
    assert unpaid["id"] != elsewhere["id"]
    patient = care.patient(who[0])
    assert refused(await care.send("GET", f"{PATH}?queue=true", patient)) == (403, "forbidden")


async def test_a_patient_sees_how_many_are_before_them(care: Care) -> None:
    first, second = await care.clinic.someone(), await care.clinic.someone(1)
    await ask(care, first, doctorId=care.clinic.doctor, type="phone")
    order = (await ask(care, second, doctorId=care.clinic.doctor, type="phone")).json()
    seen = (await care.send("GET", f"{PATH}/{order['id']}", care.patient(second[0]))).json()
    assert (seen["ahead"], seen["usualResponse"]) == (1, None)


async def test_the_usual_response_is_measured(care: Care) -> None:
    who = await care.clinic.someone()
    for _ in range(5):
        await ask(care, who, doctorId=care.clinic.doctor, type="phone")
    async with care.context.engine.begin() as connection:
        await connection.execute(
            text(
                """update consultation set status = 'completed',
                       started_at = paid_at + id * interval '1 minute', ended_at = now()"""
            )
        )
        middle = await connection.scalar(text("select avg(id) from consultation"))
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    seen = (await care.send("GET", f"{PATH}/{order['id']}", care.patient(who[0]))).json()
    assert seen["usualResponse"] == f"PT{int(middle)}M"


async def test_operators_see_where_it_stands_and_not_what_was_written(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    seen = (await care.send("GET", f"{PATH}/{order['id']}", care.operator)).json()
    assert (seen["complaint"], seen["waitingFor"]) == ("", "doctor")
    notes = await care.send("GET", f"{PATH}/{order['id']}/notes", care.operator)
    assert refused(notes) == (403, "forbidden")
    [listed] = (await care.send("GET", PATH, care.operator)).json()["items"]
    assert listed["description"] == ""


async def test_a_doctor_whose_order_ended_without_them_reads_no_more_of_it(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    doctor = await care.doctor()
    path = f"{PATH}/{order['id']}"
    assert (await care.send("GET", path, doctor)).json()["complaint"] == "头痛两天"
    await ended(care, order["id"], "refunded", "1 minute")
    assert (await care.send("GET", path, doctor)).json()["complaint"] == ""
    for name in ("notes", "background"):
        assert refused(await care.send("GET", f"{path}/{name}", doctor)) == (403, "forbidden")


async def test_a_patients_other_visits_are_for_treating_this_one_and_a_day_after_it(
    care: Care,
) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    path, doctor = f"{PATH}/{order['id']}", await care.doctor()
    async with care.context.engine.begin() as connection:
        await connection.execute(text("update consultation set started_at = now()"))
    for ago, status in (("23 hours", 200), ("25 hours", 403)):
        await ended(care, order["id"], "completed", ago)
        assert (await care.send("GET", f"{path}/background", doctor)).status_code == status
    assert (await care.send("GET", path, doctor)).json()["complaint"] == "头痛两天"


async def test_an_order_outlives_a_person_whose_key_was_thrown_away(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    doctor = await care.doctor()
    async with care.context.engine.begin() as connection:
        await connection.execute(
            text(
                """update data_key set wrapped = null
                    where id in (select data_key_id from patient where id = :id)"""
            ),
            {"id": who[1]},
        )
    path = f"{PATH}/{order['id']}"
    for reader in (care.patient(who[0]), doctor, care.operator):
        [listed] = (await care.send("GET", PATH, reader)).json()["items"]
        assert (listed["patient"]["name"], listed["complaint"]) == ("已删除", "")
        assert (await care.send("GET", path, reader)).status_code == 200
    for verb, name in (("GET", "background"), ("POST", "accept")):
        said = {"judgement": "复诊"} if verb == "POST" else None
        answer = await care.send(verb, f"{path}/{name}", doctor, said)
        assert refused(answer) == (404, "not_found")


async def test_who_was_not_rung_for_an_emergency_is_told_so(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, **EMERGENCY | {"complaint": "孩子把耳塞弄进了耳朵"})).json()
    async with care.context.engine.begin() as connection:
        await connection.execute(text("update consultation set paid_at = now()"))
    path = f"{PATH}/{order['id']}/accept"
    assert refused(await care.send("POST", path, await care.doctor())) == (409, "not_rung")
    async with care.context.engine.begin() as connection:
        await connection.execute(text("update consultation set status = 'refunded'"))
    assert refused(await care.send("POST", path, await care.doctor())) == (409, "not_allowed")


async def test_an_operator_asks_no_other_doctor_who_takes_nobody(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor, type="phone")).json()
    await licensed(care)
    async with care.context.engine.begin() as connection:
        await connection.execute(
            text("update doctor_credential set licence_valid_until = current_date - 1")
        )
    body = {"doctorId": care.clinic.doctor, "reason": "转诊"}
    path = f"/ops/orders/{order['orderNo']}/reassign"
    answer = await care.send("POST", path, care.operator, body)
    assert refused(answer) == (409, "doctor_unavailable")


async def test_the_doctor_knows_of_no_conversation_before_it_is_paid_for(care: Care) -> None:
    who = await care.clinic.someone()
    order = (await ask(care, who, doctorId=care.clinic.doctor)).json()
    answer = await care.send("GET", f"{PATH}/{order['id']}/messages", await care.doctor())
    assert refused(answer) == (404, "not_found")
