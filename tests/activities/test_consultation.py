"""What consultations do to the world: the record, the ring, the doctor's phone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.consultation import ConsultationActivities, Expected, Ringing
from activities.gateways.video import NoSuchRoom, VideoGateway, VideoUnavailable
from activities.message import Outgoing
from db.duty import set_duty
from db.keyring import Keyring
from db.video import open_room, take_seat
from domain.consultation import ConsultationMove
from domain.consultation import ConsultationStatus as S
from domain.duty import DutyType
from domain.message import Channel, Template
from tests.support.booking import Clinic
from tests.support.consulting import SAID, TYPES, WAYS, WORDS, Practice
from tests.support.messages import Provider, by, messages_of

pytestmark = pytest.mark.anyio

SEEN = timedelta(minutes=2)


@pytest.fixture
async def practice(engine: AsyncEngine, keyring: Keyring) -> Practice:
    return Practice(await Clinic.opened(engine, keyring))


@pytest.fixture
async def who(practice: Practice) -> tuple[int, int]:
    return await practice.clinic.someone()


@pytest.fixture
def activities(practice: Practice) -> ConsultationActivities:
    return ConsultationActivities(practice.clinic.engine, practice.clinic.keyring, 1, SEEN)


# The health record


async def ending(
    practice: Practice, who: tuple[int, int], status: S = S.COMPLETED, *, note: bool = True
) -> ConsultationMove:
    """The move that ends a consultation, not written yet."""
    number = await practice.ask(who)
    await practice.pay(number)
    await practice.accept(number)
    note_id = await practice.note(who, number) if note else None
    return await practice.a_move(number, "complete", note_id=note_id, status=status)


async def records(practice: Practice) -> int:
    return int(await practice.clinic.value("select count(*) from health_record"))


async def test_a_completed_one_enters_the_health_record_once(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    move = await ending(practice, who)
    for _ in range(3):
        await activities.record_consultation(move)
    assert await records(practice) == 1
    sealed = await practice.clinic.value("select sealed from health_record")
    for word in (WORDS["complaint"], *SAID.values()):
        assert str(word).encode() not in sealed
    opened = (await practice.key(who)).open(sealed)
    assert opened == {
        "diagnosis": SAID["diagnosis"],
        "content": {
            "type": "text",
            "visitKind": "advice",
            "complaint": WORDS["complaint"],
            "description": WORDS["description"],
            "symptoms": WORDS["symptoms"],
            "advice": SAID["advice"],
        },
    }


async def test_one_that_ended_by_itself_has_a_visit_without_a_diagnosis(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    await activities.record_consultation(await ending(practice, who, note=False))
    sealed = await practice.clinic.value("select sealed from health_record")
    opened = (await practice.key(who)).open(sealed)
    assert (opened["diagnosis"], opened["content"]["advice"]) == (None, None)


async def test_what_came_to_nothing_is_no_visit(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    await activities.record_consultation(await ending(practice, who, S.REFUNDED))
    assert await records(practice) == 0
    number = (await ending(practice, who)).order_no
    await activities.record_consultation(await practice.a_move(number, "answered", answered=True))
    assert await records(practice) == 0


async def test_news_that_is_old_enters_nothing(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    move = await ending(practice, who)
    await practice.write(replace(move, version=9, to_status=S.REFUNDED, progress=replace(
        move.progress, version=9, status=S.REFUNDED)))  # fmt: skip
    await activities.record_consultation(move)
    assert await records(practice) == 0


async def test_its_video_room_is_closed_when_it_ends_or_goes_on_without(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    closed = "select count(*) from video_room where order_no = :number and closed_at is not null"
    for more in ({"status": S.REFUNDED}, {"switched_to": TYPES.TEXT}):
        number = (await ending(practice, who)).order_no
        await activities.record_consultation(await practice.a_move(number, "joined", came=True))
        assert await practice.clinic.value(closed, number=number) == 0
        await activities.record_consultation(await practice.a_move(number, "so", **more))
        assert await practice.clinic.value(closed, number=number) == 1


async def test_of_somebody_who_was_shredded_there_is_no_visit_and_the_order_still_ends(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    move = await ending(practice, who)
    await practice.clinic.run("update data_key set wrapped = null, shredded_at = now()")
    await activities.record_consultation(move)
    assert await records(practice) == 0
    assert (await practice.order(move.order_no)).status == "completed"


# Emergencies


async def on_duty(practice: Practice, count: int, *types: DutyType) -> list[int]:
    """Doctors in the order in which they came."""
    doctors = [await practice.clinic.another_doctor() for _ in range(count)]
    for doctor in doctors:
        async with practice.clinic.engine.begin() as connection:
            wanted = types or (DutyType.EMERGENCY,)
            await set_duty(connection, 1, doctor, online=True, types=wanted)
    return doctors


async def emergency(practice: Practice, who: tuple[int, int]) -> str:
    return await practice.ask(who, TYPES.PHONE, WAYS.EMERGENCY, department_id=1)


async def test_one_is_rung_after_another_then_all(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    doctors = await on_duty(practice, 3)
    number, rung = await emergency(practice, who), tuple[int, ...]()
    for doctor in doctors:
        ringing = await activities.next_to_ring(Ringing(number, rung))
        assert ringing.doctors == (doctor,)
        rung += ringing.doctors
    everybody = await activities.next_to_ring(Ringing(number, rung))
    assert sorted(everybody.doctors) == doctors


async def test_who_was_rung_comes_behind_the_others_at_the_next_emergency(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    first, second = await on_duty(practice, 2)
    for turn in ((first,), (second,), (first,)):
        number = await emergency(practice, who)
        for _ in range(2):  # asked again, nobody lost a turn
            assert (await activities.next_to_ring(Ringing(number, ()))).doctors == turn
        move = await practice.a_move(number, "ring", rung=turn)
        for _ in range(2):
            await activities.record_consultation(move)


async def test_when_all_are_rung_once_more_all_of_them_come_behind(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    doctors = tuple(await on_duty(practice, 2))
    late = (await on_duty(practice, 1))[0]
    number = await emergency(practice, who)
    for _ in range(2):
        move = await practice.a_move(number, "ring", rung=doctors)
        await activities.record_consultation(move)
    another = await emergency(practice, who)
    assert (await activities.next_to_ring(Ringing(another, ()))).doctors == (late,)


async def test_nobody_on_duty_is_nobody_to_ring(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    await on_duty(practice, 1, DutyType.TEXT, DutyType.PHONE)  # not for emergencies
    (gone,) = await on_duty(practice, 1)
    await practice.clinic.run(
        "update duty set last_seen_at = now() - interval '3 minutes' where doctor_id = :id", id=gone
    )
    number = await emergency(practice, who)
    assert (await activities.next_to_ring(Ringing(number, (gone,)))).doctors == ()


async def test_doctors_are_not_rung_to_their_own_emergency(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    patient, colleague = await on_duty(practice, 2)
    await practice.clinic.run(
        "update doctor set account_id = :account where id = :id", account=who[0], id=patient
    )
    ringing = await activities.next_to_ring(Ringing(await emergency(practice, who), ()))
    assert ringing.doctors == (colleague,)


async def test_an_order_without_a_row_is_a_fault(activities: ConsultationActivities) -> None:
    with pytest.raises(LookupError, match="C0 has no row"):
        await activities.next_to_ring(Ringing("C0", ()))


# Video


class Rooms:
    """A video server that knows who sits in its rooms, or is away."""

    def __init__(self, *sitting: str, away: Exception | None = None) -> None:
        self.sitting, self.away = frozenset(sitting), away

    async def participants(self, number: int) -> frozenset[str]:
        if self.away:
            raise self.away
        return self.sitting


async def test_who_is_in_the_room_has_come_also_when_nobody_watched(
    practice: Practice, who: tuple[int, int], activities: ConsultationActivities
) -> None:
    clinic = practice.clinic
    number, since = await practice.ask(who, TYPES.VIDEO), datetime.now(UTC)
    async with clinic.engine.begin() as connection:
        await open_room(connection, clinic.keyring, 1, number)
        await take_seat(connection, clinic.keyring, number, who[0], "patient")
        room = await take_seat(connection, clinic.keyring, number, 7, "doctor")
    assert room is not None
    patient, doctor = (seat.display for seat in room.seats)

    async def came(rooms: Rooms) -> bool:
        seeing = replace(activities, video=cast("VideoGateway", rooms))
        return await seeing.doctor_came(Expected(number, since))

    assert await came(Rooms(patient, doctor))
    assert not await came(Rooms(patient))
    for away in (NoSuchRoom("janus:426"), VideoUnavailable("janus:away")):
        assert not await came(Rooms(away=away))
    assert not await activities.doctor_came(Expected(number, since))


# The doctor's phone


TO_DOCTORS = (
    Template.CONSULTATION_WAITING,
    Template.CONSULTATION_RING,
    Template.CONSULTATION_CONCLUDE,
)
OF_HEALTH = ("头痛", "左侧", "心血管", "示例医生", "林小满", "诊断结果", "139000")


@pytest.mark.parametrize("template", TO_DOCTORS)
async def test_a_message_to_a_doctor_reaches_their_phone_and_tells_nothing_of_health(
    practice: Practice, who: tuple[int, int], template: Template
) -> None:
    doctor, account = await practice.doctor_with_phone()
    number = await practice.ask(who, doctor_id=doctor)
    await practice.pay(number)
    sms = Provider()
    messages = messages_of(practice.clinic, sms, Provider())
    told = Outgoing(f"{number}:{template}:d{doctor}:1", number, template, doctor_id=doctor)
    assert Channel.SMS in (await messages.plan_message(told)).channels
    for channel in (Channel.SMS, Channel.SMS, Channel.IN_APP):
        await messages.send_message(by(told, channel))
    [(to, text, _)] = sms.sent  # once
    assert to == f"+86138{account:08d}"
    assert [word for word in OF_HEALTH if word in text] == []
    assert number in text
    row: Any = """select concat_ws(' ', min(account_id), max(account_id), count(*),
                        count(distinct data_key_id)) from message"""
    assert await practice.clinic.value(row) == f"{account} {account} 2 1"
    theirs = "select data_key_id from account where id = :id"
    key = await practice.clinic.value("select min(data_key_id) from message")
    assert key == await practice.clinic.value(theirs, id=account)


async def test_the_patient_is_told_in_the_app_by_whom_and_by_sms_not_even_that(
    practice: Practice, who: tuple[int, int]
) -> None:
    number = await practice.ask(who)
    await practice.pay(number)
    await practice.accept(number, datetime.now(UTC))
    sms = Provider()
    messages = messages_of(practice.clinic, sms, Provider())
    told = Outgoing(f"{number}:accepted", number, Template.CONSULTATION_ACCEPTED)
    for channel in (Channel.SMS, Channel.IN_APP):
        await messages.send_message(by(told, channel))
    [(to, text, _)] = sms.sent
    assert to == "+8613900000000"
    assert [word for word in OF_HEALTH if word in text] == []
    sealed = await practice.clinic.value("select sealed from message where channel = 'in_app'")
    assert "示例医生" in (await practice.key(who)).open(sealed)["text"]
