"""Nobody's name, phone, ID number or words are anywhere in the clear: a canary goes through."""

import asyncio
import base64
import re
from collections.abc import Iterator

import pytest
from google.protobuf.json_format import MessageToJson
from psycopg import connect, sql
from temporalio.client import Client

from tests.support.house import House, eventually
from tests.support.visitors import (
    Patient,
    Visitor,
    doctor_of,
    log_in,
    make_slot,
    new_key,
    register,
)

NAME = "隐私金丝雀氏"
SYMPTOMS = "金丝雀症状反复低热"
NOTE = "金丝雀留言改日再来"
REASON = "金丝雀原因设备故障"
# What people write about consultations.
WORDS = (
    COMPLAINT, DESCRIPTION, SYMPTOM, EVIDENCE, JUDGEMENT, DIAGNOSIS, ADVICE, COMMENT, DECLINED,
    WANTED, UNSUITABLE, CANCELLED,
) = (
    "金丝雀主诉夜间咳嗽", "金丝雀描述平躺加重", "金丝雀症候痰中带丝", "金丝雀凭据旧日病历",
    "金丝雀判断确为复诊", "金丝雀诊断慢支气管", "金丝雀医嘱温水雾化", "金丝雀评价十分耐心",
    "金丝雀拒诊另请高明", "金丝雀索取近期胸片", "金丝雀转诊请到线下", "金丝雀取消已经好转",
)  # fmt: skip


@pytest.fixture(scope="module")
def traces(shared_house: House) -> "Traces":
    """Everything that is kept after a canary has used every way to say something."""
    house = shared_house
    canary, operator = register(house, NAME), log_in(house, "operator")
    first = canary.book(make_slot(house), symptoms=SYMPTOMS)
    paid = canary.pay(first)
    canary.becomes(first, "confirmed")
    canary.post(f"/appointments/{first['id']}/cancel", {"note": NOTE}, key=new_key())
    canary.gets_back(paid)
    second = canary.book(make_slot(house))
    third = canary.book(make_slot(house, level="resident"))
    canary.pay(second)
    canary.becomes(second, "confirmed")
    for order in (first, second):
        operator.send(
            "POST", f"/ops/orders/{order['orderNo']}/cancel-and-refund", json={"reason": REASON}
        )
    canary.post(f"/appointments/{third['id']}/check-in")
    refused = canary.send("POST", f"/appointments/{third['id']}/cancel", json={"note": NOTE})
    assert refused.status_code == 409
    _send_what_is_wrong(canary)
    _consult(house, canary)
    canary.is_told(second, "appointment_cancelled_by_clinic")
    return Traces(house, canary)


def _consult(house: House, canary: Patient) -> None:
    """Everything that patient and doctor write, in every way a consultation can end."""
    doctor_id, doctor = doctor_of(house, "attending")

    def asked(**more: object) -> dict:
        wanted = {"complaint": COMPLAINT, "description": DESCRIPTION, "symptoms": [SYMPTOM]}
        order = canary.ask(type="text", doctorId=doctor_id, **wanted, **more)
        canary.pay(order)
        return eventually(lambda: (seen := canary.order(order))["paid"] and seen)

    def does(who: Visitor, order: dict, name: str, body: object = None) -> dict:
        return who.post(f"/consultations/{order['id']}/{name}", body, key=new_key())

    order = asked(visitKind="follow_up", evidence={"description": EVIDENCE})
    does(doctor, order, "ask-evidence", {"wanted": WANTED})
    does(canary, order, "evidence", {"description": EVIDENCE})
    does(doctor, order, "accept", {"judgement": JUDGEMENT})
    done = does(doctor, order, "complete", {"diagnosis": DIAGNOSIS, "advice": ADVICE})
    assert done["diagnosis"] == DIAGNOSIS
    does(canary, order, "rating", {"rating": 5, "comment": COMMENT})
    notes = doctor.get(f"/consultations/{order['id']}/notes")
    assert {WANTED, EVIDENCE, JUDGEMENT} <= {text for n in notes for text in n["text"].values()}
    assert does(doctor, asked(), "decline", {"reason": DECLINED})["status"] == "refunded"
    referred = asked()
    does(doctor, referred, "accept")
    does(doctor, referred, "unsuitable", {"reason": UNSUITABLE, "advice": ADVICE})
    assert does(canary, asked(), "cancel", {"reason": CANCELLED})["status"] == "refunded"
    for order in (referred, done):  # refused, and too long
        answer = doctor.send(
            "POST",
            f"/consultations/{order['id']}/complete",
            json={"diagnosis": DIAGNOSIS * 900, "advice": ADVICE},
        )
        assert answer.status_code in (409, 422), answer.text
    canary.is_told(referred, "consultation_referred")


def _send_what_is_wrong(canary: Patient) -> None:
    """Refusals and faults have texts too."""
    person = {"name": NAME, "gender": "female", "idCard": canary.id_card, "phone": canary.phone}
    canary.send("POST", "/users/me/patients", json={**person, "relation": "self", "gender": "x"})
    canary.send("POST", "/users/me/patients", json={**person, "relation": "child"})
    canary.send("POST", "/appointments", json={"scheduleId": 1, "symptoms": SYMPTOMS * 90})
    canary.send("POST", "/auth/login", json={"phone": canary.phone, "password": NAME})
    canary.send("GET", f"/doctors?keyword={NAME}")
    canary.send("GET", f"/dev/outbox?to={canary.phone}")
    canary.send("POST", "/appointments", json={"scheduleId": 1, "patientId": NAME})


