"""What the consultation lifecycle does to the world."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.gateways.video import NoSuchRoom, VideoGateway, VideoUnavailable
from db.consultation import (
    enter_visit,
    find_consultation_by_number,
    record_move,
)
from db.duty import on_duty
from db.keyring import Keyring
from db.video import close_room, load_room, was_there
from domain.consultation import ConsultationMove, ConsultationStatus
from domain.duty import DutyType


@dataclass(frozen=True)
class Ringing:
    """Doctors by id: those rung so far, or those to ring now."""

    order_no: str
    doctors: tuple[int, ...]


@dataclass(frozen=True)
class Expected:
    """A doctor in the video room, and since when."""

    order_no: str
    since: datetime


@dataclass(frozen=True)
class ConsultationActivities:
    engine: AsyncEngine
    keyring: Keyring
    hospital_id: int
    seen_within: timedelta  # on duty is who was seen this lately
    video: VideoGateway | None = None

    @activity.defn
    async def record_consultation(self, move: ConsultationMove) -> None:
        """Row, timeline and, at the end, the entry in the health record, in one commit; a repeat
        changes nothing."""
        async with self.engine.begin() as connection:
            news = await record_move(connection, move)
            if not news:
                return
            over = not ConsultationStatus(move.to_status).open
            if over or move.progress.switched_to is not None:  # nobody is filmed any longer
                await close_room(connection, self.hospital_id, move.order_no)
            if move.to_status == ConsultationStatus.COMPLETED:
                await self._enter_visit(connection, move.order_no)

    @activity.defn
    async def has_answered(self, order_no: str) -> bool:
        """Whether the doctor wrote, however late the news of it is."""
        async with self.engine.connect() as connection:
            order = await find_consultation_by_number(connection, self.hospital_id, order_no)
        return order is not None and order.answered_at is not None

    @activity.defn
    async def doctor_came(self, expected: Expected) -> bool:
        """Whether they were in the room, however late the news of it. Who watches the rooms may be
        away: so whether they are in it now is asked of the video server itself."""
        async with self.engine.connect() as connection:
            if await was_there(connection, expected.order_no, "doctor", expected.since):
                return True
            room = await load_room(connection, self.keyring, expected.order_no)
        if room is None or self.video is None:
            return False
        try:
            sitting = await self.video.participants(room.number)
        except (NoSuchRoom, VideoUnavailable):
            return False  # then nobody can be there
        return any(seat.role == "doctor" and seat.display in sitting for seat in room.seats)

    async def _enter_visit(self, connection: AsyncConnection, order_no: str) -> None:
        order = await find_consultation_by_number(connection, self.hospital_id, order_no)
        if order is None:
            raise LookupError(f"consultation {order_no} has no row")
        if order.patient_key is None:
            return  # the person was shredded: there is nobody whose record this could be
        key = self.keyring.unwrap(order.patient_key)
        asked = key.open(order.sealed)
        said = key.open(order.conclusion) if order.conclusion else {}
        content = {
            "type": order.type,
            "visitKind": order.visit_kind,
            "complaint": asked.get("complaint"),
            "description": asked.get("description"),
            "symptoms": asked.get("symptoms"),
            "advice": said.get("advice"),
        }
        sealed = key.seal({"diagnosis": said.get("diagnosis"), "content": content})
        await enter_visit(connection, order_no, sealed)

    @activity.defn
    async def next_to_ring(self, so_far: Ringing) -> Ringing:
        """The first doctor on duty who was not rung yet; when all were, all of them once more.
        Asked again, the same: that they were rung is written with the order's move."""
        async with self.engine.connect() as connection:
            order = await find_consultation_by_number(connection, self.hospital_id, so_far.order_no)
            if order is None:
                raise LookupError(f"consultation {so_far.order_no} has no row")
            doctors = await on_duty(
                connection,
                self.hospital_id,
                order.department_id,
                DutyType.EMERGENCY,
                self.seen_within,
                but_not=order.account_id,
            )
        fresh = [doctor for doctor in doctors if doctor not in so_far.doctors]
        return Ringing(so_far.order_no, tuple(fresh[:1] or doctors))
