"""People who use a running house over HTTP, as their apps would."""

import itertools
import random
import re
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import httpx

from tests.support.api import id_card
from tests.support.house import BASE, House, eventually

PASSWORD = "clear-water-7"
_NUMBERS = itertools.count(random.randrange(10**6))  # processes share no house, but runs may


@dataclass
class Visitor:
    """Somebody who is logged in."""

    house: House
    token: str
    user_id: int
    phone: str = ""
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=30, trust_env=False), repr=False
    )

    def get(self, path: str, **params: Any) -> Any:
        return answered(self.send("GET", path, params=params), 200)

    def post(self, path: str, json: Any = None, *, expect: int = 200, **more: Any) -> Any:
        return answered(self.send("POST", path, json=json, **more), expect)

    def send(
        self,
        method: str,
        path: str,
        *,
        hasty: bool = False,
        key: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        url = self.house.hasty_url if hasty else self.house.url
        return self.http.request(method, url + BASE + path, headers=headers, **more)


@dataclass
class Patient(Visitor):
    """A visitor with one person (就诊人): themself."""

    patient_id: int = 0
    name: str = ""
    id_card: str = ""

    def book(self, slot: int, *, hasty: bool = False, **more: Any) -> Any:
        wanted = {"scheduleId": slot, "patientId": self.patient_id, **more}
        return self.post("/appointments", wanted, expect=201, hasty=hasty)

    def ask(self, *, hasty: bool = False, **wanted: Any) -> Any:
        """Order a consultation."""
        body = {"complaint": "头痛两天", "description": "左侧明显", "attachments": [], **wanted}
        return self.post("/consultations", body, expect=201, hasty=hasty)

    def open_payment(self, order: Any) -> Any:
        return self.post(
            "/payments", {"orderNo": order["orderNo"], "channel": "sandbox"}, expect=201
        )

    def pay(self, order: Any, **at_gateway: Any) -> Any:
        """Open a payment and pay it at the sandbox gateway (`times`, `delay`, `callback`)."""
        payment = self.open_payment(order)
        self.pay_at_gateway(payment, **at_gateway)
        return payment

    def pay_at_gateway(self, payment: Any, **at_gateway: Any) -> None:
        path = f"/dev/sandbox-gateway/{payment['paymentNo']}/pay"
        answered(self.send("POST", path, params=at_gateway), 200)

    def order(self, order: Any) -> Any:
        return self.get(path_of(order))

    def payment(self, payment: Any) -> Any:
        return self.get(f"/payments/{payment['paymentNo']}")

    def becomes(self, order: Any, status: str, within: float = 15) -> Any:
        """The order, once it has this status."""

        def look() -> Any:
            seen = self.order(order)
            return seen if seen["status"] == status else None

        return eventually(look, within, what=f"{order['orderNo']} {status}")

    def gets_back(self, payment: Any, within: float = 15) -> Any:
        """The payment, once all of it went back."""

        def look() -> Any:
            seen = self.payment(payment)
            return seen if seen["status"] == "refunded" else None

        return eventually(look, within, what=f"{payment['paymentNo']} refunded")

    def timeline(self, order: Any) -> list[tuple[str, str, str]]:
        """(event, to, by whom), oldest first."""
        entries = self.get(f"{path_of(order)}/timeline")
        return [(e["event"], e["to"], e["actor"]["role"]) for e in entries]

    def messages(self, order: Any) -> list[tuple[str, str]]:
        """(template, channel) of all that was sent about an order, in order."""
        rows = self.house.sql(
            "select template, channel from message where key like %s order by id",
            f"{order['orderNo']}:%",
        )
        return [(row["template"], row["channel"]) for row in rows]

    def is_told(self, order: Any, template: str) -> None:
        both = {(template, "in_app"), (template, "sms")}
        eventually(lambda: both <= set(self.messages(order)), what=f"told {template}")


def path_of(order: Any) -> str:
    kind = "consultations" if order["orderNo"].startswith("C") else "appointments"
    return f"/{kind}/{order['id']}"


def answered(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, f"{response.request.url}: {response.text}"
    return response.json() if response.content else None


def new_phone() -> str:
    return f"139{next(_NUMBERS) % 10**8:08d}"


def new_id_card() -> tuple[str, str]:
    """(number, gender) of somebody who does not exist."""
    number = next(_NUMBERS)
    born = date(1950, 1, 1) + timedelta(days=number // 1000 % 18000)
    sequence = number % 1000
    return id_card(born, sequence=sequence), "male" if sequence % 2 else "female"


def register(house: House, name: str = "测试患者") -> Patient:
    """By SMS code, then the person (就诊人), as everybody does."""
    phone = new_phone()
    stranger = Visitor(house, "", 0)
    stranger.post("/auth/sms-codes", {"phone": phone, "purpose": "register"}, expect=202)
    sent = stranger.get("/dev/outbox", to=phone)
    found = re.search(r"(?<!\d)\d{6}(?!\d)", sent[0]["text"])
    assert found, sent
    new = {"phone": phone, "code": found.group(), "password": PASSWORD, "name": name}
    body = stranger.post("/auth/register", new, expect=201)
    patient = Patient(house, body["accessToken"], body["user"]["id"], phone, name=name)
    patient.id_card, gender = new_id_card()
    person = {
        "name": name,
        "gender": gender,
        "idCard": patient.id_card,
        "phone": phone,
        "relation": "self",
    }
    patient.patient_id = patient.post("/users/me/patients", person, expect=201)["id"]
    return patient


def log_in(house: House, role: str, doctor_id: int | None = None) -> Visitor:
    """A demonstration login of this role; of this doctor when one is named."""
    nobody = Visitor(house, "", 0)
    account = next(
        a
        for a in nobody.get("/dev/accounts")
        if a["role"] == role and doctor_id in (None, a["doctorId"])
    )
    proof = {"phone": account["phone"], "password": account["password"]}
    body = nobody.post("/auth/login", proof)
    return Visitor(house, body["accessToken"], account["userId"], account["phone"])


def doctor_of(house: House, level: str, department: str = "呼吸内科") -> tuple[int, Visitor]:
    """A doctor of this level (`doctorId`), logged in."""
    nobody = Visitor(house, "", 0)
    doctors = nobody.get("/doctors", size=100)["items"]
    chosen = next(d for d in doctors if (d["level"], d["departmentName"]) == (level, department))
    return chosen["id"], log_in(house, "doctor", chosen["id"])


def make_slot(
    house: House,
    *,
    level: str = "chief",
    starts_in: timedelta = timedelta(days=3),
    sources: int = 5,
) -> int:
    """The schedule's id: a slot of a doctor of its own, that may begin in a few seconds.

    Written by SQL because nobody schedules by the second.
    """
    made = house.sql(
        """with one as (
               insert into doctor (hospital_id, department_id, name, pinyin, level, title,
                                   speciality, introduction)
               select 1, 11, '测试医生', 'ceshiyisheng', %s, '', '', '' returning id
           ), slot as (
               insert into schedule (hospital_id, doctor_id, department_id, date, time_slot,
                                     starts_at, ends_at, location, total_sources)
               select 1, one.id, 11, (at.start at time zone 'Asia/Shanghai')::date, '00:00-00:30',
                      at.start, at.start + interval '30 minutes', '门诊楼 A2-07', %s
                 from one, (select now() + %s::interval as start) at
               returning id, total_sources
           ), places as (
               insert into source (schedule_id, number)
               select slot.id, n from slot, generate_series(1, slot.total_sources) n
           )
           select id from slot""",
        level,
        sources,
        starts_in,
    )
    slot: int = made[0]["id"]
    return slot


def new_key() -> str:
    return uuid.uuid4().hex
