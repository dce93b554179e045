"""What people send is opened in a process that can be ended and knows nothing."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api.quarantine import Answer, Job, Limits, Lost, Quarantine
from domain.file import FileKind, kind_of
from tests.support import bombs
from tests.support.documents import a_pdf
from tests.support.pictures import a_picture

PLENTY = Limits(seconds=60, cpu_seconds=60, memory=2 * 1024**3, pixels=1_000_000)


@pytest.fixture(scope="module")
def hours() -> bytes:
    """Of work, in some kilobytes: of this side it takes seconds already."""
    return bombs.of_overlays(5, 3000)


@pytest.fixture
def quarantine() -> Iterator[Quarantine]:
    made = Quarantine()
    yield made
    made.end()


def job(data: bytes, **limits: float) -> Job:
    return Job(data, kind_of(data), 100_000_000, replace(PLENTY, **limits))


def process_of(quarantine: Quarantine) -> subprocess.Popen[bytes]:
    process = quarantine._process
    assert process is not None
    return process


def working_in(quarantine: Quarantine) -> int:
    """The fork that waits for a file or works on one."""
    parent = process_of(quarantine).pid
    children = Path(f"/proc/{parent}/task/{parent}/children")
    while not (found := children.read_text().split()):
        time.sleep(0.01)
    return int(found[0])


def test_one_file_after_the_other_is_opened(quarantine: Quarantine) -> None:
    picture = quarantine.open(job(a_picture()))
    assert (picture.outcome, picture.kind, picture.width) == ("made", "image/jpeg", 64)
    assert [part[:3] for part in picture.parts] == [b"\xff\xd8\xff"] * 2
    process = process_of(quarantine)
    document = quarantine.open(job(a_pdf()))
    assert (document.outcome, document.kind) == ("made", FileKind.PDF)
    assert quarantine.open(job(a_picture()[:-200])).word == "broken_file"
    assert process_of(quarantine) is process, "a file that is refused costs no start"


def test_work_ends_when_its_time_is_over(quarantine: Quarantine, hours: bytes) -> None:
    quarantine.open(job(a_picture()))
    for limits, outcome in (
        ({"seconds": 0.5}, "out_of_time"),
        ({"cpu_seconds": 0.5}, "out_of_cpu"),
    ):
        assert quarantine.open(job(hours, **limits)).outcome == outcome
    assert quarantine.open(job(a_picture())).outcome == "made", "and the next one is not touched"


def test_work_ends_when_it_takes_too_much(quarantine: Quarantine) -> None:
    large = a_picture("PNG", (6000, 6000))
    everything = {"pixels": 10**9}
    assert quarantine.open(job(large, **everything, memory=300 * 1024**2)).outcome == "made"
    starved = quarantine.open(job(large, **everything, memory=150 * 1024**2))
    assert (starved.outcome, starved.word) == ("refused", "broken_file")
    assert quarantine.open(job(large)).outcome == "too_large_here"


def test_whoever_breaks_out_is_ended_all_the_same(
    quarantine: Quarantine, hours: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine.open(job(a_picture()))
    monkeypatch.setattr("api.quarantine.SPARE", -59.0)  # the limits inside as if they were gone
    with pytest.raises(Lost):
        quarantine.open(job(hours))
    monkeypatch.undo()
    assert quarantine.open(job(a_picture())).outcome == "made"


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_dies_takes_nothing_along(
    quarantine: Quarantine, hours: bytes, sent: signal.Signals
) -> None:
    quarantine.open(job(a_picture()))
    answers: list[Answer] = []
    working = threading.Thread(target=lambda: answers.append(quarantine.open(job(hours))))
    working.start()
    time.sleep(0.5)
    os.kill(working_in(quarantine), sent)
    working.join()
    assert [answer.outcome for answer in answers] == ["died"]
    assert quarantine.open(job(a_picture())).outcome == "made"


def test_one_that_was_ended_while_idle_starts_again(quarantine: Quarantine) -> None:
    quarantine.open(job(a_picture()))
    quarantine.end()
    process_of(quarantine).wait()
    assert quarantine.open(job(a_picture())).outcome == "made"


def test_it_knows_nothing_and_dies_first(
    quarantine: Quarantine, hours: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "a-secret")
    quarantine.open(job(a_picture()))
    working = threading.Thread(target=quarantine.open, args=(job(hours, seconds=2),))
    working.start()
    time.sleep(0.5)
    fork = Path(f"/proc/{working_in(quarantine)}")
    assert b"a-secret" not in (fork / "environ").read_bytes()
    assert (fork / "oom_score_adj").read_text().strip() == "1000"
    assert not (fork / "fd" / "0").exists(), "there the next one's file will come"
    working.join()


def test_it_ends_with_us(quarantine: Quarantine) -> None:
    """Whatever becomes of us, its standard input is closed then."""
    quarantine.open(job(a_picture()))
    process = process_of(quarantine)
    fork = working_in(quarantine)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 0
    assert not Path(f"/proc/{fork}").exists()
