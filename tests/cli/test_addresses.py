"""Ports are taken before anything starts."""

import socket

import pytest

from cli.addresses import LOOPBACK, PortInUse, ensure_free, listening_socket
from cli.up import api_processes, worker_processes


def test_a_taken_port_is_told_with_the_option_to_change_it() -> None:
    with socket.create_server((LOOPBACK, 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(PortInUse, match=f"^port {port} is in use; choose another with --port"):
            ensure_free(port, "--port")


def test_a_port_that_another_house_listens_on_is_taken() -> None:
    with listening_socket(0, "--port") as theirs, pytest.raises(PortInUse):
        listening_socket(theirs.getsockname()[1], "--port")


@pytest.mark.parametrize(
    ("cores", "apis", "workers"), [(1, 1, 1), (2, 2, 1), (4, 2, 1), (8, 4, 2), (128, 16, 8)]
)
def test_processes_fit_the_cores(cores: int, apis: int, workers: int) -> None:
    assert (api_processes(cores), worker_processes(cores)) == (apis, workers)
