"""A call of an order, as both sides see it: how it went, and nobody's number."""

import datetime as dt

from api.schemas.base import Duration, Schema
from db.phone_call import PhoneCall as Record
from domain.phone_call import CallStatus, Outcome


class PhoneCall(Schema):
    call_no: str
    attempt: int
    status: CallStatus
    outcome: Outcome | None
    started_at: dt.datetime | None
    answered_at: dt.datetime | None
    ended_at: dt.datetime | None
    duration: Duration | None

    @classmethod
    def of(cls, call: Record) -> "PhoneCall":
        return cls(
            call_no=call.call_no,
            attempt=call.attempt,
            status=call.status,
            outcome=call.outcome,
            started_at=call.started_at,
            answered_at=call.answered_at,
            ended_at=call.ended_at,
            duration=None if call.duration is None else dt.timedelta(seconds=call.duration),
        )
