"""The video server that comes along, without an engine: its start script, the machine's Janus."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from activities.gateways.janus_video import JanusVideo
from activities.gateways.video import VideoUnavailable
from runtime.embedded_janus import PLUGINS, TRANSPORTS
from runtime.embedded_temporal import free_port
from tests.support.peers import Peer
from tests.support.video import janus_program

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops" / "janus"
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICE: Mapping[str, Any] = COMPOSE["services"]["janus"]
DOCKERFILE = (OPS / "Dockerfile").read_text("utf-8")
START = (OPS / "start.sh").read_text("utf-8")
PORTS = range(21000, 21200)
NEEDED = {
    "HOSPITAL_JANUS_ADMIN_SECRET": "south-wind",
    "HOSPITAL_JANUS_ADMIN_KEY": "west-wind",
    "JANUS_PUBLIC_IP": "203.0.113.10",
    "JANUS_RTP_PORTS": f"{PORTS[0]}-{PORTS[-1]}",
}


def started(directory: Path, **environ: str) -> subprocess.Popen[str]:
    """By the script, as in the image; where there is no Janus, up to the moment of its start."""
    return subprocess.Popen(
        ["sh", str(OPS / "start.sh")],
        env={"PATH": os.defpath, "JANUS_CONFIG_DIR": str(directory), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def refused(directory: Path, **environ: str) -> str:
    program = started(directory, **environ)
    said, _ = program.communicate(timeout=20)
    assert program.returncode == 64, said
    assert not directory.exists()
    return said


# The image


def test_no_secret_is_in_the_image_and_it_runs_as_nobody_in_particular() -> None:
    assert re.search(r"^FROM debian:bookworm-slim$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^USER (\d{5}):\1$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^(ARG|ENV)", DOCKERFILE, re.MULTILINE)
    copied = re.findall(r"^COPY (.*) /opt/janus/$", DOCKERFILE, re.MULTILINE)
    assert copied == ["start.sh healthy.sh"]
    assert SERVICE["healthcheck"]["test"] == ["CMD", "bash", "/opt/janus/healthy.sh"]


def test_nothing_starts_without_being_asked_for_and_nothing_waits_for_it() -> None:
    assert SERVICE["profiles"] == ["video"]
    others = [one for name, one in COMPOSE["services"].items() if name != "janus"]
    assert not any("janus" in (one.get("depends_on") or {}) for one in others)


def test_it_is_told_all_that_the_script_asks_for() -> None:
    asked = set(re.findall(r"\(given ([A-Z_]+)", START))
    elsewhere = {"JANUS_LISTEN", "JANUS_ADMIN_PORT", "JANUS_WS_PORT"}  # for tests
    assert asked == SERVICE["environment"].keys() | elsewhere


def test_what_is_loaded_is_what_the_house_itself_loads() -> None:
    for names in (PLUGINS, TRANSPORTS):
        assert ",".join(f"libjanus_{name}.so" for name in names) in START


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_not_set_is_named(name: str, tmp_path: Path) -> None:
    said = refused(tmp_path / "janus", **NEEDED | {name: ""})
    assert said == f"janus: {name} is not set\n"


@pytest.mark.parametrize("name", [*NEEDED, "JANUS_TURN_PASSWORD"])
@pytest.mark.parametrize("value", ['a"; api_secret = "', "a b", "a\nb", "a\\", "$(id)"])
def test_nothing_gets_out_of_its_quotes(name: str, value: str, tmp_path: Path) -> None:
    said = refused(tmp_path / "janus", **NEEDED | {name: value})
    assert said.startswith(f"janus: {name} has other characters")
    assert value not in said


# The real one


class Running:
    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self.address = address
        self.admin_port, self.ws_port = free_port(), free_port()
        self.program = started(
            directory,
            **NEEDED | {"JANUS_PUBLIC_IP": address},
            JANUS_INTERFACES=address,
            JANUS_LISTEN="127.0.0.1",
            JANUS_ADMIN_PORT=str(self.admin_port),
            JANUS_WS_PORT=str(self.ws_port),
            JANUS_TURN_SERVER="127.0.0.1:3479",
            JANUS_TURN_USER="u",
            JANUS_TURN_PASSWORD="p",
        )

    def healthy(self) -> bool:
        done = subprocess.run(
            ["bash", str(OPS / "healthy.sh")],
            env={"PATH": os.defpath, "JANUS_ADMIN_PORT": str(self.admin_port)},
            capture_output=True,
            timeout=10,
            check=False,
        )
        return done.returncode == 0

    def video(self, **other: str) -> JanusVideo:
        secrets = {"admin_secret": "south-wind", "admin_key": "west-wind"} | other
        return JanusVideo(f"http://127.0.0.1:{self.admin_port}/admin", **secrets)


@pytest.fixture
async def janus(tmp_path: Path) -> AsyncIterator[Running]:
    janus_program()
    running = Running(tmp_path / "janus", own_address())
    try:
        deadline = time.monotonic() + 30
        while not running.healthy():
            assert running.program.poll() is None
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        yield running
    finally:
        running.program.terminate()
        said, _ = running.program.communicate(timeout=20)
    assert running.program.returncode == 0, said
    assert "wind" not in said


def own_address() -> str:
    """Where the machine would be seen from outside; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as looking:
        try:
            looking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("needs a network interface besides loopback")
        return str(looking.getsockname()[0])


@pytest.mark.second_tier
async def test_janus_takes_what_is_written_for_it(janus: Running) -> None:
    """What it cannot read it replaces by defaults: every plugin, and no secret."""
    async with httpx.AsyncClient(trust_env=False) as http:
        info = (await http.get(f"http://127.0.0.1:{janus.admin_port}/admin/info")).json()
    assert list(info["plugins"]) == ["janus.plugin.videoroom"]
    assert sorted(info["transports"]) == ["janus.transport.http", "janus.transport.websockets"]
    assert info["public-ip"] == janus.address
    assert info["turn-server"] == "127.0.0.1:3479"
    for file in janus.directory.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name
    with pytest.raises(VideoUnavailable):
        await janus.video(admin_secret="guessed").participants(1)


@pytest.mark.second_tier
async def test_two_people_see_and_hear_each_other_by_the_ports_that_are_published(
    janus: Running,
) -> None:
    video = janus.video()
    await video.ensure(4711, "room-secret", ["one", "two"])
    with pytest.raises(VideoUnavailable):
        await janus.video(admin_key="guessed").ensure(4712, "room-secret", ["one"])
    seat = {"server": f"ws://127.0.0.1:{janus.ws_port}", "room": 4711}
    async with (
        Peer({**seat, "token": "one", "display": "seat-1"}) as patient,
        Peer({**seat, "token": "two", "display": "seat-2"}) as doctor,
    ):
        for one in (patient, doctor):
            await one.join()
        await asyncio.gather(patient.publish(), doctor.publish())
        await asyncio.gather(patient.watch(), doctor.watch())
        await asyncio.gather(patient.sees_and_hears(20), doctor.sees_and_hears(20))
        offered = [one for peer in (patient, doctor) for one in peer.candidates()]
    assert {address for address, _ in offered} == {janus.address}
    assert {port in PORTS for _, port in offered} == {True}
    await video.destroy(4711, "room-secret")
    await video.aclose()


async def test_another_program_on_that_port_is_not_healthy(tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("needs bash")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = str(server.sockets[0].getsockname()[1])
        asking = await asyncio.create_subprocess_exec(
            "bash", str(OPS / "healthy.sh"), env={"PATH": os.defpath, "JANUS_ADMIN_PORT": port}
        )
        assert await asking.wait() != 0
