"""Passes: what lets somebody in without a header, where a browser can send none.

An `<img>` and an `EventSource` send no Authorization, so an address carries a pass: signed, bound
to one thing and to whom it was given, and short-lived. It says who; whether they may is judged
again when it is used.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt

from api.problems import Problem
from api.tokens import ALGORITHM, caller_of, claims_of
from db.keyring import Keyring, UnknownKey
from domain.access import Caller

PURPOSE = "pass"


@dataclass(frozen=True)
class Pass:
    token: str
    caller: Caller  # to whom it was given
    expires_at: datetime


@dataclass(frozen=True)
class Passes:
    keyring: Keyring

    def issue(self, caller: Caller, thing: str, valid: timedelta) -> Pass:
        """`thing` is what it opens, such as `file/12`."""
        expires_at = (datetime.now(UTC) + valid).replace(microsecond=0)
        key_id = self.keyring.current
        token = jwt.encode(
            {**claims_of(caller), "aud": thing, "exp": expires_at},
            self.keyring.derived(PURPOSE, key_id),
            ALGORITHM,
            headers={"kid": key_id},
        )
        return Pass(token, caller, expires_at)

    def read(self, token: str, thing: str) -> Pass:
        """Raises Problem `link_expired` or `bad_signature`."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid", self.keyring.current)
            claims = jwt.decode(
                token,
                self.keyring.derived(PURPOSE, key_id),
                [ALGORITHM],
                audience=thing,
                options={"require": ["exp", "aud", "sub", "sid", "hid"]},
            )
            expires_at = datetime.fromtimestamp(claims["exp"], UTC)
            return Pass(token, caller_of(claims), expires_at)
        except jwt.ExpiredSignatureError:
            raise Problem("link_expired") from None
        except (jwt.InvalidTokenError, UnknownKey, ValueError, KeyError, TypeError):
            raise Problem("bad_signature") from None
