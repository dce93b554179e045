"""Phone calls (电话): the port, and the console that stands in for a provider.

A call is bridged and masked: the provider rings the doctor and then the patient from the hospital's
number and joins them, so that neither sees the other's. Errors are those of messages (sending.py).
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from domain.phone_call import Leg

logger = logging.getLogger(__name__)

RING_FOR = timedelta(seconds=30)  # each phone; most voicemails come later than this


@dataclass(frozen=True)
class Bridge:
    """A call to be placed. Phones are E.164; `call_no` names nobody and may leave the house."""

    call_no: str
    doctor_phone: str
    patient_phone: str  # a provider that asks us while it connects does not need it yet
    time_limit: timedelta  # of the talk


@dataclass(frozen=True)
class CallLegs:
    """A call that is over, as the provider remembers it."""

    doctor: Leg
    patient: Leg | None
    ended_at: datetime | None


class VoiceGateway(Protocol):
    """Providers of calls have no idempotency key, so "rung once" is the caller's:

    1. It claims the call's row (unique by order and attempt) and commits, then calls `bridge`.
    2. An answer is written to the row. A PermanentMessageError, or a RetryableMessageError without
       `outcome_unknown`, means that nobody was rung.
    3. With `outcome_unknown`, or with a claim but no answer (the process died), a phone may be
       ringing: the caller waits `retry_after`, asks `find` with the time of its claim, and places
       the call again only on None. A callback that names the call settles it as well.
    """

    name: str  # as `policies.messages.voice` has it; stands in the call's row

    async def bridge(self, call: Bridge) -> str:
        """Place a call; the provider's id. Raises PermanentMessageError, RetryableMessageError.
        Cancelled while under way, the outcome is unknown."""
        ...

    async def find(
        self, *, doctor_phone: str, since: datetime, known: Collection[str]
    ) -> str | None:
        """A call of ours that the provider took for this phone at or after `since` and that is none
        of the `known` ids, or None. Raises as `bridge` does."""
        ...

    async def legs(self, provider_id: str) -> CallLegs | None:
        """How the call ended, or None while it lasts. Raises as `bridge` does."""
        ...


class ConsoleVoice:
    """Rings nobody. Whoever develops ends the call by hand: POST /dev/calls/{callNo}/end."""

    name = "console"

    async def bridge(self, call: Bridge) -> str:
        logger.info("call %s not placed, no provider is configured", call.call_no)
        return f"console:{call.call_no}"

    async def find(
        self, *, doctor_phone: str, since: datetime, known: Collection[str]
    ) -> str | None:
        return None  # telling twice harms nobody

    async def legs(self, provider_id: str) -> CallLegs | None:
        return None
