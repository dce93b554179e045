"""Where video is, and what is said when that is wrong."""

from contextlib import AsyncExitStack

import pytest

from activities.gateways.janus_video import JanusVideo
from runtime.gateways import open_video
from runtime.settings import SettingsError, VideoSettings, read_settings

pytestmark = pytest.mark.anyio

ENOUGH = {
    "HOSPITAL_DATABASE_URL": "postgresql://nowhere/hospital",
    "HOSPITAL_KEYRING": "keyring.json",
}
JANUS = {
    **ENOUGH,
    "HOSPITAL_JANUS_URL": "http://janus:7088/admin",
    "HOSPITAL_JANUS_PUBLIC_URL": "wss://video.example/janus",
    "HOSPITAL_JANUS_ADMIN_SECRET": "south-wind",
    "HOSPITAL_JANUS_ADMIN_KEY": "west-wind",
}
TURN = {
    "HOSPITAL_STUN_URLS": "stun:turn.example:3478",
    "HOSPITAL_TURN_URLS": "turn:turn.example:3478?transport=udp, turns:turn.example:5349",
    "HOSPITAL_TURN_SECRET": "north-wind",
}


def video(**environ: str) -> VideoSettings:
    found = read_settings({**JANUS, **environ}).video
    assert found is not None
    return found


async def test_where_nothing_is_said_there_is_no_video() -> None:
    async with AsyncExitStack() as stack:
        assert read_settings(ENOUGH).video is None
        assert open_video(read_settings(ENOUGH), stack) is None
        assert read_settings({**JANUS, "HOSPITAL_JANUS_URL": ""}).video is None
        assert isinstance(open_video(read_settings(JANUS), stack), JanusVideo)


def test_relays_are_a_list_and_need_not_be_there() -> None:
    assert (video().stun_urls, video().turn_urls) == ((), ())
    found = video(**TURN)
    assert found.stun_urls == ("stun:turn.example:3478",)
    assert found.turn_urls == ("turn:turn.example:3478?transport=udp", "turns:turn.example:5349")


def test_no_secret_is_shown() -> None:
    assert "wind" not in repr(read_settings({**JANUS, **TURN}))


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"HOSPITAL_JANUS_URL": "ws://janus:8188"}, "HOSPITAL_JANUS_URL"),
        ({"HOSPITAL_JANUS_PUBLIC_URL": ""}, "HOSPITAL_JANUS_PUBLIC_URL"),
        ({"HOSPITAL_JANUS_PUBLIC_URL": "ws://video.example"}, "HOSPITAL_JANUS_PUBLIC_URL"),
        ({"HOSPITAL_JANUS_PUBLIC_URL": "https://video.example"}, "HOSPITAL_JANUS_PUBLIC_URL"),
        ({"HOSPITAL_JANUS_ADMIN_SECRET": ""}, "HOSPITAL_JANUS_ADMIN_SECRET"),
        ({"HOSPITAL_JANUS_ADMIN_KEY": ""}, "HOSPITAL_JANUS_ADMIN_KEY"),
        ({**TURN, "HOSPITAL_TURN_SECRET": ""}, "HOSPITAL_TURN_SECRET"),
        ({**TURN, "HOSPITAL_TURN_URLS": "https://turn.example"}, "HOSPITAL_TURN_URLS"),
        ({**TURN, "HOSPITAL_TURN_URLS": "stun:turn.example"}, "HOSPITAL_TURN_URLS"),
        ({"HOSPITAL_STUN_URLS": "turn.example:3478"}, "HOSPITAL_STUN_URLS"),
    ],
    ids=lambda given: given if isinstance(given, str) else None,
)
def test_what_is_wrong_is_told_by_its_name_and_without_secrets(
    environ: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as refused:
        video(**environ)
    assert "wind" not in str(refused.value)


def test_on_loopback_signalling_may_be_plain() -> None:
    assert video(HOSPITAL_JANUS_PUBLIC_URL="ws://127.0.0.1:8188").public_url.startswith("ws:")
