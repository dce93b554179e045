"""What a client needs to join a video room."""

import datetime as dt
from typing import Annotated

from pydantic import Field

from api.schemas.base import Schema


class IceServer(Schema):
    """As `RTCPeerConnection` takes it."""

    urls: list[str]
    username: str | None = None
    credential: Annotated[str | None, Field(repr=False)] = None


class VideoSession(Schema):
    """`docs/video.md` tells what a client does with it."""

    server: Annotated[str, Field(description="Janus' WebSocket address (`janus-protocol`).")]
    room: Annotated[int, Field(description="Of the plugin `janus.plugin.videoroom`.")]
    token: Annotated[
        str, Field(description="Lets this account, and nobody else, into the room.", repr=False)
    ]
    display: Annotated[
        str,
        Field(description="To join with: under another nobody is seen to have come. Not a name."),
    ]
    ice_servers: list[IceServer]
    expires_at: Annotated[
        dt.datetime, Field(description="Ask again before joining after this; nobody is cut off.")
    ]
