"""Clients that cost next to nothing, because they share the cores with what they measure.

Requests are bytes made beforehand; each client is one connection that stays open and asks again as
soon as it is answered.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from httptools import HttpParserError, HttpResponseParser

LAST_ANSWERS = 30.0  # seconds after the burst's time for what is under way

# What is wrong with an answer, in a word; None for what was expected.
Judge = Callable[[int, bytes], str | None]


@dataclass
class Outcome:
    """What a burst came to. Latencies are seconds, in the sequence of the answers."""

    began: float = 0.0  # time.perf_counter()
    seconds: float = 0.0
    generator: float = 0.0  # seconds of CPU that the clients themselves took
    latencies: list[float] = field(default_factory=list)  # of expected answers
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def answers(self) -> int:
        return len(self.latencies) + self.errors.total()


def request(
    method: str, host: str, path: str, token: str | None = None, body: bytes = b""
) -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if token:
        head.append(f"Authorization: Bearer {token}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


async def burst(
    host: str,
    port: int,
    requests: Sequence[bytes],
    *,
    clients: int,
    seconds: float,
    judge: Judge,
) -> Outcome:
    """Send all requests by so many clients, or as many as the time allows.

    Raises OSError when nobody listens. A connection that breaks is an error of its own and its
    client gives up; answers that never come are errors too.
    """
    loop = asyncio.get_running_loop()
    run = _Run(iter(requests), judge, Outcome())
    connections: list[_Client] = []
    for _ in range(min(clients, len(requests))):
        _, client = await loop.create_connection(lambda: _Client(run), host, port)
        connections.append(client)
    cpu = time.process_time()
    run.outcome.began = time.perf_counter()
    run.ends = run.outcome.began + seconds
    for client in connections:
        client.ask()
    try:
        async with asyncio.timeout(seconds + LAST_ANSWERS):
            await asyncio.gather(*(client.done for client in connections))
    except TimeoutError:
        pending = sum(not client.answered for client in connections)
        run.outcome.errors["no_answer"] += pending
    run.outcome.seconds = time.perf_counter() - run.outcome.began
    run.outcome.generator = time.process_time() - cpu
    for client in connections:
        client.close()
    return run.outcome


@dataclass
class _Run:
    requests: Iterator[bytes]
    judge: Judge
    outcome: Outcome
    ends: float = 0.0


class _Client(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self.run = run
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered = True
        self._parser = HttpResponseParser(self)
        self._body = b""
        self._sent = 0.0
        self._transport: asyncio.Transport

    def ask(self) -> None:
        now = time.perf_counter()
        wanted = next(self.run.requests, None) if now < self.run.ends else None
        if wanted is None:
            self._finish()
            return
        self.answered = False
        self._body = b""
        self._sent = now
        self._transport.write(wanted)

    def close(self) -> None:
        self._finish()
        self._transport.close()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    # What asyncio and the parser call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        latency = time.perf_counter() - self._sent
        self.answered = True
        wrong = self.run.judge(self._parser.get_status_code(), self._body)
        if wrong is None:
            self.run.outcome.latencies.append(latency)
        else:
            self.run.outcome.errors[wrong] += 1
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answered:
            self.answered = True
            self.run.outcome.errors["connection_lost"] += 1
        self._finish()
