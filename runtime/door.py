"""One door for several processes: who listens hands the connections round, to each in turn.

With a listening socket each, Linux deals connections out by a hash: sixteen are rarely eight and
eight, and the patients of whoever has eleven wait longer. Node's cluster module hands round too.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

AGAIN = 0.01  # seconds, where nothing can be accepted or nobody takes


def channel() -> tuple[socket.socket, socket.socket]:
    """Its two ends: of whoever hands over, and of whoever takes."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
    return ends


async def hand_round(listener: socket.socket, takers: Sequence[socket.socket]) -> None:
    """Accept until cancelled, and pass each connection to the next that has room for it."""
    loop, turns = asyncio.get_running_loop(), itertools.cycle(takers)
    with listener:
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:  # given up by the other side, or too many files are open
                await asyncio.sleep(AGAIN)
                continue
            with connection:  # ours is closed: theirs is a copy
                while not _handed(connection, next(turns)):  # noqa: ASYNC110 (nothing tells us)
                    await asyncio.sleep(AGAIN)


def _handed(connection: socket.socket, taker: socket.socket) -> bool:
    try:
        socket.send_fds(taker, [b"."], [connection.fileno()])
    except OSError:  # its channel is full, or it is gone
        return False
    return True


class Door:
    """Where handed connections come in."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._coming = set[asyncio.Task[object]]()

    def open(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        asyncio.get_running_loop().add_reader(self._end, self._take, protocol)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()

    def _take(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        fds: list[int] = []
        with suppress(BlockingIOError):
            _, fds, _, _ = socket.recv_fds(self._end, 1, 1)
        loop = asyncio.get_running_loop()
        for fd in fds:
            connection = socket.socket(fileno=fd)
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(protocol, connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)
