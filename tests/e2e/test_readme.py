"""README's tour, as a reader pastes it into a shell."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import DEFAULT_CONFIG
from tests.support.house import BASE, ROOT, House

pytestmark = pytest.mark.second_tier

TOUR = re.compile(r"^<!-- tour -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ITS_API = "API=http://127.0.0.1:8000/api/hospital\n"


@pytest.fixture
def house() -> Iterator[House]:
    """As `./hospital up` makes it: nobody else's slots, the configuration as shipped."""
    with tempfile.TemporaryDirectory(prefix="hospital-tour-") as directory:
        house = House(Path(directory) / "house", more={"HOSPITAL_CONFIG": str(DEFAULT_CONFIG)})
        try:
            house.open()
            yield house
        finally:
            print(house.all_said())
            house.close()


def tour() -> str:
    (found,) = TOUR.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return str(found)


def test_the_tour_goes_as_it_is_told(house: House, tmp_path: Path) -> None:
    assert tour().count(ITS_API) == 1
    script = tour().replace(ITS_API, f"API={house.url}{BASE}\n")
    done = subprocess.run(
        ["bash", "-eu"],
        input=script,
        cwd=tmp_path,
        env=os.environ | {"no_proxy": "*"},  # curl would ask a proxy for loopback too
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    said = done.stdout
    assert (done.returncode, done.stderr) == (0, ""), said + done.stderr
    for expected in (
        r"^order A[0-9A-Z]+: pending, pay by \d{4}-\d\d-\d\dT",
        r"^【示例互联网医院】",  # by SMS
        r"^cancelled$",
        r"'status': 'succeeded'",  # the refund
        r'"event": "paid"',  # in the timeline
        r'"code": "not_allowed"',  # a refusal,
        r'"detail": "[A-Za-z ,;:.\']+"',  # in English
        r'"content":\s*"血压量过吗\?"',
        r"^completed$",
        r"^规律作息$",
    ):
        assert re.search(expected, said, re.MULTILINE), f"{expected} is not in:\n{said}"
    sms = next(line for line in said.splitlines() if line.startswith("【"))
    assert not re.search("内科|外科|儿科|示例医生", sms)
