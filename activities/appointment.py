"""What the appointment lifecycle does to the world."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from db.appointment import (
    BookingRules,
    extend_payment,
    load_starts,
    move_order,
    record_move,
    suspended_until,
)
from domain.appointment import AppointmentMove, Booking


@dataclass(frozen=True)
class Extension:
    """An operator's new payment deadline, and the move that tells of it."""

    move: AppointmentMove
    pay_by: datetime


@dataclass(frozen=True)
class Rescheduling:
    """The slot that is wanted, and the move to write when it can be had."""

    move: AppointmentMove
    schedule_id: int


@dataclass(frozen=True)
class Rescheduled:
    """`booking` is what the order is now; None when it was refused with that code."""

    code: str
    booking: Booking | None = None


@dataclass(frozen=True)
class AppointmentActivities:
    engine: AsyncEngine
    rules: BookingRules

    @activity.defn
    async def record_appointment(self, move: AppointmentMove) -> str | None:
        """Row, freed source, suspension and timeline in one commit; a repeat changes nothing. Or
        why it is not so, and nothing."""
        async with self.engine.begin() as connection:
            return await record_move(connection, move, self.rules)

    @activity.defn
    async def record_appointment_extension(self, extension: Extension) -> None:
        async with self.engine.begin() as connection:
            await extend_payment(connection, extension.move.order_no, extension.pay_by)
            await record_move(connection, extension.move, self.rules)

    @activity.defn
    async def record_reschedule(self, wanted: Rescheduling) -> Rescheduled:
        """The new source and the old one in one commit, or a refusal and nothing."""
        order_no = wanted.move.order_no
        async with self.engine.begin() as connection:
            code = await move_order(connection, wanted.move, wanted.schedule_id, self.rules)
            if code != "moved":
                return Rescheduled(code)
            starts = await load_starts(connection, [order_no], self.rules.zone)
        return Rescheduled(code, starts[order_no].booking)

    @activity.defn
    async def find_suspension(self, order_no: str) -> datetime | None:
        """Until when this no-show suspends the person, if it does."""
        async with self.engine.connect() as connection:
            return await suspended_until(connection, order_no)
