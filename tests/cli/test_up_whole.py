"""The whole house: started, interrupted, killed, and started again on the same data."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from runtime.embedded_temporal import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds; a machine that runs other tests beside is slow

pytestmark = [
    pytest.mark.second_tier,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]


class House:
    """One `./hospital up` and its output."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        ports = (self.port, free_port(), free_port())
        options = ("--port", "--temporal-port", "--ui-port")
        words = [str(w) for pair in zip(options, ports, strict=True) for w in pair]
        self.output = data_dir.with_name("output.txt")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", "up", "--data-dir", data_dir, *words],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def await_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while "Ctrl-C stops everything" not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200

    def said(self) -> str:
        return self.output.read_text()

    def child(self, words: str) -> int:
        """The process id of a child by its command line."""
        return next(pid for pid, line in self.family() if words in line)

    def family(self) -> list[tuple[int, str]]:
        """Who of this house lives: its children carry its data directory, theirs or by name."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == self.process.pid:
                continue
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environ = (folder / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.data_dir) in line + environ:
                found.append((int(folder.name), line))
        return found

    def is_empty(self, patience: float = 10) -> bool:
        deadline = time.monotonic() + patience
        while self.family():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    """Every house that a test opens is ended, whatever became of the test."""
    opened: list[House] = []
    yield opened
    for house in opened:
        if house.process.poll() is None:
            house.end(signal.SIGKILL)


def needs_janus() -> None:
    """CI has it (`.ci/run`); a developer's machine may not."""
    if not shutil.which("janus") and not os.environ.get("CI"):
        pytest.skip("needs Janus (apt-get install janus)")


def open_house(houses: list[House], tmp_path: Path) -> House:
    house = House(tmp_path / "data of mine")
    houses.append(house)
    house.await_ready()
    return house


def test_ctrl_c_leaves_nothing_running_and_the_next_start_goes_on(
    houses: list[House], tmp_path: Path
) -> None:
    first = open_house(houses, tmp_path)
    assert f"http://127.0.0.1:{first.port}/api/hospital/docs" in first.said()
    assert re.search(r"patient +\+?\d+ +\S+", first.said())
    keys = (tmp_path / "data of mine" / "keyring.json").read_bytes()
    assert first.end(signal.SIGINT) == 0
    assert first.is_empty(patience=0)
    second = open_house(houses, tmp_path)
    assert (tmp_path / "data of mine" / "keyring.json").read_bytes() == keys
    assert second.end(signal.SIGTERM) == 0
    assert second.is_empty(patience=0)


@pytest.mark.parametrize("victim", ["cli worker", "cli api", "temporal server", "postgres -D"])
def test_a_killed_child_stops_everything_with_one_line(
    houses: list[House], tmp_path: Path, victim: str
) -> None:
    house = open_house(houses, tmp_path)
    os.kill(house.child(victim), signal.SIGKILL)
    assert house.process.wait(60) == 1
    told = [line for line in house.said().splitlines() if line.startswith("hospital: ")]
    assert len(told) == 1
    assert re.match(r"hospital: \S+ was killed by SIGKILL; stopping\. Log: ", told[0])
    assert house.is_empty()


def test_a_killed_house_leaves_no_orphan_and_can_be_started_again(
    houses: list[House], tmp_path: Path
) -> None:
    first = open_house(houses, tmp_path)
    first.end(signal.SIGKILL)
    second = open_house(houses, tmp_path)  # at once, while orphans may still be ending
    assert second.end(signal.SIGINT) == 0
    assert first.is_empty()


def test_janus_runs_beside_the_house_which_goes_on_without_it(
    houses: list[House], tmp_path: Path
) -> None:
    needs_janus()
    house = open_house(houses, tmp_path)
    assert re.search(r"Video +ws://127\.0\.0\.1:\d+\n", house.said())
    os.kill(house.child("janus -F"), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while "janus was killed by SIGKILL; going on without it" not in house.said():
        assert time.monotonic() < deadline, house.said()
        time.sleep(0.1)
    assert house.process.poll() is None
    secrets = re.findall(
        r'admin_(?:secret|key) = "([^"]+)"',
        "".join(f.read_text() for f in (tmp_path / "data of mine" / "janus").glob("*.jcfg")),
    )
    assert len(secrets) == 2
    logs = "".join(f.read_text() for f in (tmp_path / "data of mine" / "logs").iterdir())
    assert not [one for one in secrets if one in logs + house.said()]
    assert house.end(signal.SIGINT) == 0
    assert house.is_empty(patience=0)


def test_without_janus_the_house_says_how_to_get_video(
    houses: list[House], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    house = open_house(houses, tmp_path)
    assert "Video            none" in house.said()
    assert "apt-get install janus" in house.said()
    assert house.end(signal.SIGINT) == 0
