"""Ports of this machine: taken before anything starts, so that a taken one is told in time."""

import errno
import os
import socket
import sys
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"

_BACKLOG = 2048
_PATIENCE = 1.0  # seconds: children of an `up` that was killed a moment ago may still be ending


class PortInUse(Exception):
    """Somebody listens there, or we may not; one line for the terminal."""


def ensure_free(port: int, option: str) -> None:
    """Raise PortInUse when a server could not listen on this port of the loopback address."""
    _bind(port, option).close()


def listening_socket(port: int, option: str) -> socket.socket:
    """Raises PortInUse."""
    one = _bind(port, option)
    one.listen(_BACKLOG)
    one.setblocking(False)
    return one


def _bind(port: int, option: str) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE
    while True:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
        except OSError as refused:
            one.close()
            if refused.errno != errno.EADDRINUSE:
                raise PortInUse(f"port {port} cannot be used: {refused.strerror}") from refused
            if time.monotonic() > deadline:
                raise PortInUse(f"port {port} is in use; choose another with {option}") from None
            time.sleep(0.1)
        else:
            return one


def cores() -> int:
    """Cores that this process may use, a container's limit counted in."""
    available = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return available if quota == "max" else max(1, min(available, int(quota) // int(period)))
    except (OSError, ValueError):
        return available
