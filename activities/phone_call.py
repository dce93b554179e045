"""Phone calls."""

from dataclasses import dataclass

from temporalio import activity


@dataclass(frozen=True)
class PlaceCall:
    order_no: str
    attempt: int


@dataclass(frozen=True)
class PhoneCallActivities:
    @activity.defn
    async def place_call(self, place: PlaceCall) -> str:
        return ""
