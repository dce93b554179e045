"""The supervisor, with tiny stand-ins for the children."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.supervisor import Child, ChildFailed, Supervisor
from runtime.child_process import Command

pytestmark = pytest.mark.anyio

FOREVER = "import time; time.sleep(600)"

# Two children in the order of their tiers; prints their ids, then waits for whatever comes.
DRIVER = """
import asyncio, sys, time
from pathlib import Path
from cli.supervisor import ChildFailed, Stopped, Supervisor
from runtime.child_process import Command

LAST_WORD = '''
import signal, sys, time
def leave(*_):
    print("leaving", time.time(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave if sys.argv[1] == "polite" else signal.SIG_IGN)
print("running", flush=True)
time.sleep(600)
'''

async def main():
    async with Supervisor(Path(sys.argv[1]), print, patience=float(sys.argv[3])) as supervisor:
        supervisor.echo = True
        command = Command((sys.executable, "-c", LAST_WORD, sys.argv[2]))
        data = await supervisor.start("data", command, 0)
        front = await supervisor.start("front", command, 1)
        print("pids", data.process.pid, front.process.pid, flush=True)
        await supervisor.watch()

try:
    asyncio.run(main())
except Stopped:
    print("stopped")
"""


def python(program: str, *words: str, nice: int = 0) -> Command:
    return Command((sys.executable, "-c", program, *words), nice=nice)


def ignore(_line: str) -> None:
    pass


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def gone(*pids: int, patience: float = 5) -> bool:
    deadline = time.monotonic() + patience
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Driver:
    """A supervisor in a process of its own, because signals are about processes."""

    def __init__(self, logs: Path, *, children: str = "polite", patience: float = 15) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(logs), children, str(patience)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.pids: list[int] = []
        running = 0
        while not (self.pids and running == 2):
            line = self.process.stdout.readline()
            assert line, "the driver ended"
            running += "| running" in line
            if line.startswith("pids"):
                self.pids = [int(word) for word in line.split()[1:]]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def rest(self) -> str:
        said, _ = self.process.communicate(timeout=20)
        return said


async def test_a_child_that_ends_is_told_in_one_line_and_the_others_are_stopped(
    tmp_path: Path,
) -> None:
    started: list[Child] = []

    async def house() -> None:
        async with Supervisor(tmp_path, ignore) as supervisor:
            started.append(await supervisor.start("database", python(FOREVER), 0))
            await supervisor.start("worker", python("print('no queue'); raise SystemExit(3)"), 1)
            await supervisor.watch()

    with pytest.raises(ChildFailed) as failed:
        await house()
    log = tmp_path / "worker.log"
    assert str(failed.value) == (f"worker ended with exit code 3: no queue; stopping. Log: {log}")
    assert log.read_text() == "no queue\n"
    assert gone(started[0].process.pid)


async def test_a_killed_child_is_told_with_its_signal(tmp_path: Path) -> None:
    async def house() -> None:
        async with Supervisor(tmp_path, ignore) as supervisor:
            worker = await supervisor.start("worker", python(FOREVER), 1)
            os.kill(worker.process.pid, signal.SIGKILL)
            await supervisor.watch()

    with pytest.raises(ChildFailed, match=r"^worker was killed by SIGKILL; stopping"):
        await house()


async def test_an_errand_that_fails_stops_everything(tmp_path: Path) -> None:
    async def house() -> None:
        async with Supervisor(tmp_path, ignore) as supervisor:
            await supervisor.errand("seed", python("print('fine')"))
            await supervisor.errand("migrate", python("raise SystemExit('no such table')"))

    with pytest.raises(ChildFailed, match=r"migrate ended with exit code 1: no such table"):
        await house()


async def test_a_child_that_dies_during_an_errand_ends_it(tmp_path: Path) -> None:
    async def house() -> None:
        async with Supervisor(tmp_path, ignore) as supervisor:
            await supervisor.start("database", python("raise SystemExit(1)"), 0)
            await supervisor.errand("migrate", python(FOREVER))

    with pytest.raises(ChildFailed, match=r"^database ended"):
        await house()


async def test_output_is_shown_with_the_childs_name_once_asked_for(tmp_path: Path) -> None:
    shown: list[str] = []
    async with Supervisor(tmp_path, shown.append) as supervisor:
        await supervisor.errand("quiet", python("print('not shown')"))
        supervisor.echo = True
        await supervisor.errand("relay", python("print('one\\ntwo', end='')"))
    assert shown == ["relay    | one", "relay    | two"]


async def test_a_nice_child_steps_back_and_pushes_nobody_aside(tmp_path: Path) -> None:
    look = "import os; print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_BATCH)"
    async with Supervisor(tmp_path, ignore) as supervisor:
        await supervisor.errand("nice", python(look, nice=7))
        await supervisor.errand("first", python(look))
    assert (tmp_path / "nice.log").read_text() == f"{os.nice(0) + 7} True\n"
    assert (tmp_path / "first.log").read_text() == f"{os.nice(0)} False\n"


async def test_a_log_that_grew_too_long_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_bytes(b"x" * (11 * 2**20))
    async with Supervisor(tmp_path, ignore) as supervisor:
        await supervisor.errand("api", python("print('fresh')"))
    assert (tmp_path / "api.log").read_text() == "fresh\n"
    assert (tmp_path / "api.log.1").stat().st_size == 11 * 2**20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_being_asked_to_stop_stops_the_front_before_the_data(
    tmp_path: Path, number: signal.Signals
) -> None:
    driver = Driver(tmp_path)
    driver.send(number)
    said = driver.rest()
    assert driver.process.returncode == 0
    assert said.splitlines()[-1] == "stopped"
    moments = [float(line.split()[-1]) for line in said.splitlines() if "leaving" in line]
    assert [line.split()[0] for line in said.splitlines() if "leaving" in line] == ["front", "data"]
    assert moments == sorted(moments)
    assert gone(*driver.pids)


def test_a_second_ctrl_c_ends_children_that_do_not_listen(tmp_path: Path) -> None:
    driver = Driver(tmp_path, children="stubborn")
    driver.send(signal.SIGINT)
    time.sleep(0.3)  # two signals at once are one
    assert all(map(alive, driver.pids))
    driver.send(signal.SIGINT)
    driver.rest()
    assert gone(*driver.pids)


def test_a_child_that_does_not_listen_is_ended_after_a_while(tmp_path: Path) -> None:
    driver = Driver(tmp_path, children="stubborn", patience=0.2)
    driver.send(signal.SIGTERM)
    assert "front does not end, ending it" in driver.rest()
    assert gone(*driver.pids)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    driver = Driver(tmp_path, children="stubborn")
    driver.send(signal.SIGKILL)
    driver.rest()
    assert gone(*driver.pids)


async def test_two_supervisors_one_after_the_other_leave_the_signals_as_they_were(
    tmp_path: Path,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        async with Supervisor(tmp_path, ignore) as supervisor:
            await supervisor.during(asyncio.sleep(0))
    assert signal.getsignal(signal.SIGTERM) == before


async def test_the_house_goes_on_without_a_child_that_is_not_vital(tmp_path: Path) -> None:
    said: list[str] = []
    told = asyncio.Event()

    def hear(line: str) -> None:
        said.append(line)
        told.set()

    async with Supervisor(tmp_path, hear) as supervisor:
        other = await supervisor.start("api", python(FOREVER), 1)
        end_soon = python("print('no codecs'); raise SystemExit(3)")
        await supervisor.start("janus", end_soon, 0, vital=False)
        await supervisor.during(asyncio.wait_for(told.wait(), 20))
        assert other.process.poll() is None
    assert said == [
        f"janus ended with exit code 3: no codecs; going on without it. Log: {tmp_path}/janus.log"
    ]
