"""Getting in and out, and what stops those who should not."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from activities.gateways.sending import Fault, PermanentMessageError, RetryableMessageError
from api.context import Context
from api.passwords import Passwords
from db.keyring import Keyring
from domain.hospital import AccountPolicy
from tests.support.api import (
    PASSWORD,
    RememberedSms,
    client_of,
    close_context,
    hospital_config,
    make_context,
    registered,
)

pytestmark = pytest.mark.anyio

PHONE = "13800138000"
OTHER = "13900139000"


async def ask(client: httpx.AsyncClient, purpose: str, phone: str = PHONE) -> httpx.Response:
    return await client.post("/auth/sms-codes", json={"phone": phone, "purpose": purpose})


async def log_in(client: httpx.AsyncClient, phone: str = PHONE, **proof: str) -> httpx.Response:
    return await client.post("/auth/login", json={"phone": phone, **proof})


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refreshToken": token})


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def run_sql(context: Context, statement: str) -> Any:
    async with context.engine.begin() as connection:
        result = await connection.execute(text(statement))
        return result.all() if result.returns_rows else None


async def later(context: Context, by: timedelta) -> None:
    """Let this much time pass: what is kept as an instant moves back instead of the clock."""
    seconds = f"interval '{by.total_seconds()} seconds'"
    for table, column in (
        ("rate_limit", "window_ends"),
        ("sms_code", "expires_at"),
        ("login_session", "expires_at"),
    ):
        await run_sql(context, f"update {table} set {column} = {column} - {seconds}")


@asynccontextmanager
async def with_policy(
    database_url: str, keyring: Keyring, sms: RememberedSms, policy: AccountPolicy
) -> AsyncIterator[tuple[Context, httpx.AsyncClient]]:
    context = await make_context(database_url, keyring, hospital_config(policy), sms=sms)
    async with client_of(context) as client:
        yield context, client
    await close_context(context)


# Codes by SMS


async def test_a_code_is_six_digits_sent_to_the_phone(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    answer = await ask(client, "register")
    assert answer.status_code == 202
    assert answer.json() == {"expiresIn": 300, "resendIn": 60}
    [(to, message)] = sms.sent
    assert to == "+8613800138000"
    assert re.search(r"\d{6}", message)


async def test_a_code_is_told_in_the_language_that_was_asked_for(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    body = {"phone": PHONE, "purpose": "login"}
    await client.post("/auth/sms-codes", json=body, headers={"Accept-Language": "en"})
    assert "your code is" in sms.sent[0][1]


async def test_every_way_to_write_a_number_is_one_phone(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    assert (await ask(client, "login", "+86 138-0013-8000")).status_code == 202
    assert code_of(await ask(client, "login", "１３８００１３８０００")) == (
        429,
        "too_many_requests",
    )
    assert {to for to, _ in sms.sent} == {"+8613800138000"}


@pytest.mark.parametrize(
    "phone", ["", "123", "10000000000", "01012345678", "1380013800O", "13800138000 ext. 5", "☎"]
)
async def test_what_is_no_mobile_number_is_refused_by_its_field(
    client: httpx.AsyncClient, phone: str
) -> None:
    answer = await ask(client, "login", phone)
    assert code_of(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == ["phone"]


async def test_the_next_code_waits_a_minute(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await ask(client, "login")
    refused = await ask(client, "login")
    assert code_of(refused) == (429, "too_many_requests")
    assert 55 <= int(refused.headers["Retry-After"]) <= 60
    await later(context, timedelta(seconds=61))
    assert (await ask(client, "login")).status_code == 202
    assert len(sms.sent) == 2


async def test_who_has_just_registered_may_ask_for_a_code_to_log_in(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    """The pause is between two codes for the same: nobody asks for another because one is late."""
    for purpose in ("register", "login"):
        assert (await ask(client, purpose)).status_code == 202
        assert (await ask(client, purpose)).status_code == 429
    assert len(sms.sent) == 2


async def test_twenty_requests_at_once_send_one_code(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    answers = await asyncio.gather(*(ask(client, "login") for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [202] + [429] * 19
    assert len(sms.sent) == 1


async def test_a_phone_gets_ten_codes_a_day(client: httpx.AsyncClient, context: Context) -> None:
    for _ in range(10):
        assert (await ask(client, "login")).status_code == 202
        await later(context, timedelta(seconds=61))
    refused = await ask(client, "login")
    assert code_of(refused) == (429, "too_many_requests")
    assert int(refused.headers["Retry-After"]) > 80_000
    assert (await ask(client, "login", OTHER)).status_code == 202


async def test_an_address_gets_sixty_codes_an_hour(
    context: Context, client: httpx.AsyncClient
) -> None:
    phones = [f"138001380{n:02d}" for n in range(61)]
    answers = [await ask(client, "login", phone) for phone in phones]
    assert [answer.status_code for answer in answers] == [202] * 60 + [429]
    async with client_of(context, address="198.51.100.9") as elsewhere:
        assert (await ask(elsewhere, "login", phones[-1])).status_code == 202


async def test_one_machines_ipv6_addresses_are_one_address(
    database_url: str, keyring: Keyring, sms: RememberedSms
) -> None:
    policy = AccountPolicy(codes_per_address_per_hour=1)
    async with with_policy(database_url, keyring, sms, policy) as (context, _):
        async with client_of(context, address="2001:db8::1") as client:
            assert (await ask(client, "login")).status_code == 202
        async with client_of(context, address="2001:db8::2") as client:
            assert (await ask(client, "login", OTHER)).status_code == 429
        async with client_of(context, address="2001:db8:0:1::1") as client:
            assert (await ask(client, "login", OTHER)).status_code == 202


async def test_asking_for_a_code_does_not_tell_who_is_registered(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    for purpose in ("login", "reset_password"):
        await later(context, timedelta(seconds=61))
        known = await ask(client, purpose, PHONE)
        unknown = await ask(client, purpose, OTHER)
        assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())
    assert [to for to, _ in sms.sent[1:]] == ["+8613800138000", "+8613900139000"] * 2


async def test_a_message_that_certainly_failed_may_be_asked_for_again_at_once(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    sms.fails_with = PermanentMessageError("twilio:21211", Fault.RECIPIENT)
    assert code_of(await ask(client, "login")) == (503, "message_not_sent")
    sms.fails_with = None
    assert (await ask(client, "login")).status_code == 202
    rows = await run_sql(context, "select status, error_code from message order by id")
    assert [tuple(row) for row in rows] == [("failed", "twilio:21211"), ("sent", None)]


async def test_a_message_that_may_be_under_way_is_not_sent_twice(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    sms.fails_with = RetryableMessageError("twilio:timeout", outcome_unknown=True)
    assert (await ask(client, "login")).status_code == 202
    assert (await ask(client, "login")).status_code == 429


async def test_a_phone_without_account_has_one_data_key_however_often_it_asks(
    client: httpx.AsyncClient, context: Context
) -> None:
    for _ in range(3):
        await ask(client, "login")
        await later(context, timedelta(seconds=61))
    assert await run_sql(context, "select count(*) from data_key") == [(1,)]


# Registering


async def test_registering_logs_in(client: httpx.AsyncClient, sms: RememberedSms) -> None:
    await ask(client, "register")
    new = {"phone": PHONE, "code": sms.code_for(PHONE), "password": PASSWORD, "name": "林小满"}
    answer = await client.post("/auth/register", json=new)
    assert answer.status_code == 201
    body = answer.json()
    assert body["expiresIn"] == 900
    assert body["user"].items() >= {"phone": PHONE, "name": "林小满", "roles": ["patient"]}.items()
    headers = {"Authorization": f"Bearer {body['accessToken']}"}
    me = await client.get("/users/me", headers=headers)
    assert me.json() == body["user"]


@pytest.mark.parametrize("password", ["short-7", "x" * 129, PHONE, "12345678"])
async def test_a_weak_password_is_refused_and_costs_no_code(
    client: httpx.AsyncClient, sms: RememberedSms, password: str
) -> None:
    await ask(client, "register")
    new = {"phone": PHONE, "code": sms.code_for(PHONE), "password": password}
    refused = await client.post("/auth/register", json=new)
    assert code_of(refused) == (422, "invalid")
    assert [error["field"] for error in refused.json()["errors"]] == ["password"]
    assert password not in refused.text
    again = await client.post("/auth/register", json={**new, "password": PASSWORD})
    assert again.status_code == 201


async def test_a_code_works_once(client: httpx.AsyncClient, sms: RememberedSms) -> None:
    await registered(client, sms, PHONE)
    new = {"phone": PHONE, "code": sms.code_for(PHONE), "password": PASSWORD}
    assert code_of(await client.post("/auth/register", json=new)) == (422, "code_invalid")


async def test_a_code_is_for_its_purpose_and_its_phone(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    await ask(client, "login")
    code = sms.code_for(PHONE)
    for phone in (PHONE, OTHER):
        new = {"phone": phone, "code": code, "password": PASSWORD}
        assert code_of(await client.post("/auth/register", json=new)) == (422, "code_invalid")


async def test_a_code_is_good_for_five_minutes(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await ask(client, "register")
    new = {"phone": PHONE, "code": sms.code_for(PHONE), "password": PASSWORD}
    await later(context, timedelta(minutes=5))
    assert code_of(await client.post("/auth/register", json=new)) == (422, "code_invalid")


async def test_a_new_code_takes_the_place_of_the_old_one(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await ask(client, "register")
    old = sms.code_for(PHONE)
    await later(context, timedelta(seconds=61))
    await ask(client, "register")
    new = sms.code_for(PHONE)
    for code, status in ((old, 422 if old != new else 201), (new, 201)):
        body = {"phone": PHONE, "code": code, "password": PASSWORD}
        assert (await client.post("/auth/register", json=body)).status_code == status


async def test_a_code_has_five_tries(client: httpx.AsyncClient, sms: RememberedSms) -> None:
    await ask(client, "register")
    right = sms.code_for(PHONE)
    new = {"phone": PHONE, "code": wrong(right), "password": PASSWORD}
    for _ in range(5):
        assert code_of(await client.post("/auth/register", json=new)) == (422, "code_invalid")
    refused = await client.post("/auth/register", json={**new, "code": right})
    assert code_of(refused) == (422, "code_invalid")


async def test_the_fifth_try_may_still_be_right(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    await ask(client, "register")
    right = sms.code_for(PHONE)
    new = {"phone": PHONE, "code": wrong(right), "password": PASSWORD}
    for _ in range(4):
        await client.post("/auth/register", json=new)
    answer = await client.post("/auth/register", json={**new, "code": right})
    assert answer.status_code == 201


async def test_tries_at_once_are_no_more_than_five(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    await ask(client, "login")
    code = wrong(sms.code_for(PHONE))
    await run_sql(context, "update sms_code set tries_left = 1000 where purpose = 'login'")
    await asyncio.gather(*(log_in(client, code=code) for _ in range(20)))
    spent = await run_sql(context, "select tries_left from sms_code where purpose = 'login'")
    assert spent == [(980,)]  # none of them read a number that another was about to change
    await run_sql(context, "update sms_code set tries_left = 5 where purpose = 'login'")
    await asyncio.gather(*(log_in(client, code=code) for _ in range(20)))
    assert (await log_in(client, code=sms.code_for(PHONE))).status_code == 401


async def test_registering_at_once_makes_one_account(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await ask(client, "register")
    new = {"phone": PHONE, "code": sms.code_for(PHONE), "password": PASSWORD}
    answers = await asyncio.gather(*(client.post("/auth/register", json=new) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 9
    assert await run_sql(context, "select count(*) from account") == [(1,)]


async def test_only_who_has_the_phone_hears_that_it_is_registered(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    await ask(client, "register")
    right = sms.code_for(PHONE)
    new = {"phone": PHONE, "code": wrong(right), "password": "another-river-8"}
    assert code_of(await client.post("/auth/register", json=new)) == (422, "code_invalid")
    told = await client.post("/auth/register", json={**new, "code": right})
    assert code_of(told) == (409, "already_registered")
    assert (await log_in(client, password=PASSWORD)).status_code == 200


# Logging in


async def test_logging_in_by_password(client: httpx.AsyncClient, sms: RememberedSms) -> None:
    patron = await registered(client, sms, PHONE)
    answer = await log_in(client, password=PASSWORD)
    assert answer.status_code == 200
    assert answer.json()["user"]["id"] == patron.user_id


async def test_logging_in_by_code(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    await ask(client, "login")
    answer = await log_in(client, code=sms.code_for(PHONE))
    assert answer.status_code == 200
    assert answer.json()["user"]["id"] == patron.user_id


async def test_a_password_keeps_its_spaces(client: httpx.AsyncClient, sms: RememberedSms) -> None:
    await registered(client, sms, PHONE, password=" clear water ")
    assert (await log_in(client, password="clear water")).status_code == 401
    assert (await log_in(client, password=" clear water ")).status_code == 200


async def test_a_login_gives_one_proof(client: httpx.AsyncClient) -> None:
    for proof in ({}, {"password": PASSWORD, "code": "123456"}):
        assert code_of(await log_in(client, **proof)) == (422, "invalid")


async def test_one_refusal_for_every_reason(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    await registered(client, sms, "13700137000")
    await ask(client, "login", OTHER)
    await run_sql(context, "update account set active = false where id = 2")
    refusals = [
        await log_in(client, PHONE, password="wrong-river-8"),
        await log_in(client, PHONE, code="000000"),
        await log_in(client, OTHER, password=PASSWORD),
        await log_in(client, OTHER, code=sms.code_for(OTHER)),
        await log_in(client, "13700137000", password=PASSWORD),
    ]
    assert {answer.status_code for answer in refusals} == {401}
    assert len({answer.text for answer in refusals}) == 1


async def test_an_unknown_phone_costs_as_much_hashing_as_a_known_one(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(client, sms, PHONE)
    hashed: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, hash: str, password: str) -> bool:
        hashed.append(hash.rsplit("$", 2)[0])
        return bool(verify(self, hash, password))

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    await log_in(client, PHONE, password="wrong-river-8")
    await log_in(client, OTHER, password="wrong-river-8")
    assert len(hashed) == 2
    assert hashed[0] == hashed[1]  # the same parameters


async def test_after_ten_wrong_passwords_a_phone_waits(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    for _ in range(10):
        assert (await log_in(client, password="wrong-river-8")).status_code == 401
    refused = await log_in(client, password=PASSWORD)
    assert code_of(refused) == (429, "too_many_requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    async with client_of(context, address="198.51.100.9") as elsewhere:
        assert (await log_in(elsewhere, password=PASSWORD)).status_code == 429
    await later(context, timedelta(minutes=15))
    assert (await log_in(client, password=PASSWORD)).status_code == 200


async def test_a_phone_that_others_have_locked_still_gets_in_by_code(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    for _ in range(11):
        await log_in(client, password="wrong-river-8")
    await ask(client, "login")
    assert (await log_in(client, code=sms.code_for(PHONE))).status_code == 200


async def test_guesses_at_once_do_not_outrun_the_limit(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    await registered(client, sms, PHONE)
    answers = await asyncio.gather(*(log_in(client, password="wrong-river-8") for _ in range(30)))
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 20


async def test_a_right_password_is_forgiven_the_wrong_ones_before(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    await registered(client, sms, PHONE)
    for _ in range(2):
        for _ in range(9):
            await log_in(client, password="wrong-river-8")
        assert (await log_in(client, password=PASSWORD)).status_code == 200


async def test_an_address_that_guesses_through_many_phones_waits(
    database_url: str, keyring: Keyring, sms: RememberedSms
) -> None:
    policy = AccountPolicy(failed_logins=2)
    async with with_policy(database_url, keyring, sms, policy) as (context, client):
        phones = [f"138001380{n:02d}" for n in range(21)]
        answers = [await log_in(client, phone, password=PASSWORD) for phone in phones]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429]
        async with client_of(context, address="198.51.100.9") as elsewhere:
            assert (await log_in(elsewhere, phones[-1], password=PASSWORD)).status_code == 401


async def test_a_hash_of_older_parameters_is_made_anew_at_login(
    database_url: str,
    keyring: Keyring,
    sms: RememberedSms,
    context: Context,
    client: httpx.AsyncClient,
) -> None:
    await registered(client, sms, PHONE)
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    today = await make_context(database_url, keyring, sms=sms, passwords=stronger)
    async with client_of(today) as client_today:
        for _ in range(2):
            assert (await log_in(client_today, password=PASSWORD)).status_code == 200
            [(stored,)] = await run_sql(today, "select password_hash from account")
            assert "m=16,t=2" in stored
    await close_context(today)


# Refresh and logout


async def test_a_refresh_token_brings_the_next_pair(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    patron = await registered(client, sms, PHONE)
    token = patron.refresh_token
    for _ in range(3):
        answer = await refresh(client, token)
        assert answer.status_code == 200
        assert answer.json()["refreshToken"] != token
        token = answer.json()["refreshToken"]


async def test_a_refresh_token_seen_again_ends_the_login(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    patron = await registered(client, sms, PHONE)
    newest = (await refresh(client, patron.refresh_token)).json()
    assert code_of(await refresh(client, patron.refresh_token)) == (401, "token_reused")
    assert code_of(await refresh(client, newest["refreshToken"])) == (401, "session_revoked")
    headers = {"Authorization": f"Bearer {newest['accessToken']}"}
    assert code_of(await client.get("/users/me", headers=headers)) == (401, "session_revoked")


async def test_of_refreshes_at_once_one_wins_and_the_login_ends(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    answers = await asyncio.gather(*(refresh(client, patron.refresh_token) for _ in range(10)))
    won = [answer for answer in answers if answer.status_code == 200]
    lost = {code_of(answer) for answer in answers if answer.status_code != 200}
    assert len(won) == 1
    assert lost == {(401, "token_reused")}
    assert await run_sql(context, "select revoked_why from login_session") == [("token_reused",)]
    assert (await refresh(client, won[0].json()["refreshToken"])).status_code == 401


async def test_one_login_that_ends_leaves_the_others(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    patron = await registered(client, sms, PHONE)
    other = (await log_in(client, password=PASSWORD)).json()
    await client.post("/auth/logout", headers=patron.headers)
    assert (await refresh(client, patron.refresh_token)).status_code == 401
    assert (await refresh(client, other["refreshToken"])).status_code == 200


async def test_a_refresh_token_lives_for_thirty_days_without_use(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    await later(context, timedelta(days=29))
    renewed = await refresh(client, patron.refresh_token)
    assert renewed.status_code == 200
    await later(context, timedelta(days=30))
    expired = await refresh(client, renewed.json()["refreshToken"])
    assert code_of(expired) == (401, "token_expired")


async def test_an_unknown_refresh_token_is_refused(client: httpx.AsyncClient) -> None:
    assert code_of(await refresh(client, "made up")) == (401, "not_authenticated")


async def test_after_logout_the_access_token_works_no_more(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    patron = await registered(client, sms, PHONE)
    assert (await client.post("/auth/logout", headers=patron.headers)).status_code == 204
    answer = await client.get("/users/me", headers=patron.headers)
    assert code_of(answer) == (401, "session_revoked")


async def test_without_a_token_nobody_is_told_anything(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        answer = await client.get("/users/me", headers=headers)
        assert code_of(answer) == (401, "not_authenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_closed_account_cannot_refresh(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    await run_sql(context, "update account set active = false")
    assert code_of(await refresh(client, patron.refresh_token)) == (401, "session_revoked")


# A forgotten password


async def reset(client: httpx.AsyncClient, code: str, password: str) -> httpx.Response:
    body = {"phone": PHONE, "code": code, "password": password}
    return await client.post("/auth/reset-password", json=body)


async def test_a_new_password_ends_every_login(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    await ask(client, "reset_password")
    answer = await reset(client, sms.code_for(PHONE), "another-river-8")
    assert answer.status_code == 204
    assert (await client.get("/users/me", headers=patron.headers)).status_code == 401
    assert code_of(await refresh(client, patron.refresh_token)) == (401, "session_revoked")
    assert (await log_in(client, password=PASSWORD)).status_code == 401
    assert (await log_in(client, password="another-river-8")).status_code == 200


async def test_a_reset_locks_limits_before_the_account_as_a_login_does(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    await log_in(client, password="wrong-river-8")  # there is a count to forget
    await ask(client, "reset_password")
    async with context.engine.begin() as logging_in:
        await logging_in.execute(
            text("select 1 from rate_limit where key like 'passwords:%' for update")
        )
        resetting = asyncio.create_task(reset(client, sms.code_for(PHONE), "another-river-8"))
        waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
        while not await run_sql(context, waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        account = text("select 1 from account where id = :id for update nowait")
        await logging_in.execute(account, {"id": patron.user_id})
    assert (await resetting).status_code == 204


async def test_a_new_password_opens_a_phone_that_was_locked(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    for _ in range(10):
        await log_in(client, password="wrong-river-8")
    await ask(client, "reset_password")
    await reset(client, sms.code_for(PHONE), "another-river-8")
    assert (await log_in(client, password="another-river-8")).status_code == 200


async def test_resetting_does_not_tell_who_is_registered(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    await ask(client, "reset_password")
    answer = await reset(client, sms.code_for(PHONE), "another-river-8")
    assert code_of(answer) == (422, "code_invalid")


# Preferences


async def test_preferences_are_the_hospitals_until_they_are_ones_own(
    client: httpx.AsyncClient, sms: RememberedSms
) -> None:
    patron = await registered(client, sms, PHONE)
    answer = await client.get("/users/me/preferences", headers=patron.headers)
    assert answer.json() == {"channels": ["sms"], "language": "zh", "email": None}
    mine = {"channels": ["email", "sms"], "language": "en", "email": "lin@example.org"}
    put = await client.put("/users/me/preferences", json=mine, headers=patron.headers)
    assert (put.status_code, put.json()) == (200, mine)
    assert (await client.get("/users/me/preferences", headers=patron.headers)).json() == mine


async def test_a_code_is_told_in_the_language_of_the_account(
    client: httpx.AsyncClient, sms: RememberedSms, context: Context
) -> None:
    patron = await registered(client, sms, PHONE)
    await later(context, timedelta(seconds=61))
    mine = {"channels": ["sms"], "language": "en"}
    await client.put("/users/me/preferences", json=mine, headers=patron.headers)
    await ask(client, "login")
    assert "your code is" in sms.sent[-1][1]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"channels": ["pigeon"]}, "channels.0"),
        ({"channels": ["sms", "sms"]}, "channels"),
        ({"channels": ["email"], "email": None}, "email"),
        ({"email": "lin@example.org\r\nBcc: x@example.org"}, "email"),
        ({"email": "lin"}, "email"),
        ({"language": "fr"}, "language"),
    ],
)
async def test_a_wrong_preference_is_refused_by_its_field(
    client: httpx.AsyncClient, sms: RememberedSms, change: dict[str, Any], field: str
) -> None:
    patron = await registered(client, sms, PHONE)
    mine = {"channels": ["sms"], "language": "zh", "email": "lin@example.org", **change}
    answer = await client.put("/users/me/preferences", json=mine, headers=patron.headers)
    assert code_of(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
