"""Two people see and hear each other through the real Janus, and what the house notices of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.gateways.janus_video import JanusVideo
from activities.gateways.video import NoSuchRoom, VideoUnavailable
from api.context import Context
from api.problems import Problem
from api.video import video_session
from db.keyring import Keyring
from db.video import close_room
from runtime.embedded_janus import EmbeddedJanus
from runtime.settings import VideoSettings
from tests.support.api import close_context, make_context
from tests.support.peers import Peer, Refused
from tests.support.video import running_janus
from workers.video import VideoWatcher

pytestmark = [pytest.mark.anyio, pytest.mark.second_tier]

ORDER = "C261123ABCDEFGHJKMN"


@pytest.fixture(scope="module")
def janus() -> Iterator[EmbeddedJanus]:
    with running_janus() as janus:
        yield janus


@dataclass
class Practice:
    context: Context
    video: JanusVideo
    watcher: VideoWatcher

    async def peer(self, account_id: int, role: str) -> Peer:
        session = await video_session(
            self.context, order_no=ORDER, account_id=account_id, role=role
        )
        return Peer(session.model_dump(mode="json", by_alias=True))

    async def told(self) -> list[tuple[str, bool]]:
        await self.watcher.look()
        async with self.context.engine.connect() as connection:
            rows = await connection.execute(text("select args from outbox order by id"))
            return [(row.args["role"], row.args["present"]) for row in rows]

    async def told_so_far(self, count: int) -> list[tuple[str, bool]]:
        """Once that many were told: Janus notices a moment later that a socket is closed."""
        async with asyncio.timeout(20):
            while True:
                told = await self.told()
                if len(told) >= count:
                    return told
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        async with self.context.engine.begin() as connection:
            await close_room(connection, self.context.hospital_id, ORDER)
        await self.watcher.look()


@pytest.fixture
async def practice(
    janus: EmbeddedJanus, engine: AsyncEngine, database_url: str, keyring: Keyring
) -> AsyncIterator[Practice]:
    told = janus.environ
    settings = VideoSettings(
        url=told["HOSPITAL_JANUS_URL"],
        public_url=told["HOSPITAL_JANUS_PUBLIC_URL"],
        admin_secret=told["HOSPITAL_JANUS_ADMIN_SECRET"],
        admin_key=told["HOSPITAL_JANUS_ADMIN_KEY"],
        stun_urls=(),
        turn_urls=(),
        turn_secret="",
    )
    video = JanusVideo(settings.url, settings.admin_secret, settings.admin_key)
    made = await make_context(database_url, keyring)
    context = replace(made, settings=replace(made.settings, video=settings), video=video)
    yield Practice(context, video, VideoWatcher(engine, keyring, video, settled=timedelta(0)))
    await video.aclose()
    await close_context(made)


@asynccontextmanager
async def a_call(practice: Practice) -> AsyncIterator[tuple[Peer, Peer]]:
    """Patient and doctor, who see and hear each other."""
    async with (
        await practice.peer(7, "patient") as patient,
        await practice.peer(8, "doctor") as doctor,
    ):
        for one in (patient, doctor):
            await one.join()
        await asyncio.gather(patient.publish(), doctor.publish())
        await asyncio.gather(patient.watch(), doctor.watch())
        await asyncio.gather(patient.sees_and_hears(20), doctor.sees_and_hears(20))
        yield patient, doctor


async def test_they_see_and_hear_each_other_and_the_room_is_gone_afterwards(
    practice: Practice,
) -> None:
    async with a_call(practice) as (patient, _):
        assert sorted(await practice.told()) == [("doctor", True), ("patient", True)]
        room = patient.session["room"]
    assert sorted((await practice.told_so_far(4))[2:]) == [("doctor", False), ("patient", False)]
    await practice.close()
    with pytest.raises(NoSuchRoom):
        await practice.video.participants(room)
    with pytest.raises(Problem, match="not_allowed"):
        await practice.peer(7, "patient")


async def test_an_end_in_the_middle_of_a_call_puts_both_out(practice: Practice) -> None:
    async with a_call(practice) as (patient, doctor):
        await practice.close()
        with pytest.raises(NoSuchRoom):
            await practice.video.participants(patient.session["room"])
        with pytest.raises(Refused):
            async with Peer(doctor.session) as again:
                await again.join()


async def test_a_stranger_neither_joins_nor_watches(practice: Practice) -> None:
    async with a_call(practice) as (patient, _):
        feed = patient.own_feed
        async with Peer({**patient.session, "token": "guessed"}) as stranger:
            with pytest.raises(Refused):
                await stranger.join()
            with pytest.raises(Refused):
                await stranger.subscribe(await stranger.attach(), feed, 12345)
        assert len(await practice.told()) == 2


async def test_after_a_restart_of_janus_both_come_back(
    practice: Practice, janus: EmbeddedJanus
) -> None:
    async with a_call(practice):
        assert len(await practice.told()) == 2
        janus.kill()
        assert len(await practice.told()) == 2  # away: nobody is said to have left
        with pytest.raises(Problem, match="video_unavailable"):
            await practice.peer(7, "patient")
    janus.start()
    assert sorted((await practice.told())[2:]) == [("doctor", False), ("patient", False)]
    async with a_call(practice):
        assert sorted((await practice.told())[4:]) == [("doctor", True), ("patient", True)]


async def test_after_a_restart_old_tokens_are_good_before_anybody_asks_again(
    practice: Practice, janus: EmbeddedJanus
) -> None:
    async with await practice.peer(7, "patient") as patient:
        await patient.join()
        janus.kill()
    with pytest.raises(VideoUnavailable):
        await practice.video.participants(patient.session["room"])
    janus.start()
    await practice.watcher.look()
    async with Peer(patient.session) as again:
        await again.join()
    await practice.close()
