"""Video rooms of orders of any kind, who may sit in them, and who does."""

from db.video.rooms import Room, Seat, close_room, load_room, open_room, take_seat
from db.video.rows import VideoRoomRow, VideoSeatRow
from db.video.watching import (
    Watched,
    record_destroyed,
    record_presence,
    rooms_to_watch,
    was_there,
)

__all__ = [
    "Room",
    "Seat",
    "VideoRoomRow",
    "VideoSeatRow",
    "Watched",
    "close_room",
    "load_room",
    "open_room",
    "record_destroyed",
    "record_presence",
    "rooms_to_watch",
    "take_seat",
    "was_there",
]
