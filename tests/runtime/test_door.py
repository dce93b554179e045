"""One door: connections go round."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from cli.addresses import listening_socket
from runtime.background import running
from runtime.door import Door, channel, hand_round

pytestmark = pytest.mark.anyio


class Named(asyncio.Protocol):
    """Says its name to whoever comes, and whether TCP_NODELAY is set."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        theirs = transport.get_extra_info("socket")
        nodelay = bool(theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        transport.write(f"{self.name} {nodelay}\n".encode())
        transport.close()


class House:
    """Two that take, behind one door."""

    def __init__(self) -> None:
        self.ends = {name: channel() for name in "ab"}
        self.doors = {name: Door(theirs) for name, (_, theirs) in self.ends.items()}
        self.listener = listening_socket(0, "--port")
        self.port: int = self.listener.getsockname()[1]

    def open(self, names: str) -> None:
        for name in names:
            self.doors[name].open(lambda name=name: Named(name))

    async def ask(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            return (await reader.readline()).decode().strip()
        finally:
            writer.close()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    async with running(hand_round(house.listener, [ours for ours, _ in house.ends.values()])):
        yield house
        for door in house.doors.values():
            door.close()
    for ours, _ in house.ends.values():
        ours.close()
    assert house.listener.fileno() == -1  # nobody knocks in vain afterwards


async def test_each_is_handed_every_second_connection(house: House) -> None:
    house.open("ab")
    answers = await asyncio.gather(*(house.ask() for _ in range(16)))
    assert Counter(answers) == {"a True": 8, "b True": 8}


async def test_who_comes_before_it_is_open_waits(house: House) -> None:
    asking = [asyncio.create_task(house.ask()) for _ in range(4)]
    await asyncio.sleep(0)
    house.open("ab")
    assert Counter(await asyncio.gather(*asking)) == {"a True": 2, "b True": 2}


async def test_to_one_that_is_gone_nobody_is_handed(house: House) -> None:
    house.open("ab")
    house.doors.pop("a").close()
    assert {await house.ask() for _ in range(5)} == {"b True"}


async def test_where_one_takes_nothing_the_other_goes_on(house: House) -> None:
    house.open("b")
    ours, _ = house.ends["a"]
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b".")  # until its channel is full, as of one that hangs
    assert {await house.ask() for _ in range(5)} == {"b True"}
