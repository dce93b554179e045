"""Online consultations of every type: on real servers, over HTTP."""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from PIL import Image

from tests.support.books import check_books
from tests.support.house import House, eventually
from tests.support.visitors import Patient, Visitor, doctor_of, log_in, new_key, register

SOME_DAY = "2040-01-01T10:00:00Z"
CONCLUSION = {"diagnosis": "紧张性头痛", "advice": "规律作息"}


@pytest.fixture
def patient(house: House) -> Patient:
    return register(house)


def command(who: Visitor, order: dict, name: str, body: object = None, expect: int = 200) -> dict:
    return who.post(f"/consultations/{order['id']}/{name}", body, expect=expect)


def refused(who: Visitor, order: dict, name: str, body: object = None) -> str:
    answer = who.send("POST", f"/consultations/{order['id']}/{name}", json=body)
    assert answer.status_code >= 400, answer.text
    return answer.json()["code"]


def paid(patient: Patient, **wanted: object) -> dict:
    order = patient.ask(**wanted)
    patient.pay(order)
    return eventually(lambda: (seen := patient.order(order))["paid"] and seen)


def test_a_text_consultation_from_the_order_to_the_rating(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = patient.ask(type="text", doctorId=doctor_id, symptoms=["头痛"], duration=2)
    assert (order["status"], order["price"], order["paid"]) == ("pending", 39.9, False)
    nobody_yet = doctor.send("GET", f"/consultations/{order['id']}")
    assert nobody_yet.status_code == 404  # before it is paid
    patient.pay(order)
    waiting = eventually(lambda: (seen := patient.order(order))["paid"] and seen)
    assert (waiting["waitingFor"], waiting["ahead"]) == ("doctor", 0)
    queue = doctor.get("/consultations", queue=True)["items"]
    assert order["orderNo"] in [one["orderNo"] for one in queue]
    assert refused(patient, order, "accept") == "forbidden"
    accepted = command(doctor, order, "accept")
    assert (accepted["status"], accepted["doctorId"]) == ("consulting", doctor_id)
    assert doctor.get(f"/consultations/{order['id']}/background")["visits"] == []
    talk(patient, doctor, order)
    assert command(doctor, order, "extend")["extensionsLeft"] == 1
    assert refused(doctor, order, "complete", {"advice": "多喝水"}) == "invalid"
    done = command(doctor, order, "complete", CONCLUSION)
    assert (done["status"], done["diagnosis"]) == ("completed", "紧张性头痛")
    seen = patient.order(order)
    assert (seen["advice"], seen["reason"]) == ("规律作息", "")
    assert refused(doctor, order, "complete", CONCLUSION) == "not_allowed"
    assert refused(patient, order, "messages", {"content": "谢谢", "type": "text"}) == "not_allowed"
    rated = command(patient, order, "rating", {"rating": 5, "comment": "很耐心"})
    assert (rated["rating"], rated["comment"]) == (5, "很耐心")
    assert refused(patient, order, "rating", {"rating": 1}) == "not_allowed"
    assert [entry[0] for entry in patient.timeline(order)] == [
        "ordered", "paid", "accept", "answered", "prolong", "complete",
    ]  # fmt: skip
    patient.is_told(order, "consultation_completed")
    record = house.sql(
        "select type, doctor_id from health_record where order_no = %s", order["orderNo"]
    )
    assert [(row["type"], row["doctor_id"]) for row in record] == [("visit", doctor_id)]
    again = paid(patient, type="text", doctorId=doctor_id)
    command(doctor, again, "accept")
    [visit] = doctor.get(f"/consultations/{again['id']}/background")["visits"]
    assert visit["diagnosis"] == "紧张性头痛"
    check_books(house, within=30)


def talk(patient: Patient, doctor: Visitor, order: dict) -> None:
    """A question with a picture, an answer; the picture is the doctor's to see, no stranger's."""
    path = f"/consultations/{order['id']}/messages"
    asked = patient.post(path, {"content": "会不会是高血压?", "type": "text"}, expect=201)
    assert asked["seq"] == 1
    shown = patient.send("POST", path, data={"type": "image"}, files={"file": ("x", picture())})
    assert shown.status_code == 201, shown.text
    file_id = shown.json()["file"]["id"]
    listed = doctor.get("/consultations", size=100)["items"]
    assert next(one for one in listed if one["id"] == order["id"])["unread"] == 2
    doctor.post(path, {"content": "先量一下血压", "type": "text"}, expect=201)
    said = patient.get(path)["items"]
    assert [(one["seq"], one["type"]) for one in said] == [(1, "text"), (2, "image"), (3, "text")]
    assert doctor.send("GET", f"/files/{file_id}").status_code == 200
    assert register(patient.house).send("GET", f"/files/{file_id}").status_code == 404
    patient.is_told(order, "consultation_answered")


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 20, 20)).save(made, "PNG")
    return made.getvalue()


