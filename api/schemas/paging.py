"""Query parameters that every list takes, and values that fit where they are kept."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BeforeValidator, Field

BIGINT = 2**63 - 1


def _is_no_truth_value(value: Any) -> Any:
    """JSON's `true` would be the order, the doctor or the person with the number 1."""
    if isinstance(value, bool):
        raise ValueError("should be an integer")
    return value


Id = Annotated[int, Field(ge=-BIGINT, le=BIGINT), BeforeValidator(_is_no_truth_value)]
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
