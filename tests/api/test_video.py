"""What somebody is given who wants to join the video room of an order."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fastapi import Request
from pydantic import TypeAdapter

from api.context import Context
from api.problems import Problem, answer
from api.schemas.video import VideoSession
from api.video import video_session
from db.keyring import Keyring
from db.video import close_room
from domain.video import SESSION_LIVES, turn_credentials
from runtime.settings import VideoSettings
from tests.support.api import close_context, make_context
from tests.support.video import VideoInMemory

pytestmark = pytest.mark.anyio

ORDER = "C261123ABCDEFGHJKMN"
SETTINGS = VideoSettings(
    url="http://127.0.0.1:1/admin",
    public_url="wss://video.example/janus",
    admin_secret="s",
    admin_key="k",
    stun_urls=("stun:turn.example:3478",),
    turn_urls=("turn:turn.example:3478?transport=udp", "turns:turn.example:5349"),
    turn_secret="north",
)


@pytest.fixture
def video() -> VideoInMemory:
    return VideoInMemory()


@pytest.fixture
async def context(
    database_url: str, keyring: Keyring, video: VideoInMemory
) -> AsyncIterator[Context]:
    made = await make_context(database_url, keyring)
    settings = replace(made.settings, video=SETTINGS)
    yield replace(made, settings=settings, video=video)
    await close_context(made)


async def ask(context: Context, account_id: int = 7, role: str = "patient") -> VideoSession:
    return await video_session(context, order_no=ORDER, account_id=account_id, role=role)


async def test_both_are_given_one_room_and_a_token_each(
    context: Context, video: VideoInMemory
) -> None:
    patient, doctor = await ask(context), await ask(context, 8, "doctor")
    assert patient.server == doctor.server == "wss://video.example/janus"
    assert patient.room == doctor.room
    assert video.rooms[patient.room].tokens == {patient.token, doctor.token}
    assert patient.display != doctor.display
    assert patient.display.startswith("seat-")


async def test_asked_again_it_is_the_same_seat_also_after_the_server_began_anew(
    context: Context, video: VideoInMemory
) -> None:
    first = await ask(context)
    await ask(context, 8, "doctor")
    video.rooms.clear()
    again = await ask(context)
    assert (again.room, again.token, again.display) == (first.room, first.token, first.display)
    assert len(video.rooms[again.room].tokens) == 2  # the other one gets in as well


async def test_relays_take_the_credentials_until_the_session_expires(context: Context) -> None:
    session = await ask(context)
    left = session.expires_at - datetime.now(UTC)
    assert SESSION_LIVES.total_seconds() - 60 < left.total_seconds() <= 4 * 3600
    stun, turn = session.ice_servers
    assert stun.model_dump(exclude_none=True) == {"urls": ["stun:turn.example:3478"]}
    assert (turn.username, turn.credential) == turn_credentials(
        "north", session.display, session.expires_at
    )


async def test_on_the_wire_it_is_as_the_contract_says_and_hidden_in_logs(context: Context) -> None:
    session = await ask(context)
    wire = TypeAdapter(VideoSession).dump_python(session, mode="json", by_alias=True)
    assert wire.keys() == {"server", "room", "token", "display", "iceServers", "expiresAt"}
    assert session.token not in repr(session)
    assert str(session.ice_servers[1].credential) not in repr(session)


async def test_a_server_that_is_away_leaves_phone_and_text(
    context: Context, video: VideoInMemory
) -> None:
    video.away = True
    with pytest.raises(Problem) as refused:
        await ask(context)
    shown = answer(Request({"type": "http", "headers": []}), refused.value)
    assert shown.status_code == 503
    assert shown.headers["retry-after"]
    assert b'"code":"video_unavailable"' in shown.body
    assert b'"fallback":["phone","text"]' in shown.body
    video.away = False
    assert (await ask(context)).room in video.rooms


async def test_where_no_server_is_set_up_it_is_the_same(context: Context) -> None:
    without = replace(context, video=None)
    with pytest.raises(Problem) as refused:
        await ask(without)
    assert refused.value.code == "video_unavailable"
    assert refused.value.extra == {"fallback": ["phone", "text"]}


async def test_nobody_is_let_in_after_the_end(context: Context, video: VideoInMemory) -> None:
    await ask(context)
    async with context.engine.begin() as connection:
        await close_room(connection, context.hospital_id, ORDER)
    video.rooms.clear()
    with pytest.raises(Problem) as refused:
        await ask(context)
    assert refused.value.code == "not_allowed"
    assert video.rooms == {}
