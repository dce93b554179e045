"""Who is on duty, and in which order they are rung."""

from datetime import date, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.catalogue import load_config
from db.credential import KeptCredential, keep_credential
from db.duty import duty_of, note_rings, on_duty, online_among, set_duty
from db.keyring import Keyring
from domain.duty import DutyType
from tests.support.catalogue import a_config, a_doctor

pytestmark = pytest.mark.anyio

T = DutyType
RECENT = timedelta(minutes=5)


class Ward:
    """Doctors, and time that passes for them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def doctor(self, department_id: int = 11) -> int:
        async with self.engine.begin() as connection:
            return await a_doctor(connection, department_id=department_id)

    async def on(self, doctor_id: int, *types: DutyType, online: bool = True) -> None:
        async with self.engine.begin() as connection:
            await set_duty(connection, 1, doctor_id, online=online, types=types or (T.EMERGENCY,))

    async def rung(self, doctor_id: int) -> None:
        async with self.engine.begin() as connection:
            await note_rings(connection, [doctor_id])

    async def later(self, minutes: int) -> None:
        """All that is written was this much earlier."""
        async with self.engine.begin() as connection:
            await connection.execute(
                text(
                    "update duty set since = since - :d, last_seen_at = last_seen_at - :d,"
                    " last_rung_at = last_rung_at - :d"
                ),
                {"d": timedelta(minutes=minutes)},
            )

    async def turn(
        self, type: DutyType = T.EMERGENCY, department_id: int | None = None
    ) -> list[int]:
        async with self.engine.connect() as connection:
            return await on_duty(connection, 1, department_id, type, RECENT)


@pytest.fixture
async def ward(engine: AsyncEngine) -> Ward:
    async with engine.begin() as connection:
        await load_config(connection, a_config())
    return Ward(engine)


async def test_who_waits_longest_is_rung_first(ward: Ward) -> None:
    one, two, three = [await ward.doctor() for _ in range(3)]
    for doctor in (two, one, three):
        await ward.on(doctor)
    assert await ward.turn() == [two, one, three]


async def test_who_was_rung_comes_behind_the_others(ward: Ward) -> None:
    one, two, three = [await ward.doctor() for _ in range(3)]
    for doctor in (one, two, three):
        await ward.on(doctor)
    await ward.rung(one)
    assert await ward.turn() == [two, three, one]
    for doctor in (two, three):
        await ward.rung(doctor)
    assert await ward.turn() == [one, two, three]


async def test_going_off_and_on_again_brings_nobody_to_the_front(ward: Ward) -> None:
    one, two = [await ward.doctor() for _ in range(2)]
    await ward.on(one)
    await ward.on(two)
    await ward.rung(one)
    await ward.rung(two)
    await ward.on(two, online=False)
    await ward.on(two)
    assert await ward.turn() == [one, two]


async def test_only_who_takes_the_type_counts(ward: Ward) -> None:
    one, two = [await ward.doctor() for _ in range(2)]
    await ward.on(one, T.TEXT, T.VIDEO)
    await ward.on(two, T.EMERGENCY, T.VIDEO)
    assert await ward.turn(T.VIDEO) == [one, two]
    assert await ward.turn(T.TEXT) == [one]
    assert await ward.turn(T.PHONE) == []


async def test_a_department_is_with_those_below_it(ward: Ward) -> None:
    heart, surgery = await ward.doctor(11), await ward.doctor(2)
    await ward.on(heart)
    await ward.on(surgery)
    assert await ward.turn(department_id=1) == [heart]
    assert await ward.turn(department_id=11) == [heart]
    assert await ward.turn(department_id=2) == [surgery]
    assert await ward.turn() == [heart, surgery]


async def test_who_is_off_duty_left_or_not_seen_for_long_does_not_count(ward: Ward) -> None:
    silent, off, left, here = [await ward.doctor() for _ in range(4)]
    await ward.on(silent)
    await ward.later(6)
    for doctor in (off, left, here):
        await ward.on(doctor)
    await ward.on(off, online=False)
    async with ward.engine.begin() as connection:
        await connection.execute(
            text("update doctor set active = false where id = :id"), {"id": left}
        )
    assert await ward.turn() == [here]
    await ward.on(silent)
    assert await ward.turn() == [here, silent]  # who was away did not wait all that time


async def test_another_hospitals_doctors_are_not_ours(ward: Ward) -> None:
    await ward.on(await ward.doctor())
    async with ward.engine.connect() as connection:
        assert await on_duty(connection, 2, None, T.EMERGENCY, RECENT) == []


async def test_an_expired_licence_is_not_rung(ward: Ward, keyring: Keyring) -> None:
    expired, good, unknown = [await ward.doctor() for _ in range(3)]
    async with ward.engine.begin() as connection:
        for doctor, until in ((expired, date(2020, 1, 1)), (good, date(2999, 1, 1))):
            kept = KeptCredential(licence_no="110000", licence_valid_until=until)
            await keep_credential(connection, keyring, 1, doctor, kept)
    for doctor in (expired, good, unknown):
        await ward.on(doctor)
    assert await ward.turn() == [good, unknown]


async def test_saying_it_again_is_a_heartbeat_and_keeps_since(ward: Ward) -> None:
    doctor = await ward.doctor()
    await ward.on(doctor)
    await ward.later(1)
    async with ward.engine.connect() as connection:
        first = await duty_of(connection, doctor)
    await ward.on(doctor, T.TEXT)
    async with ward.engine.connect() as connection:
        again = await duty_of(connection, doctor)
    assert first is not None
    assert again is not None
    assert again.since == first.since
    assert again.last_seen_at > first.last_seen_at
    assert again.types == (T.TEXT,)


async def test_patients_see_who_was_seen_lately(ward: Ward) -> None:
    silent, off, here, never = [await ward.doctor() for _ in range(4)]
    await ward.on(silent)
    await ward.later(3)
    await ward.on(off, online=False)
    await ward.on(here)
    async with ward.engine.connect() as connection:
        assert await online_among(connection, [silent, off, here, never]) == {here}
        assert await online_among(connection, []) == set()
        duty = await duty_of(connection, silent)
        assert duty is not None
        assert (duty.online, duty.counted) == (True, False)
        assert await duty_of(connection, never) is None


async def test_a_ring_of_who_never_was_on_duty_is_nothing(ward: Ward) -> None:
    await ward.rung(await ward.doctor())
    assert await ward.turn() == []
