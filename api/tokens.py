"""Access tokens: short-lived JWTs that carry ids and roles, signed under the keyring."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from api.problems import Problem
from db.keyring import Keyring, UnknownKey
from domain.access import Caller, Role

ALGORITHM = "HS256"
PURPOSE = "access-token"
KNOWN = 20_000  # tokens kept as verified, about 20 MB


@dataclass(frozen=True)
class AccessTokens:
    keyring: Keyring
    valid: timedelta
    _known: dict[str, tuple[float, Caller]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def issue(self, caller: Caller) -> str:
        now = datetime.now(UTC)
        claims = {**claims_of(caller), "iat": now, "exp": now + self.valid}
        key_id = self.keyring.current
        key = self.keyring.derived(PURPOSE, key_id)
        return jwt.encode(claims, key, ALGORITHM, headers={"kid": key_id})

    def read(self, token: str) -> Caller:
        """Raises Problem `token_expired` or `not_authenticated`.

        A token that was verified once is known until it expires: a patient's next request need
        not be verified again.
        """
        expires, caller = self._known.get(token, (0.0, None))
        if caller is None or expires <= time.time():
            expires, caller = self._verified(token)
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[token] = expires, caller
        return caller

    def _verified(self, token: str) -> tuple[float, Caller]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid", self.keyring.current)
            claims = jwt.decode(
                token,
                self.keyring.derived(PURPOSE, key_id),
                [ALGORITHM],
                options={"require": ["exp", "sub", "sid", "hid"]},
            )
            return claims["exp"], caller_of(claims)
        except jwt.ExpiredSignatureError:
            raise Problem("token_expired") from None
        except (jwt.InvalidTokenError, UnknownKey, ValueError, KeyError):
            raise Problem("not_authenticated") from None


def claims_of(caller: Caller) -> dict[str, Any]:
    return {
        "sub": str(caller.account_id),
        "sid": caller.session_id,
        "hid": caller.hospital_id,
        "roles": sorted(caller.roles),
        "doc": caller.doctor_id,
    }


def caller_of(claims: dict[str, Any]) -> Caller:
    """Raises KeyError or ValueError."""
    return Caller(
        account_id=int(claims["sub"]),
        session_id=claims["sid"],
        hospital_id=claims["hid"],
        roles=frozenset(Role(role) for role in claims["roles"]),
        doctor_id=claims["doc"],
    )
