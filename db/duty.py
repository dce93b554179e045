"""Who is on duty."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection


async def on_duty(
    connection: AsyncConnection,
    hospital_id: int,
    department_id: int | None,
    type: str,
    within: timedelta,
) -> list[int]:
    return []