def test_what_was_sent_with_the_order_is_the_doctors_to_see(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    sent = patient.send("POST", "/files", files={"file": ("x", picture())}).json()
    order = paid(patient, type="text", doctorId=doctor_id, attachments=[sent["url"]])
    [url] = doctor.get(f"/consultations/{order['id']}")["attachments"]
    assert httpx.get(url, trust_env=False).headers["content-type"] == "image/png"
    other = register(house)
    stolen = {"type": "text", "doctorId": doctor_id, "complaint": "头痛"}
    taken = other.send("POST", "/consultations", json={**stolen, "attachments": [str(sent["id"])]})
    assert taken.json()["code"] == "file_unknown"


def test_an_emergency_rings_who_is_on_duty_and_the_first_has_it(
    house: House, patient: Patient
) -> None:
    one_id, one = doctor_of(house, "attending")
    _, other = doctor_of(house, "resident")
    duty = {"online": True, "types": ["emergency"]}
    for doctor in (one, other):
        assert doctor.send("PUT", "/doctors/me/duty", json=duty).status_code == 200
    [department] = {
        d["departmentId"]
        for d in one.get("/doctors", size=100)["items"]
        if d["departmentName"] == "呼吸内科"
    }
    wanted = {"type": "phone", "urgency": "emergency", "departmentId": department}
    flagged = {"complaint": "突然胸口剧痛,喘不上气", "description": ""}
    sent_off = patient.send("POST", "/consultations", json={**wanted, **flagged})
    assert (sent_off.status_code, sent_off.json()["code"]) == (409, "red_flag")
    order = paid(patient, **wanted, complaint="蚊虫叮咬后很痒")
    assert order["price"] == 49.9

    def rung() -> list[Visitor]:
        return [
            doctor
            for doctor in (one, other)
            if order["id"] in [c["id"] for c in doctor.get("/consultations", queue=True)["items"]]
        ]

    [first] = eventually(rung)
    accepted = command(first, order, "accept")
    assert accepted["doctorId"] in (one_id, accepted["doctorId"])
    late = (other if first is one else one).send("POST", f"/consultations/{order['id']}/accept")
    assert (late.status_code, late.json()["code"]) == (409, "not_allowed")
    outbox = partial(first.get, "/dev/outbox", to=first.phone)
    eventually(lambda: any(order["orderNo"] in message["text"] for message in outbox()))
    for doctor in (one, other):
        doctor.send("PUT", "/doctors/me/duty", json={"online": False, "types": []})


def test_an_emergency_that_nobody_answers_is_refunded(house: House, patient: Patient) -> None:
    departments = patient.get("/departments")["items"]
    department = next(d["id"] for d in departments if d["name"] == "儿童保健科")
    order = patient.ask(
        type="phone", urgency="emergency", departmentId=department, complaint="扭了脚", hasty=True
    )
    payment = patient.pay(order)
    assert patient.becomes(order, "refunded")["reason"] == "not_accepted"
    patient.gets_back(payment)


def test_without_video_it_goes_on_by_phone(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = paid(patient, type="video", doctorId=doctor_id)
    assert refused(patient, order, "video-session") == "not_allowed"  # not accepted yet
    command(doctor, order, "accept")
    away = patient.send("POST", f"/consultations/{order['id']}/video-session")
    assert (away.status_code, away.json()["code"]) == (503, "video_unavailable")
    assert away.json()["fallback"] == ["phone", "text"]
    assert command(doctor, order, "switch", {"to": "phone"})["switchedTo"] == "phone"
    command(doctor, order, "call")
    eventually(lambda: patient.order(order)["calls"])
    assert patient.order(order)["price"] == 59.9


def test_the_doctor_is_told_and_the_message_tells_nothing(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = paid(patient, type="text", doctorId=doctor_id)

    def about_it() -> list[str]:
        told = doctor.get("/dev/outbox", to=doctor.phone)
        return [message["text"] for message in told if order["orderNo"] in message["text"]]

    assert "头痛" not in eventually(about_it)[0]


def test_declined_the_money_goes_back(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = patient.ask(type="text", doctorId=doctor_id)
    payment = patient.pay(order)
    eventually(lambda: patient.order(order)["paid"])
    assert command(doctor, order, "decline", {"reason": "专业不符"})["status"] == "refunded"
    assert patient.gets_back(payment)["refunds"][0]["cause"] == "clinic"
    assert patient.order(order)["refundedAmount"] == 39.9
    check_books(house, within=30)


def test_nobody_accepts_in_time(house: House, patient: Patient) -> None:
    doctor_id, _ = doctor_of(house, "attending")
    order = patient.ask(type="text", doctorId=doctor_id, hasty=True)
    payment = patient.pay(order)
    patient.becomes(order, "refunded")
    assert patient.order(order)["reason"] == "not_accepted"
    patient.gets_back(payment)


def test_a_silent_window_costs_nothing(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = patient.ask(type="text", doctorId=doctor_id, hasty=True)
    payment = patient.pay(order)
    eventually(lambda: patient.order(order)["paid"])
    command(doctor, order, "accept")
    patient.becomes(order, "refunded")
    assert patient.order(order)["reason"] == "no_answer"
    patient.gets_back(payment)


def test_unpaid_is_cancelled(house: House, patient: Patient) -> None:
    doctor_id, _ = doctor_of(house, "chief", "心血管内科")
    order = patient.ask(type="video", doctorId=doctor_id, hasty=True)
    assert patient.becomes(order, "cancelled")["reason"] == "unpaid"


def test_two_doctors_of_the_pool_accept_at_once_and_one_has_it(
    house: House, patient: Patient
) -> None:
    _, one = doctor_of(house, "attending")
    _, other = doctor_of(house, "resident")
    [department] = {
        d["departmentId"]
        for d in one.get("/doctors", size=100)["items"]
        if d["departmentName"] == "呼吸内科"
    }
    order = paid(patient, type="text", departmentId=department)
    assert order["price"] == 19.9  # of the cheapest level: nobody pays for a title unseen
    with ThreadPoolExecutor(2) as both:
        answers = list(
            both.map(
                lambda who: who.send("POST", f"/consultations/{order['id']}/accept"), [one, other]
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    late = answers[0] if answers[0].status_code == 409 else answers[1]
    assert late.json()["code"] == "not_allowed"
    strangers_doctor = doctor_of(house, "attending", "骨科")[1]
    unknown = strangers_doctor.send("POST", f"/consultations/{order['id']}/accept")
    assert unknown.status_code == 404


def test_cancelled_while_the_doctor_accepts(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = patient.ask(type="text", doctorId=doctor_id)
    payment = patient.pay(order)
    eventually(lambda: patient.order(order)["paid"])
    with ThreadPoolExecutor(2) as both:
        answers = list(
            both.map(
                lambda asked: asked[0].send("POST", f"/consultations/{order['id']}/{asked[1]}"),
                [(patient, "cancel"), (doctor, "accept")],
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    if answers[0].status_code == 200:
        patient.gets_back(payment)
    else:
        assert patient.order(order)["status"] == "consulting"
        assert patient.payment(payment)["status"] == "paid"
    check_books(house, within=30)


def test_why_a_patient_cancelled_is_kept(house: House, patient: Patient) -> None:
    doctor_id, _ = doctor_of(house, "attending")
    order = paid(patient, type="text", doctorId=doctor_id)
    command(patient, order, "cancel", {"reason": "已经好了"})
    [note] = patient.get(f"/consultations/{order['id']}/notes")
    assert (note["kind"], note["text"]) == ("cancel", {"reason": "已经好了"})


def test_unsuitable_for_online_care(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = paid(patient, type="text", doctorId=doctor_id)
    command(doctor, order, "accept")
    ended = command(
        doctor, order, "unsuitable", {"reason": "需要当面检查", "advice": "请到心内科门诊"}
    )
    assert (ended["status"], ended["reason"]) == ("refunded", "unsuitable")
    assert patient.order(order)["advice"] == "请到心内科门诊"


def test_evidence_is_asked_for_and_sent(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = paid(patient, type="text", doctorId=doctor_id, visitKind="复诊", evidence="出院小结")
    asked = command(doctor, order, "ask-evidence", {"wanted": "请补充上次的处方"})
    assert asked["evidenceBy"] is not None
    assert refused(doctor, order, "accept") == "not_allowed"
    command(patient, order, "evidence", {"description": "阿司匹林 100mg 每日一次"})
    accepted = command(doctor, order, "accept", {"judgement": "病情稳定,符合复诊"})
    assert accepted["visitKind"] == "follow_up"
    kinds = [note["kind"] for note in doctor.get(f"/consultations/{order['id']}/notes")]
    assert kinds == ["evidence", "evidence_wanted", "evidence", "judgement"]


def test_a_phone_consultation(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    order = paid(patient, type="phone", doctorId=doctor_id)
    assert order["price"] == 49.9
    command(doctor, order, "accept")
    command(doctor, order, "call")
    [ringing] = eventually(lambda: patient.order(order)["calls"])
    answered = {"outcome": "talked", "duration": "PT3M"}
    path = f"/dev/calls/{ringing['callNo']}/end"
    eventually(lambda: doctor.send("POST", path, json=answered).status_code < 300)
    [call] = patient.order(order)["calls"]
    assert (call["outcome"], call["duration"]) == ("talked", "PT3M")
    eventually(lambda: "call_ended" in [entry[0] for entry in patient.timeline(order)])
    assert command(doctor, order, "complete", CONCLUSION)["status"] == "completed"


def test_an_operator_sees_helps_and_reads_nothing(house: House, patient: Patient) -> None:
    operator = log_in(house, "operator")
    doctor_id, _ = doctor_of(house, "attending")
    other_id, other = doctor_of(house, "attending", "骨科")
    order = paid(patient, type="text", doctorId=doctor_id)
    seen = operator.get(f"/consultations/{order['id']}")
    assert (seen["complaint"], seen["status"]) == ("", "pending")
    waits = operator.get("/ops/orders", kind="consultation", size=100)["items"]
    assert order["orderNo"] in [one["orderNo"] for one in waits]
    path = f"/ops/orders/{order['orderNo']}"
    moved = operator.post(f"{path}/reassign", {"doctorId": other_id, "reason": "转给骨科"})
    assert moved["doctorId"] == other_id
    extended = operator.post(f"{path}/extend", {"minutes": 60, "reason": "医生手术中"})
    assert extended["acceptBy"] > order["acceptBy"]
    operator.post(f"{path}/retry", {"reason": "看一看"})
    command(other, order, "accept")
    back = operator.post(f"{path}/cancel-and-refund", {"reason": "患者投诉"})
    assert (back["status"], back["reason"]) == ("refunded", "clinic")


def test_a_repeat_under_the_same_key_is_one(house: House, patient: Patient) -> None:
    doctor_id, doctor = doctor_of(house, "attending")
    key = new_key()
    wanted = {"type": "text", "doctorId": doctor_id, "complaint": "咳嗽", "description": ""}
    first = patient.post("/consultations", wanted, expect=201, key=key)
    assert patient.post("/consultations", wanted, expect=201, key=key)["id"] == first["id"]
    patient.pay(first)
    eventually(lambda: patient.order(first)["paid"])
    once = new_key()
    path = f"/consultations/{first['id']}/accept"
    version = doctor.post(path, key=once)["version"]
    assert doctor.post(path, key=once)["version"] == version


def test_what_is_not_offered_is_not_free(house: House, patient: Patient) -> None:
    doctor_id, _ = doctor_of(house, "attending")
    wanted = {"complaint": "咳嗽", "description": ""}
    for body, status, code in (
        ({"type": "text", "doctorId": 10**9}, 404, "not_found"),
        ({"type": "text"}, 422, "invalid"),
        ({"type": "fax", "doctorId": doctor_id}, 422, "invalid"),
        ({"type": "text", "doctorId": doctor_id, "urgency": "emergency"}, 422, "invalid"),
        (
            {"type": "text", "doctorId": doctor_id, "scheduledTime": "2030-01-01T10:00:00Z"},
            422,
            "invalid",
        ),
        (
            {"type": "video", "doctorId": doctor_id, "scheduledTime": "2040-01-01T10:00:00Z"},
            422,
            "invalid",
        ),
    ):
        answer = patient.send("POST", "/consultations", json={**wanted, **body})
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    other = register(house)
    order = patient.ask(type="text", doctorId=doctor_id)
    assert other.send("GET", f"/consultations/{order['id']}").status_code == 404
    assert other.send("POST", f"/consultations/{order['id']}/cancel").status_code == 404
