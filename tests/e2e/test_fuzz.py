"""Every route against its own OpenAPI document, with what no client should send."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.house import BASE, House
from tests.support.visitors import log_in

pytestmark = pytest.mark.second_tier

CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
)


@pytest.mark.parametrize("role", ["patient", "doctor", "operator"])
def test_no_route_breaks_its_own_contract(house: House, role: str) -> None:
    token = log_in(house, role).token
    found = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "run", f"{house.url}{BASE}/openapi.json"),
            *("--checks", CHECKS, "--max-examples", "12", "--generation-deterministic"),
            *("--phases", "examples,coverage,fuzzing", "--no-color"),
            *("--header", f"Authorization: Bearer {token}"),
            *("--exclude-path-regex", "/dev/|/auth/|/events$"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-6000:]
