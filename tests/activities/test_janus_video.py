"""Rooms of the real Janus, and what becomes of one that is away, slow or odd."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from activities.gateways.janus_video import JanusVideo
from activities.gateways.video import NoSuchRoom, VideoUnavailable
from domain.video import LARGEST_NUMBER, new_room_number
from runtime.embedded_janus import EmbeddedJanus
from tests.support.peers import Peer, Refused
from tests.support.video import running_janus

pytestmark = pytest.mark.anyio

UNAUTHORIZED = 433


@pytest.fixture(scope="module")
def janus() -> Iterator[EmbeddedJanus]:
    with running_janus() as janus:
        yield janus


@pytest.fixture
async def video(janus: EmbeddedJanus) -> AsyncIterator[JanusVideo]:
    video = a_gateway(janus)
    yield video
    await video.aclose()


def a_gateway(janus: EmbeddedJanus, **other: str) -> JanusVideo:
    told = {**janus.environ, **other}
    return JanusVideo(
        told["HOSPITAL_JANUS_URL"],
        told["HOSPITAL_JANUS_ADMIN_SECRET"],
        told["HOSPITAL_JANUS_ADMIN_KEY"],
    )


def seat(janus: EmbeddedJanus, room: int, token: str, display: str = "seat-1") -> dict[str, Any]:
    server = janus.environ["HOSPITAL_JANUS_PUBLIC_URL"]
    return {"server": server, "room": room, "token": token, "display": display}


async def test_a_room_is_made_once_and_lets_in_who_has_a_token(
    janus: EmbeddedJanus, video: JanusVideo
) -> None:
    room = new_room_number()
    for _ in range(2):
        await video.ensure(room, "secret", ["a"])
    await video.allow(room, "secret", "b")
    async with (
        Peer(seat(janus, room, "a", "seat-a")) as one,
        Peer(seat(janus, room, "b", "seat-b")) as other,
    ):
        await one.join()
        assert await video.participants(room) == {"seat-a"}
        await other.join()
        assert await video.participants(room) == {"seat-a", "seat-b"}


@pytest.mark.parametrize("token", ["c", "", None])
async def test_a_stranger_is_refused(
    janus: EmbeddedJanus, video: JanusVideo, token: str | None
) -> None:
    room = new_room_number()
    await video.ensure(room, "secret", ["a"])
    session = seat(janus, room, "c")
    session["token"] = token
    async with Peer(session) as stranger:
        with pytest.raises(Refused):
            await stranger.join()
    assert await video.participants(room) == frozenset()


async def test_the_largest_number_is_a_room_too(video: JanusVideo) -> None:
    await video.ensure(LARGEST_NUMBER, "secret", ["a"])
    assert await video.participants(LARGEST_NUMBER) == frozenset()
    await video.destroy(LARGEST_NUMBER, "secret")


async def test_many_who_ask_at_once_make_one_room_with_everybody(
    janus: EmbeddedJanus, video: JanusVideo
) -> None:
    room, tokens = new_room_number(), [f"t{n}" for n in range(8)]
    await asyncio.gather(*(video.ensure(room, "secret", [token]) for token in tokens))
    for token in tokens:
        async with Peer(seat(janus, room, token)) as peer:
            await peer.join()


async def test_a_destroyed_room_is_gone_and_destroying_it_again_is_nothing(
    video: JanusVideo,
) -> None:
    room = new_room_number()
    await video.ensure(room, "secret", ["a"])
    for _ in range(2):
        await video.destroy(room, "secret")
    with pytest.raises(NoSuchRoom):
        await video.participants(room)
    with pytest.raises(NoSuchRoom):
        await video.allow(room, "secret", "b")


async def test_who_is_kicked_is_out_and_may_come_back(
    janus: EmbeddedJanus, video: JanusVideo
) -> None:
    room = new_room_number()
    await video.kick(room, "secret", "seat-1")  # no such room: nobody is in it
    await video.ensure(room, "secret", ["a"])
    async with Peer(seat(janus, room, "a")) as peer:
        await peer.join()
        await video.kick(room, "secret", "seat-2")
        assert await video.participants(room) == {"seat-1"}
        for _ in range(2):
            await video.kick(room, "secret", "seat-1")
        assert await video.participants(room) == frozenset()
    async with Peer(seat(janus, room, "a")) as peer:
        await peer.join()


async def test_without_tokens_no_room_is_made(video: JanusVideo) -> None:
    room = new_room_number()
    with pytest.raises(ValueError, match="everybody"):
        await video.ensure(room, "secret", [])
    with pytest.raises(NoSuchRoom):
        await video.participants(room)


async def test_a_client_cannot_make_a_room_nor_change_one(
    janus: EmbeddedJanus, video: JanusVideo
) -> None:
    room = new_room_number()
    await video.ensure(room, "secret", ["a"])
    async with Peer(seat(janus, room, "a")) as peer:
        handle = await peer.attach()
        for body in (
            {"request": "create", "room": new_room_number()},
            {"request": "destroy", "room": room},
            {"request": "destroy", "room": room, "secret": "guess"},
            {"request": "allowed", "action": "add", "room": room, "allowed": ["z"]},
        ):
            with pytest.raises(Refused):
                await peer._plugin(handle, body)
    assert await video.participants(room) == frozenset()


@pytest.mark.parametrize(
    ("name", "code"),
    [("HOSPITAL_JANUS_ADMIN_SECRET", "janus:403"), ("HOSPITAL_JANUS_ADMIN_KEY", "janus:433")],
)
async def test_wrong_secrets_are_told_by_a_number_alone(
    janus: EmbeddedJanus, name: str, code: str
) -> None:
    video = a_gateway(janus, **{name: "mistaken"})
    with pytest.raises(VideoUnavailable) as refused:
        await video.ensure(new_room_number(), "secret", ["a"])
    await video.aclose()
    assert refused.value.code == code
    assert str(refused.value) == code


async def test_a_restarted_janus_gets_its_room_again() -> None:
    with running_janus() as janus:
        video, room = a_gateway(janus), new_room_number()
        await video.ensure(room, "secret", ["a"])
        janus.kill()
        with pytest.raises(VideoUnavailable) as away:
            await video.ensure(room, "secret", ["a"])
        assert away.value.code == "janus:away"
        janus.start()
        with pytest.raises(NoSuchRoom):
            await video.participants(room)
        await video.ensure(room, "secret", ["a"])
        async with Peer(seat(janus, room, "a")) as peer:
            await peer.join()
        await video.aclose()


def test_its_configuration_is_for_our_eyes_and_its_log_has_no_secret(tmp_path: Path) -> None:
    with running_janus():
        pass  # told or skipped when it is missing
    program = EmbeddedJanus.program()
    assert program is not None
    janus = EmbeddedJanus.prepare(tmp_path / "janus", program)
    again = EmbeddedJanus.prepare(tmp_path / "janus", program)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "janus").iterdir()} == {0o600}
    secret = again.environ["HOSPITAL_JANUS_ADMIN_SECRET"]
    assert secret != janus.environ["HOSPITAL_JANUS_ADMIN_SECRET"]
    assert secret not in repr(again)
    assert secret not in " ".join(again.command.argv)


# One that is not itself


@asynccontextmanager
async def odd_janus(answer: bytes | None) -> AsyncIterator[JanusVideo]:
    """A server that answers each request with this, or never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if answer is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n"
            writer.write(head.encode() + answer)
            await writer.drain()
        else:
            await reader.read()  # until the other side gives up
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    video = JanusVideo(f"http://127.0.0.1:{port}/admin", "s", "k", patience=0.2)
    yield video
    await video.aclose()
    server.close()


async def test_a_slow_janus_is_an_absent_one() -> None:
    async with odd_janus(None) as video:
        with pytest.raises(VideoUnavailable, match="janus:away"):
            await video.participants(1)


ODD: list[Any] = [
    "", [], {}, {"janus": "success"}, {"janus": "success", "response": []}, {"janus": "error"},
    {"janus": "success", "response": {"error_code": "many"}},
    {"janus": "success", "response": {"participants": None}},
    {"janus": "success", "response": {"participants": [{"display": "seat-1"}]}},
]  # fmt: skip


@pytest.mark.parametrize("answer", ODD, ids=str)
async def test_an_answer_that_cannot_be_understood_is_none(answer: Any) -> None:
    async with odd_janus(json.dumps(answer).encode()) as video:
        with pytest.raises(VideoUnavailable, match="janus:malformed"):
            await video.participants(1)
