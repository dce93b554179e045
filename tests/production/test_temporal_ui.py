"""Every query of docs/temporal-ui.md is one that a real server takes."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.embedded_temporal import EmbeddedTemporal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "temporal-ui.md"
BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
QUERIES = [line for block in BLOCKS for line in block.splitlines()]


@pytest.fixture(scope="module")
def temporal() -> Iterator[EmbeddedTemporal]:
    with EmbeddedTemporal.start() as server:
        yield server


def count(temporal: EmbeddedTemporal, query: str) -> subprocess.CompletedProcess[str]:
    binary = temporal.command.argv[0]
    command = [binary, "workflow", "count", "--address", temporal.address, "--query", query]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_page_is_taken(temporal: EmbeddedTemporal, query: str) -> None:
    done = count(temporal, query)
    assert done.returncode == 0, done.stderr


def test_what_the_page_says_is_refused_is_refused(temporal: EmbeddedTemporal) -> None:
    for query in ('OrderStatus = "paid" ORDER BY DueAt', "GROUP BY WaitingFor"):
        assert "operation is not supported" in count(temporal, query).stderr
    assert count(temporal, "GROUP BY ExecutionStatus").returncode == 0
