"""Open streams that cost next to nothing, and what each of them heard."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

from cli.bench.load import request

AT_ONCE = 50  # that are being opened


@dataclass
class Heard:
    """What one stream was told: message numbers and when they came."""

    seqs: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # time.perf_counter()

    def faults(self, sent: int) -> tuple[int, int, int]:
        """Lost, twice, out of order: of messages 1 to `sent`."""
        lost = len(set(range(1, sent + 1)) - set(self.seqs))
        twice = len(self.seqs) - len(set(self.seqs))
        pairs = zip(self.seqs, self.seqs[1:], strict=False)
        disorder = sum(later < earlier for earlier, later in pairs)
        return lost, twice, disorder


class Listener(asyncio.Protocol):
    """One GET of a stream. `open` is set by its first byte of content, or by its end."""

    def __init__(self, ask: bytes) -> None:
        self.heard = Heard()
        self.open = asyncio.Event()
        self.ended = False
        self._ask = ask
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._ask)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            if b"event: status" in block:
                self.open.set()
            at = block.find(b"event: message\ndata: ")
            if at >= 0:
                line = block[at:].split(b"\n")[1].removeprefix(b"data: ")
                self.heard.seqs.append(orjson.loads(line)["seq"])
                self.heard.at.append(now)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self.open.set()

    def close(self) -> None:
        self._transport.abort()


async def open_streams(host: str, port: int, asks: Sequence[tuple[int, str]]) -> list[Listener]:
    """Streams of consultations (id and token). Raises OSError when nobody listens."""
    loop = asyncio.get_running_loop()
    turn = asyncio.Semaphore(AT_ONCE)

    async def open_one(talk: int, token: str) -> Listener:
        path = f"/api/hospital/consultations/{talk}/events"
        ask = request("GET", f"{host}:{port}", path, token)
        async with turn:
            _, listener = await loop.create_connection(lambda: Listener(ask), host, port)
            await listener.open.wait()
        return listener

    return list(await asyncio.gather(*(open_one(talk, token) for talk, token in asks)))
