"""Files: kept, attached, and thrown away when they belong to nothing."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from activities.file import Content, Files, TooSlow
from activities.gateways.storage import StorageAway
from db.file import FilesRefused, attach_files, find_file
from db.keyring import Keyring, Shredded
from tests.support.booking import Clinic
from tests.support.storage import MemoryStorage

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
CONTENT = Content("image/jpeg", b"pixels" * 50_000, 10, 10, thumbnail=b"small")


@dataclass
class Desk:
    clinic: Clinic
    storage: MemoryStorage
    files: Files

    async def sent(self, account: int, content: Content = CONTENT) -> int:
        return await self.files.keep(1, account, content, None)

    async def attach(self, account: int, patient: int, *ids: int, order_no: str = "C1") -> None:
        async with self.clinic.engine.begin() as connection:
            await attach_files(
                connection,
                self.clinic.keyring,
                hospital_id=1,
                account_id=account,
                file_ids=ids,
                order_no=order_no,
                patient_id=patient,
            )

    async def read(self, number: int, *, thumbnail: bool = False) -> bytes:
        async with self.clinic.engine.connect() as connection:
            file = await find_file(connection, 1, number)
        assert file is not None
        return b"".join([part async for part in self.files.read(file, thumbnail=thumbnail)])

    async def run(self, sql: str) -> None:
        async with self.clinic.engine.begin() as connection:
            await connection.execute(text(sql))

    async def ids(self) -> list[int]:
        return list(await self.clinic.ids("select id from file order by id"))


@pytest.fixture
async def desk(engine, keyring: Keyring) -> Desk:  # type: ignore[no-untyped-def]
    storage = MemoryStorage()
    clinic = await Clinic.opened(engine, keyring)
    return Desk(clinic, storage, Files(engine, storage, keyring))


async def test_what_is_kept_is_read_again_and_lies_sealed(desk: Desk) -> None:
    number = await desk.sent(await desk.clinic.account())
    assert await desk.read(number) == CONTENT.data
    assert await desk.read(number, thumbnail=True) == b"small"
    assert len(desk.storage.objects) == 2
    assert not any(b"pixels" in sealed for sealed in desk.storage.objects.values())


async def test_an_attached_file_is_shredded_with_the_person(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    loose, attached = await desk.sent(account), await desk.sent(account)
    await desk.attach(account, patient, attached)
    assert await desk.read(attached) == CONTENT.data
    await desk.run(f"""update data_key set wrapped = null
                        where id = (select data_key_id from patient where id = {patient})""")
    with pytest.raises(Shredded):
        await desk.read(attached)
    assert await desk.read(loose) == CONTENT.data


async def test_attaching_twice_is_once(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    number = await desk.sent(account)
    await desk.attach(account, patient, number, number)
    await desk.attach(account, patient, number)
    assert await desk.read(number) == CONTENT.data


async def test_only_ones_own_finished_free_files_can_be_attached(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    stranger = await desk.clinic.account()
    mine, theirs, used = [await desk.sent(who) for who in (account, stranger, account)]
    unfinished = await desk.sent(account)
    await desk.run(f"update file set status = 'uploading' where id = {unfinished}")
    await desk.attach(account, patient, used, order_no="C2")
    for number in (theirs, used, unfinished, 999):
        with pytest.raises(FilesRefused) as refused:
            await desk.attach(account, patient, mine, number)
        assert refused.value.file_id == number
    await desk.run("update file set hospital_id = 2")
    with pytest.raises(FilesRefused):
        await desk.attach(account, patient, mine)


async def test_of_two_orders_one_gets_the_file(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    numbers = [await desk.sent(account) for _ in range(2)]
    outcomes = await asyncio.gather(
        desk.attach(account, patient, *numbers, order_no="C1"),
        desk.attach(account, patient, *reversed(numbers), order_no="C2"),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in outcomes) == ["FilesRefused", "NoneType"]
    assert len(set(await desk.clinic.ids("select order_no from file"))) == 1


# What belongs to nothing


async def test_only_what_was_never_attached_is_swept_and_only_in_time(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    old, attached = await desk.sent(account), await desk.sent(account)
    await desk.attach(account, patient, attached)
    await desk.run("update file set created_at = now() - interval '25 hours'")
    young = await desk.sent(account)
    await desk.files.sweep(DAY)
    assert await desk.ids() == [attached, young]
    assert len(desk.storage.objects) == 4
    assert old not in await desk.ids()
    await desk.files.sweep(DAY)
    assert await desk.read(attached) == CONTENT.data


async def test_an_upload_that_broke_off_is_swept(desk: Desk) -> None:
    account = await desk.clinic.account()
    desk.storage.away = True
    with pytest.raises(StorageAway):
        await desk.sent(account)
    desk.storage.away = False
    await desk.files.sweep(DAY)
    assert len(await desk.ids()) == 1, "it may still be under way"
    await desk.run("update file set created_at = now() - interval '61 minutes'")
    await desk.files.sweep(DAY)
    assert await desk.ids() == []


async def test_a_sweep_that_broke_off_goes_on(desk: Desk) -> None:
    await desk.sent(await desk.clinic.account())
    await desk.run("update file set created_at = now() - interval '25 hours'")
    desk.storage.away = True
    with pytest.raises(StorageAway):
        await desk.files.sweep(DAY)
    desk.storage.away = False
    assert len(desk.storage.objects) == 2
    await desk.files.sweep(DAY)
    assert (await desk.ids(), desk.storage.objects) == ([], {})


async def test_what_was_swept_while_it_was_sent_is_not_taken_for_kept(desk: Desk) -> None:
    account = await desk.clinic.account()
    put = desk.storage.put

    async def slowly(name, content):  # type: ignore[no-untyped-def]
        await desk.run("update file set created_at = now() - interval '2 hours'")
        await desk.files.sweep(DAY)
        await put(name, content)

    desk.storage.put = slowly  # type: ignore[method-assign]
    with pytest.raises(TooSlow):
        await desk.sent(account)


async def test_objects_that_no_row_speaks_of_are_swept_after_a_while(desk: Desk) -> None:
    kept = await desk.sent(await desk.clinic.account())
    stray = desk.files.new_name(datetime.now(UTC).date())
    elsewhere = "another-installation/20261122/x"
    for name in (stray, elsewhere):
        await desk.storage.put(name, [b"x"])
    await desk.files.sweep(DAY)
    assert stray in desk.storage.objects, "its row may be on its way"
    for name in desk.storage.objects:
        desk.storage.changed[name] -= timedelta(hours=3)
    await desk.files.sweep(DAY)
    assert stray not in desk.storage.objects
    assert elsewhere in desk.storage.objects
    assert await desk.read(kept) == CONTENT.data


async def test_a_file_that_is_being_attached_is_passed_over(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    number = await desk.sent(account)
    await desk.run("update file set created_at = now() - interval '25 hours'")
    async with desk.clinic.engine.begin() as connection:
        await attach_files(
            connection, desk.clinic.keyring, hospital_id=1, account_id=account,
            file_ids=[number], order_no="C1", patient_id=patient,
        )  # fmt: skip
        await desk.files.sweep(DAY)
    assert await desk.read(number) == CONTENT.data


async def test_a_swept_file_cannot_be_attached(desk: Desk) -> None:
    account, patient = await desk.clinic.someone()
    number = await desk.sent(account)
    await desk.run("update file set status = 'dropped'")
    with pytest.raises(FilesRefused):
        await desk.attach(account, patient, number)
