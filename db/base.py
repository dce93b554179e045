"""The ground every row stands on."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

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
