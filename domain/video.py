"""Video rooms: the random parts, and credentials for servers that relay media (TURN)."""

import base64
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Longer than any call with its extensions; a client asks again before it joins once more.
SESSION_LIVES = timedelta(hours=4)
LARGEST_NUMBER = 2**53 - 1  # what JavaScript can count to


@dataclass(frozen=True)
class IceServer:
    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


def new_room_number() -> int:
    return 1 + secrets.randbelow(LARGEST_NUMBER)


def new_room_secret() -> str:
    return secrets.token_urlsafe(24)


def new_token() -> str:
    return secrets.token_urlsafe(24)


def new_display() -> str:
    """How a seat is called in its room: the others read it, so that it says nothing of anybody."""
    return f"seat-{secrets.token_hex(8)}"


def turn_credentials(secret: str, user: str, expires_at: datetime) -> tuple[str, str]:
    """Username and credential that a TURN server checks by a shared secret alone (coturn's
    `use-auth-secret`): the username says until when, the credential is its HMAC-SHA1."""
    username = f"{int(expires_at.timestamp())}:{user}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return username, base64.b64encode(digest).decode()


def ice_servers(
    stun: Sequence[str], turn: Sequence[str], secret: str, user: str, expires_at: datetime
) -> tuple[IceServer, ...]:
    """What a client gives its peer connection. Relays are for whom no direct way is open."""
    servers = []
    if stun:
        servers.append(IceServer(tuple(stun)))
    if turn:
        servers.append(IceServer(tuple(turn), *turn_credentials(secret, user, expires_at)))
    return tuple(servers)
