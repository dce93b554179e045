"""Accounts, logins, codes and persons in PostgreSQL: what holds when two come at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.account import (
    HeldPatient,
    OpenSession,
    create_account,
    end_sessions,
    find_account,
    hold_patient,
    open_session,
    patients_by_id,
    patients_of,
    read_account,
    refresh_session,
    register_account,
    set_password,
)
from db.idempotency import IdempotencyMismatch, first_answer, remember
from db.keyring import Keyring
from db.rate_limit import Limit, TooOften, count, forget_past_windows, give_back
from domain.access import Role
from domain.account import Gender, NewPatient
from tests.support.api import id_card

pytestmark = pytest.mark.anyio

PHONE = "+8613800138000"
MONTH = timedelta(days=30)
LIN = NewPatient("林小满", Gender.FEMALE, id_card(date(1990, 3, 7), sequence=4), "+8613900139000")


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.begin() as connection:
        yield connection


async def an_account(engine: AsyncEngine, keyring: Keyring) -> int:
    async with engine.begin() as connection:
        return await create_account(
            connection, keyring, 1, phone=PHONE, name="林小满", password_hash="old"
        )


async def hold(
    engine: AsyncEngine, keyring: Keyring, account_id: int, new: NewPatient
) -> HeldPatient:
    async with engine.begin() as connection:
        return await hold_patient(connection, keyring, 1, account_id, new)


# Accounts


async def test_an_account_is_created_once_by_phone(
    connection: AsyncConnection, keyring: Keyring
) -> None:
    ids = [
        await create_account(
            connection, keyring, 1, phone=PHONE, name=name, password_hash="h", roles=[Role.DOCTOR]
        )
        for name in ("林小满", "somebody else")
    ]
    assert ids[0] == ids[1]
    account = await read_account(connection, keyring, 1, ids[0])
    assert account is not None
    assert (account.name, account.phone, account.roles) == ("林小满", PHONE, {Role.DOCTOR})
    keys = await connection.execute(text("select count(*) from data_key"))
    assert keys.scalar() == 1


async def test_a_phone_is_an_account_of_its_own_in_each_hospital(
    connection: AsyncConnection, keyring: Keyring
) -> None:
    here = await register_account(connection, keyring, 1, phone=PHONE, name=None, password_hash="h")
    there = await register_account(
        connection, keyring, 2, phone=PHONE, name=None, password_hash="h"
    )
    assert here is not None
    assert there not in (None, here)
    assert await read_account(connection, keyring, 2, here) is None


async def test_registering_a_phone_at_once_makes_one_account(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    async def register() -> int | None:
        async with engine.begin() as connection:
            return await register_account(
                connection, keyring, 1, phone=PHONE, name=None, password_hash="h"
            )

    made = await asyncio.gather(*(register() for _ in range(10)))
    assert len([number for number in made if number is not None]) == 1
    async with engine.connect() as connection:
        keys = await connection.execute(text("select count(*) from data_key"))
        assert keys.scalar() == 1


async def test_a_shredded_account_is_nobodys(connection: AsyncConnection, keyring: Keyring) -> None:
    await create_account(connection, keyring, 1, phone=PHONE, name=None, password_hash="h")
    await connection.execute(text("update data_key set wrapped = null, shredded_at = now()"))
    assert await find_account(connection, keyring, 1, PHONE) is None


# Logins


async def test_no_login_with_a_password_that_was_changed_meanwhile(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    account_id = await an_account(engine, keyring)
    async with engine.begin() as resetting:
        await set_password(resetting, account_id, "new")
        await end_sessions(resetting, account_id, "password_reset")

        async def log_in() -> OpenSession | None:
            async with engine.begin() as connection:
                return await open_session(connection, account_id, "old", MONTH)

        login = asyncio.create_task(log_in())
        await _waits_for_a_lock(engine)
    assert await login is None


async def test_a_login_before_the_new_password_is_ended_by_it(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    account_id = await an_account(engine, keyring)
    async with engine.begin() as logging_in:
        session = await open_session(logging_in, account_id, "old", MONTH)
        assert session is not None

        async def reset() -> list[int]:
            async with engine.begin() as connection:
                await set_password(connection, account_id, "new")
                return await end_sessions(connection, account_id, "password_reset")

        resetting = asyncio.create_task(reset())
        await _waits_for_a_lock(engine)
    assert await resetting == [session.id]


async def test_a_renewed_hash_never_puts_an_old_password_back(
    connection: AsyncConnection, keyring: Keyring
) -> None:
    account_id = await create_account(
        connection, keyring, 1, phone=PHONE, name=None, password_hash="old"
    )
    await set_password(connection, account_id, "new")
    await set_password(connection, account_id, "old made anew", instead_of="old")
    account = await read_account(connection, keyring, 1, account_id)
    assert account is not None
    assert account.password_hash == "new"


async def test_tokens_of_logins_that_are_over_are_forgotten_at_the_next(
    connection: AsyncConnection, keyring: Keyring
) -> None:
    account_id = await create_account(
        connection, keyring, 1, phone=PHONE, name=None, password_hash="h"
    )
    first = await open_session(connection, account_id, "h", MONTH)
    assert first is not None
    await refresh_session(connection, first.refresh_token, MONTH)
    await connection.execute(text("update login_session set expires_at = now() - interval '1s'"))
    await open_session(connection, account_id, "h", MONTH)
    left = await connection.execute(text("select count(*) from refresh_token"))
    assert left.scalar() == 1


# Persons


async def test_a_person_is_added_once_and_then_found(engine: AsyncEngine, keyring: Keyring) -> None:
    account_id = await an_account(engine, keyring)
    held = await asyncio.gather(*(hold(engine, keyring, account_id, LIN) for _ in range(10)))
    assert len({patient.id for patient in held}) == 1
    assert [patient.created for patient in held].count(True) == 1


async def test_of_a_person_held_before_the_newer_phone_stays(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    account_id = await an_account(engine, keyring)
    await hold(engine, keyring, account_id, LIN)
    again = replace(LIN, name="林 大满", phone="+8613600136000")
    held = await hold(engine, keyring, account_id, again)
    assert (held.created, held.same_name) == (False, False)
    async with engine.connect() as connection:
        [patient] = await patients_of(connection, keyring, 1, account_id)
    assert (patient.details.name, patient.details.phone) == ("林小满", "+8613600136000")


async def test_the_same_human_in_two_accounts_has_one_index(
    engine: AsyncEngine, keyring: Keyring
) -> None:
    account_id = await an_account(engine, keyring)
    async with engine.begin() as connection:
        other = await create_account(
            connection, keyring, 1, phone="+8613700137000", name=None, password_hash="h"
        )
    await hold(engine, keyring, account_id, LIN)
    await hold(engine, keyring, other, replace(LIN, name="ＬＩＮ"))
    async with engine.connect() as connection:
        indexes = await connection.execute(text("select distinct person_index from patient"))
        assert len(indexes.all()) == 1


async def test_a_shredded_person_is_left_out(engine: AsyncEngine, keyring: Keyring) -> None:
    account_id = await an_account(engine, keyring)
    held = await hold(engine, keyring, account_id, LIN)
    async with engine.begin() as connection:
        assert held.id in await patients_by_id(connection, keyring, 1, [held.id])
        assert await patients_by_id(connection, keyring, 2, [held.id]) == {}
        await connection.execute(
            text("""update data_key set wrapped = null
                     where id in (select data_key_id from patient)""")
        )
        assert await patients_by_id(connection, keyring, 1, [held.id]) == {}


# Limits


async def test_no_more_than_the_limit_however_many_at_once(engine: AsyncEngine) -> None:
    limit = Limit("test", 5, timedelta(minutes=1))

    async def one() -> bool:
        try:
            async with engine.begin() as connection:
                await count(connection, limit)
        except TooOften:
            return False
        return True

    assert (await asyncio.gather(*(one() for _ in range(20)))).count(True) == 5


async def test_a_window_begins_anew_after_its_end(connection: AsyncConnection) -> None:
    limit = Limit("test", 1, timedelta(minutes=1))
    await count(connection, limit)
    with pytest.raises(TooOften) as refused:
        await count(connection, limit)
    assert 0 < refused.value.retry_after <= 60
    await connection.execute(text("update rate_limit set window_ends = now()"))
    await count(connection, limit)
    with pytest.raises(TooOften):
        await count(connection, limit)


async def test_what_is_given_back_may_be_had_again(connection: AsyncConnection) -> None:
    limit = Limit("test", 1, timedelta(minutes=1))
    await count(connection, limit)
    await give_back(connection, limit.key)
    await count(connection, limit)


async def test_windows_that_are_over_can_be_swept(connection: AsyncConnection) -> None:
    await count(connection, Limit("past", 1, timedelta(minutes=1)))
    await connection.execute(text("update rate_limit set window_ends = now() - interval '1s'"))
    await count(connection, Limit("present", 1, timedelta(minutes=1)))
    await forget_past_windows(connection)
    left = await connection.execute(text("select key from rate_limit"))
    assert left.scalars().all() == ["present"]


# Answers already given


async def test_a_second_request_with_a_key_waits_for_the_first(engine: AsyncEngine) -> None:
    async def second() -> str | None:
        async with engine.begin() as connection:
            return await first_answer(connection, 1, "key", b"body")

    async with engine.begin() as first:
        assert await first_answer(first, 1, "key", b"body") is None
        waiting = asyncio.create_task(second())
        await _waits_for_a_lock(engine)
        await remember(first, 1, "key", "made")
    assert await waiting == "made"


async def test_a_key_stands_for_one_body(connection: AsyncConnection) -> None:
    await first_answer(connection, 1, "key", b"body")
    with pytest.raises(IdempotencyMismatch):
        await first_answer(connection, 1, "key", b"another")


async def _waits_for_a_lock(engine: AsyncEngine) -> None:
    """Until some connection of this database stands behind another's lock."""
    waiting = text("""select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'""")
    for _ in range(500):
        async with engine.connect() as connection:
            if (await connection.execute(waiting)).scalar():
                return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")
