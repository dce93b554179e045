"""Query parameters that every list takes, and values that fit where they are kept."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Depends, Query
from pydantic import Field

from api.schemas.base import NO_TRUTH

BIGINT = 2**63 - 1


Id = Annotated[int, Field(ge=-BIGINT, le=BIGINT), NO_TRUTH]
Day = Annotated[date, Field(ge=date(1900, 1, 1), le=date(2999, 12, 31))]


@dataclass(frozen=True)
class Paging:
    page: int
    size: int


# `async`: FastAPI sends other dependencies through a thread, which costs more than a query.
async def get_paging(
    page: Annotated[int, Query(ge=1, le=1_000_000, description="From 1.")] = 1,
    size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Paging:
    return Paging(page, size)


InPages = Annotated[Paging, Depends(get_paging)]
