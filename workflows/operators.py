"""What operators see of a workflow in the Temporal web UI."""

from dataclasses import dataclass
from datetime import datetime

from temporalio import workflow

from workflows.search import DUE_AT, ORDER_STATUS, WAITING_FOR


@dataclass(frozen=True)
class Waiting:
    """Whom an order waits for, until when, and what happens then by itself."""

    whom: str  # a code
    until: datetime
    then: str


def show(status: str, waiting: Waiting | None) -> None:
    """Say where an order stands: in words on its page, and as search attributes in the list."""
    if waiting is None:
        workflow.set_current_details(f"**{status}**: nothing more will happen.")
        workflow.upsert_search_attributes(
            [ORDER_STATUS.value_set(status), WAITING_FOR.value_unset(), DUE_AT.value_unset()]
        )
        return
    since = workflow.now().astimezone(waiting.until.tzinfo)
    workflow.set_current_details(
        f"**{status}**: waiting for **{waiting.whom}** since {since:%Y-%m-%d %H:%M}, "
        f"until **{waiting.until:%Y-%m-%d %H:%M}**; then {waiting.then}."
    )
    shown = workflow.info().typed_search_attributes
    as_started = (shown.get(ORDER_STATUS), shown.get(WAITING_FOR), shown.get(DUE_AT))
    if as_started != (status, waiting.whom, waiting.until):  # a new order was started with these
        workflow.upsert_search_attributes(
            [
                ORDER_STATUS.value_set(status),
                WAITING_FOR.value_set(waiting.whom),
                DUE_AT.value_set(waiting.until),
            ]
        )
