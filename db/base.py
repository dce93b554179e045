"""The ground every row stands on."""

import asyncio
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, cast

import psycopg
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import (
    BigInteger,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    Numeric,
    Text,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Fields = dict[str, Any]
Driver = psycopg.AsyncConnection[Any]
DriverPool = AsyncConnectionPool[Driver]
LOOK = 1.0  # seconds between looks whether connections are still there
WAIT = 3.0  # seconds for a connection, before whoever asks is told to come again


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        int: BigInteger,
        str: Text,
        bytes: LargeBinary,
        Decimal: Numeric(12, 2),
        datetime: DateTime(timezone=True),
        Fields: JSONB,
    }


class Numbered:
    """A row with a number of its own, given by PostgreSQL."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)


async def local_today(connection: AsyncConnection) -> date:
    """The hospital's calendar day: connections are set to its time zone."""
    return (await connection.execute(select(func.current_date()))).scalar_one()


def engine_for(
    database_url: str, *, pool_size: int = 10, time_zone: str = "Asia/Shanghai"
) -> AsyncEngine:
    """An engine for a libpq URL (`postgresql://…`). The pool is all an entry point may hold.

    Instants come back with the offset of `time_zone`, the hospital's.
    """
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,  # an exception text holds no value of a row
        pool_pre_ping=False,  # a lost connection shows in the call itself, which answers 503
        connect_args={"connect_timeout": 5, "options": f"-c timezone={time_zone}"},
    )


def driver_pool_for(
    database_url: str,
    *,
    size: int,
    least: int = 0,
    time_zone: str = "Asia/Shanghai",
    wait: float = WAIT,
) -> DriverPool:
    """Connections without SQLAlchemy, on which each statement is its own transaction. Not open yet.

    For what is asked so often that 0.3 ms of CPU a statement count (decision 23). `least` of them
    are kept open. Raises psycopg.OperationalError while PostgreSQL is away: at once on a connection
    that breaks, after `wait` seconds where none can be made.
    """
    return AsyncConnectionPool(
        database_url,
        connection_class=psycopg.AsyncConnection,
        kwargs={
            "autocommit": True,
            "connect_timeout": 5,
            "options": f"-c timezone={time_zone}",
        },
        min_size=least,
        max_size=size,
        timeout=wait,
        # Gives up soon, and begins again with whoever asks next: the pauses between attempts
        # double, and nobody waits for minutes after PostgreSQL is back.
        reconnect_timeout=wait,
        open=False,
    )


async def look_after(pool: DriverPool, every: float = LOOK) -> None:
    """Let go of what broke while nobody asked, so that PostgreSQL may go and come back."""
    while True:
        await asyncio.sleep(every)
        # The pool would take our own end for a broken connection, and go on.
        await asyncio.shield(pool.check())


async def driver_of(connection: AsyncConnection) -> Driver:
    """What lies beneath, in the same transaction."""
    return cast(Driver, (await connection.get_raw_connection()).driver_connection)
