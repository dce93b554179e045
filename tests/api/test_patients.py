"""The persons (就诊人) that an account holds: what is checked, who sees them, what is kept."""

import asyncio
from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.context import Context
from api.fields import today_at
from api.problems import Problem
from api.schemas.account import PatientInfo
from db.account import create_account
from db.keyring import Keyring
from domain.access import Role
from domain.account import Gender
from tests.support.api import (
    PASSWORD,
    Patron,
    RememberedSms,
    hospital_config,
    id_card,
    registered,
)

pytestmark = pytest.mark.anyio

BORN = date(1990, 3, 7)
HERS = id_card(BORN, sequence=4)
HIS = id_card(BORN, sequence=3)


@pytest.fixture
async def patron(client: httpx.AsyncClient, sms: RememberedSms) -> Patron:
    return await registered(client, sms, "13800138000")


def person(**changes: Any) -> dict[str, Any]:
    return {
        "name": "林小满",
        "gender": "female",
        "idCard": HERS,
        "phone": "13900139000",
        "relation": "spouse",
    } | changes


async def add(
    client: httpx.AsyncClient, patron: Patron, key: str | None = None, **changes: Any
) -> httpx.Response:
    headers = patron.headers | ({"Idempotency-Key": key} if key else {})
    return await client.post("/users/me/patients", json=person(**changes), headers=headers)


def wrong_fields(answer: httpx.Response) -> list[str]:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text
    return [error["field"] for error in answer.json()["errors"]]


# Adding and listing


async def test_the_owner_sees_the_person_whole(client: httpx.AsyncClient, patron: Patron) -> None:
    added = await add(client, patron)
    assert added.status_code == 201
    assert added.json().items() >= {**person(), "birthDate": "1990-03-07"}.items()
    listed = await client.get("/users/me/patients", headers=patron.headers)
    assert listed.json()["items"] == [added.json()]


async def test_nobody_else_sees_the_person(
    client: httpx.AsyncClient, patron: Patron, sms: RememberedSms
) -> None:
    await add(client, patron)
    other = await registered(client, sms, "13700137000")
    listed = await client.get("/users/me/patients", headers=other.headers)
    assert listed.json()["items"] == []


async def test_two_accounts_may_hold_the_same_person(
    client: httpx.AsyncClient, patron: Patron, sms: RememberedSms
) -> None:
    other = await registered(client, sms, "13700137000")
    assert (await add(client, patron)).status_code == 201
    assert (await add(client, other)).status_code == 201


async def test_a_person_is_held_once(client: httpx.AsyncClient, patron: Patron) -> None:
    await add(client, patron)
    again = await add(client, patron, name="林大满", phone="13600136000")
    assert (again.status_code, again.json()["code"]) == (409, "patient_exists")