class Traces:
    """What the canary must not be found in, and the words that would betray it."""

    def __init__(self, house: House, canary: Patient) -> None:
        self.house = house
        national = canary.phone
        spaced = f"{national[:3]} {national[3:7]} {national[7:]}"
        self.secrets = {
            NAME, SYMPTOMS, NOTE, REASON, national, spaced, spaced.replace(" ", "-"),
            canary.id_card.upper(), canary.id_card.lower(), *WORDS,
        }  # fmt: skip

    def found_in(self, content: bytes) -> set[str]:
        """Secrets in these bytes: as they are, escaped, in percent, in hexadecimal, in base64."""
        return {s for s in self.secrets if any(form in content for form in _forms(s))}


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield raw
    escaped = secret.encode("unicode_escape")  # as JSON has it
    yield escaped
    yield escaped.replace(b"\\", b"\\\\")  # and JSON inside JSON
    yield raw.hex().encode()
    yield "".join(f"%{byte:02X}" for byte in raw).encode()
    yield secret.encode("utf-16-le")
    for shift in range(3):  # base64 of a text in the middle of another
        whole = base64.b64encode(b"\0" * shift + raw)
        yield whole[shift and 4 : -4]


def test_no_history_holds_a_word_of_the_patient(traces: Traces) -> None:
    histories = asyncio.run(raw_histories(traces.house))
    assert len(histories) > 10
    for name, texts in histories.items():
        for text in texts:
            assert traces.found_in(text) == set(), name


@pytest.mark.parametrize(
    ("workflow", "field"), [("appointment/", b"cancel_by"), ("consultation/", b"escalate_after")]
)
def test_what_temporal_stores_is_sealed(traces: Traces, workflow: str, field: bytes) -> None:
    """The second wall: even what is not secret cannot be read without the keyring."""
    histories = asyncio.run(raw_histories(traces.house))
    orders = [texts for name, texts in histories.items() if name.startswith(workflow)]
    assert orders
    assert not any(field in text for texts in orders for text in texts)


def test_no_log_holds_a_word_of_the_patient(traces: Traces) -> None:
    for log in traces.house.logs():
        assert traces.found_in(log.read_bytes()) == set(), log.name
    assert any(log.stat().st_size for log in traces.house.logs())


def test_no_table_holds_a_word_of_the_patient(traces: Traces) -> None:
    tables = 0
    for name, content in dump(traces.house):
        assert traces.found_in(content) == set(), name
        tables += 1
    assert tables > 15


def test_no_file_of_the_servers_holds_a_word_of_the_patient(traces: Traces) -> None:
    """Data pages, the write-ahead log, Temporal's database and the gateway's."""
    files = [path for path in traces.house.directory.rglob("*") if path.is_file()]
    traces.house.sql("checkpoint")
    for path in files:
        if path.suffix == ".sqlite-shm" or not path.exists():
            continue
        assert traces.found_in(path.read_bytes()) == set(), path.relative_to(traces.house.directory)
    assert len(files) > 100


def test_the_canary_would_be_found(traces: Traces) -> None:
    """The search itself works: a test that can find nothing proves nothing."""
    for secret in traces.secrets:
        for carrier in (
            secret.encode(),
            b'{"a": "' + secret.encode("unicode_escape") + b'"}',
            base64.b64encode(b'{"name": "' + secret.encode() + b'"}'),
            secret.encode().hex().encode(),
        ):
            assert secret in traces.found_in(carrier), carrier


async def raw_histories(house: House) -> dict[str, list[bytes]]:
    """By workflow, as a client without our codec gets them: the listing with search attributes
    and memo, the description with its summary, and the history, payloads also decoded."""
    client = await Client.connect(house.temporal_address)
    found: dict[str, list[bytes]] = {}
    async for execution in client.list_workflows():
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        described = (await handle.describe()).raw_description
        history = (await handle.fetch_history()).to_json()
        texts = [MessageToJson(execution.raw_info), MessageToJson(described), history]
        both = [part for text in texts for part in (text.encode(), _decoded(text))]
        found.setdefault(f"{execution.id}", []).extend(both)
    return found


def _decoded(json_text: str) -> bytes:
    """Whatever in a protobuf's JSON is bytes."""
    return b"\n".join(
        base64.b64decode(match)
        for match in re.findall(
            r'"((?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)"', json_text
        )
    )


def dump(house: House) -> Iterator[tuple[str, bytes]]:
    """Every table as text, and every bytea as its bytes."""
    tables = house.sql(
        "select tablename as name from pg_tables where schemaname = 'public' order by 1"
    )
    with connect(house.database_url) as connection:
        for table in (row["name"] for row in tables):
            copying = sql.SQL("copy {} to stdout").format(sql.Identifier(table))
            with connection.cursor().copy(copying) as rows:
                text = b"".join(bytes(row) for row in rows)
            yield table, text
            binary = (
                bytes.fromhex(match.decode()) for match in re.findall(rb"\\\\x([0-9a-f]+)", text)
            )
            yield f"{table} (binary)", b"\n".join(binary)
