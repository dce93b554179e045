"""Gives somebody who takes part in an order all that they need to join its video room."""

from datetime import UTC, datetime

import structlog

from activities.gateways.video import VideoUnavailable
from api.context import Context
from api.problems import Problem
from api.schemas.video import IceServer, VideoSession
from db.video import Room, Seat, open_room, take_seat
from domain.video import SESSION_LIVES, ice_servers
from runtime.settings import VideoSettings

log = structlog.get_logger(__name__)

FALLBACK = ("phone", "text")  # how the two can go on without pictures


async def video_session(
    context: Context, *, order_no: str, account_id: int, role: str, kind: str = "consultation"
) -> VideoSession:
    """The room is made just in time, and made again when the video server has forgotten it. Asked
    twice, the seat is the same. Who may is for the caller to know.

    Raises Problem: `video_unavailable`, and `not_allowed` once the room is closed.
    """
    gateway, settings = context.video, context.settings.video
    if gateway is None or settings is None:
        raise _unavailable()
    async with context.engine.begin() as connection:  # committed before anybody else is asked
        await open_room(connection, context.keyring, context.hospital_id, order_no, kind=kind)
        room = await take_seat(connection, context.keyring, order_no, account_id, role)
    if room is None:
        raise Problem("not_allowed")
    try:
        await gateway.ensure(room.number, room.secret, room.tokens)
    except VideoUnavailable as away:
        log.warning("video_unavailable", order_no=order_no, error=away.code)
        raise _unavailable() from None
    return _session(settings, room, room.seat_of(account_id))


def _session(settings: VideoSettings, room: Room, seat: Seat) -> VideoSession:
    expires_at = datetime.now(UTC) + SESSION_LIVES
    servers = ice_servers(
        settings.stun_urls, settings.turn_urls, settings.turn_secret, seat.display, expires_at
    )
    return VideoSession(
        server=settings.public_url,
        room=room.number,
        token=seat.token,
        display=seat.display,
        ice_servers=[IceServer.model_validate(one) for one in servers],
        expires_at=expires_at,
    )


def _unavailable() -> Problem:
    return Problem("video_unavailable", fallback=list(FALLBACK))