async def test_adding_a_person_at_once_adds_one(
    client: httpx.AsyncClient, patron: Patron, context: Context
) -> None:
    answers = await asyncio.gather(*(add(client, patron) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    async with context.engine.connect() as connection:
        keys = await connection.execute(text("select count(*) from data_key"))
        assert keys.scalar() == 3  # of the code's phone, the account, the person: none left over


async def test_only_patients_hold_persons(
    client: httpx.AsyncClient, context: Context, keyring: Keyring
) -> None:
    async with context.engine.begin() as connection:
        await create_account(
            connection,
            keyring,
            1,
            phone="+8613500135000",
            name="员工",
            password_hash=await context.passwords.hash(PASSWORD),
            roles=[Role.OPERATOR],
        )
    body = {"phone": "13500135000", "password": PASSWORD}
    token = (await client.post("/auth/login", json=body)).json()["accessToken"]
    headers = {"Authorization": f"Bearer {token}"}
    for answer in (
        await client.get("/users/me/patients", headers=headers),
        await client.post("/users/me/patients", json=person(), headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


# The same key, the same answer


async def test_the_same_key_gets_the_first_answer_again(
    client: httpx.AsyncClient, patron: Patron
) -> None:
    first = await add(client, patron, key="a-1")
    again = await add(client, patron, key="a-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


async def test_the_same_key_at_once_gets_one_answer(
    client: httpx.AsyncClient, patron: Patron
) -> None:
    answers = await asyncio.gather(*(add(client, patron, key="a-1") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_key_stands_for_one_body(client: httpx.AsyncClient, patron: Patron) -> None:
    await add(client, patron, key="a-1")
    other = await add(client, patron, key="a-1", name="林大满")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_key_is_the_callers_own(
    client: httpx.AsyncClient, patron: Patron, sms: RememberedSms
) -> None:
    other = await registered(client, sms, "13700137000")
    first = await add(client, patron, key="a-1")
    theirs = await add(client, other, key="a-1")
    assert theirs.status_code == 201
    assert theirs.json()["id"] != first.json()["id"]


async def test_a_refusal_is_judged_anew_under_its_key(
    client: httpx.AsyncClient, patron: Patron, context: Context
) -> None:
    await add(client, patron)
    assert (await add(client, patron, key="a-1")).status_code == 409
    async with context.engine.begin() as connection:
        await connection.execute(text("delete from patient"))
    assert (await add(client, patron, key="a-1")).status_code == 201


@pytest.mark.parametrize("key", ["k" * 256, "with space", "clé"])
async def test_a_key_is_visible_ascii(client: httpx.AsyncClient, patron: Patron, key: str) -> None:
    headers = [(b"authorization", patron.headers["Authorization"].encode())]
    headers.append((b"idempotency-key", key.encode()))
    answer = await client.post("/users/me/patients", json=person(), headers=headers)
    assert wrong_fields(answer) == ["idempotency-key"]


# What is checked


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (HERS[:-1] + ("0" if HERS[-1] != "0" else "1"), "check digit"),
        (HERS[:10] + "1332" + HERS[14:], "birth date"),
        (HERS[:6] + "19900229" + HERS[14:], "birth date"),
        (HERS[:-1], "18 digits"),
        (HERS[:-1] + "A", "18 digits"),
        ("", "18 digits"),
        (id_card(date(2126, 3, 7), sequence=4), "birth date"),
        (id_card(date(1880, 3, 7), sequence=4), "birth date"),
        (HIS, "gender"),
    ],
)
async def test_a_wrong_id_number_is_refused_by_the_rule_it_breaks(
    client: httpx.AsyncClient, patron: Patron, number: str, rule: str
) -> None:
    answer = await add(client, patron, idCard=number)
    assert wrong_fields(answer) == ["idCard"]
    assert rule in answer.json()["errors"][0]["message"]
    assert not number or number not in answer.text


async def test_a_small_x_is_a_large_one(client: httpx.AsyncClient, patron: Patron) -> None:
    number = next(n for s in range(0, 999, 2) if (n := id_card(BORN, sequence=s))[-1] == "X")
    assert (await add(client, patron, idCard=number.lower())).json()["idCard"] == number
    assert (await add(client, patron, idCard=number)).status_code == 409


@pytest.mark.parametrize("name", ["", "   ", "长" * 51, "林\u0000小满", "林\u202e小满", "林\n小满"])
async def test_a_name_has_one_to_fifty_plain_characters(
    client: httpx.AsyncClient, patron: Patron, name: str
) -> None:
    assert wrong_fields(await add(client, patron, name=name)) == ["name"]


@pytest.mark.parametrize("name", ["长" * 50, "阿依古丽·买买提", "𠮷野", "Lin \u3000Xiaoman"])
async def test_a_name_may_be_anybodys(client: httpx.AsyncClient, patron: Patron, name: str) -> None:
    assert (await add(client, patron, name=f" {name} ")).json()["name"] == " ".join(name.split())


@pytest.mark.parametrize(
    ("phone", "shown"),
    [("+86 139 0013 9000", "13900139000"), ("+1 415 555 2671", "+14155552671")],
)
async def test_a_phone_is_shown_as_its_owner_knows_it(
    client: httpx.AsyncClient, patron: Patron, phone: str, shown: str
) -> None:
    assert (await add(client, patron, phone=phone)).json()["phone"] == shown


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"gender": "unknown"}, ["gender"]),
        ({"phone": "12345"}, ["phone"]),
        ({"relation": "stranger"}, ["relation"]),
        ({"name": "", "phone": "1"}, ["name", "phone"]),
    ],
)
async def test_every_wrong_field_is_named(
    client: httpx.AsyncClient, patron: Patron, change: dict[str, Any], fields: list[str]
) -> None:
    assert wrong_fields(await add(client, patron, **change)) == fields


def test_a_booking_names_the_field_and_the_rule() -> None:
    today = date(2026, 11, 22)
    info = PatientInfo.model_validate(person(age=40))
    with pytest.raises(Problem) as refused:
        info.person(today)
    [error] = refused.value.errors or []
    assert error.field == "patientInfo.idCard"
    assert error.message.startswith("age:")
    held = PatientInfo.model_validate(person(age=37)).person(today)
    assert (held.gender, held.id_card, held.phone) == (Gender.FEMALE, HERS, "+8613900139000")


def test_today_is_the_hospitals() -> None:
    hospital = hospital_config().hospital
    east, west = (
        today_at(replace(hospital, time_zone=zone))
        for zone in ("Pacific/Kiritimati", "Pacific/Niue")
    )
    assert east > west  # 25 hours apart, so never on one day


# What is kept


async def test_a_dump_of_the_database_holds_nothing_in_the_clear(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, "13812345678", "canary-password-7", "金丝雀")
    code = sms.code_for("13812345678")
    await add(client, patron, key="a-1", name="金丝雀妹", phone="13887654321")
    mine = {"channels": ["sms"], "language": "zh", "email": "canary@example.org"}
    await client.put("/users/me/preferences", json=mine, headers=patron.headers)
    await client.post("/auth/refresh", json={"refreshToken": patron.refresh_token})
    await client.post("/auth/sms-codes", json={"phone": "13612341234", "purpose": "login"})
    unused = sms.code_for("13612341234")
    await client.post("/auth/login", json={"phone": "13612341234", "password": "canary-guess-8"})

    canaries = [
        "13812345678", "13887654321", "13612341234", "canary-password-7", "canary-guess-8",
        "金丝雀", HERS, "19900307", "1990-03-07", "canary@example.org", patron.refresh_token,
        "203.0.113.7",
    ]  # fmt: skip
    dump = await _dump(context)
    assert "sms_code" in dump
    for canary in canaries:
        assert canary not in dump
        assert canary.encode().hex() not in dump
    for six_digits in (code, unused):
        # Among keyed hashes six decimal digits stand somewhere by chance: look where they are kept.
        assert six_digits.encode().hex() not in dump
        assert f'"{six_digits}"' not in dump


async def _dump(context: Context) -> str:
    """Every row of every table as text; bytes in hexadecimal digits."""
    async with context.engine.connect() as connection:
        names = await connection.execute(
            text("select tablename from pg_tables where schemaname = 'public'")
        )
        lines = []
        for name in names.scalars():
            rows = await connection.execute(text(f'select r::text from "{name}" r'))
            lines += [f"{name}: {row}" for row in rows.scalars()]
    return "\n".join(lines)
