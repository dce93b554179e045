"""Runs one API process."""

import argparse
import asyncio
import ipaddress
import resource
import socket
from contextlib import AsyncExitStack, suppress

import psycopg
import uvicorn
import uvloop
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from activities.file import Files
from api.app import create_app
from api.context import Context
from api.doorbell import Doorbell
from api.revocations import Revocations
from api.streams import Streams
from api.tokens import AccessTokens
from runtime.consents import load_consents
from runtime.door import Door
from runtime.entry import Entry, enter
from runtime.garbage import settle_garbage
from runtime.gateways import open_payments, open_sms, open_storage, open_video
from runtime.lifecycles import TemporalLifecycles
from runtime.message_texts import load_message_texts
from runtime.red_flags import load_red_flags
from runtime.temporal import connect

POOL = 8  # connections to PostgreSQL: more only queue up inside it
DIRECT = 8  # beside them, for what is one statement
FILES = 16_384  # open at a time, sockets among them
GOODBYE = 10  # seconds that requests under way get at the end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument("--door", type=int, help="a channel of whoever listens for us")


def main(args: argparse.Namespace) -> int:
    _allow_many_streams()
    return uvloop.run(_serve(args))  # uvicorn's own `loop` means nothing to a loop that runs


async def _serve(args: argparse.Namespace) -> int:
    entry = enter("api")
    door = None if args.door is None else Door(socket.socket(fileno=args.door))
    async with AsyncExitStack() as stack:
        context = await open_context(entry, stack)
        stack.callback(context.pictures.close)
        config = uvicorn.Config(
            create_app(context, loopback=_is_loopback(args.host)),
            host=args.host,
            port=args.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GOODBYE,
            http=HttpToolsProtocol,
            # Limits count by address: without this every patient behind the proxy is one.
            proxy_headers=bool(entry.settings.trusted_proxies),
            forwarded_allow_ips=list(entry.settings.trusted_proxies),
            server_header=False,
        )
        await warm(context)
        settle_garbage()
        server = Server(config, context.streams, door)
        await server.serve([] if door else None)
    return 0 if server.started else 1


class Server(uvicorn.Server):
    """Takes connections from a door, if there is one, instead of listening. Ends the streams first:
    they would outlast the goodbye, and look like requests cut off."""

    def __init__(self, config: uvicorn.Config, streams: Streams, door: Door | None) -> None:
        super().__init__(config)
        self._streams = streams
        self._door = door

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._door is not None:
            self._door.open(self._protocol)

    def _protocol(self) -> asyncio.Protocol:
        return HttpToolsProtocol(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._door is not None:
            self._door.close()
        self._streams.close()
        await super().shutdown(sockets)


async def warm(context: Context) -> None:
    """Open every connection before somebody waits for one. Without a database the API starts too,
    and says so at `/readyz`."""
    with suppress(SQLAlchemyError, psycopg.OperationalError):
        async with AsyncExitStack() as stack:
            for _ in range(POOL):
                await stack.enter_async_context(context.engine.connect())
            for _ in range(DIRECT):
                await stack.enter_async_context(context.direct.connection())


async def open_context(entry: Entry, stack: AsyncExitStack) -> Context:
    engine = entry.engine(pool_size=POOL)
    stack.push_async_callback(engine.dispose)
    direct = entry.driver_pool(size=DIRECT)
    await direct.open()
    stack.push_async_callback(direct.close)
    client = await connect(entry.settings.temporal, entry.keyring, process="api")
    lifetime = entry.config.policies.accounts.access_token
    of_links = entry.config.policies.files.link_valid  # a login that ended ends its links too
    storage = open_storage(entry.settings, stack)
    revocations = Revocations(engine, max(lifetime, of_links))
    return Context(
        settings=entry.settings,
        config=entry.config,
        engine=engine,
        direct=direct,
        keyring=entry.keyring,
        lifecycles=TemporalLifecycles(client, engine, entry.config),
        payments=open_payments(entry.settings, entry.config, stack),
        sms=open_sms(entry.settings, entry.config, stack),
        tokens=AccessTokens(entry.keyring, lifetime),
        revocations=revocations,
        doorbell=Doorbell(engine),
        metrics=entry.metrics,
        files=Files(engine, storage, entry.keyring),
        streams=Streams(engine, entry.settings.database_url, entry.keyring, revocations.ended),
        texts=load_message_texts(entry.settings.config_path),
        red_flags=load_red_flags(entry.settings.config_path),
        consents=load_consents(entry.settings.config_path),
        video=open_video(entry.settings, stack),
    )


def _allow_many_streams() -> None:
    """Each open stream is a file to the system, of which it gives 1024 unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
