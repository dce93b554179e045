"""What operators see of a workflow in the Temporal web UI."""

from dataclasses import dataclass
from datetime import datetime

from temporalio import workflow

from workflows.search import DEPARTMENT_ID, DOCTOR_ID, DUE_AT, ORDER_STATUS, WAITING_FOR


@dataclass(frozen=True)
class Waiting:
    """Whom an order waits for, until when, and what happens then by itself."""

    whom: str  # a code
    until: datetime | None  # None: for ever
    then: str


def show(status: str, waiting: Waiting | None) -> None:
    """Say where an order stands: in words on its page, and as search attributes in the list."""
    wanted = (status, waiting and waiting.whom, waiting and waiting.until)
    attributes = workflow.info().typed_search_attributes
    shown = tuple(attributes.get(key) for key in (ORDER_STATUS, WAITING_FOR, DUE_AT))
    if wanted == shown and workflow.get_current_details():
        return  # the same waiting goes on: since when stays what it is
    workflow.set_current_details(_in_words(status, waiting))
    if wanted != shown:  # a new order was started with these
        workflow.upsert_search_attributes(
            [
                ORDER_STATUS.value_set(status),
                WAITING_FOR.value_set(waiting.whom) if waiting else WAITING_FOR.value_unset(),
                DUE_AT.value_set(waiting.until)
                if waiting and waiting.until
                else DUE_AT.value_unset(),
            ]
        )


def show_place(department_id: int, doctor_id: int) -> None:
    """An order that moved to another doctor is found under the new one."""
    workflow.upsert_search_attributes(
        [DEPARTMENT_ID.value_set(department_id), DOCTOR_ID.value_set(doctor_id)]
    )


def _in_words(status: str, waiting: Waiting | None) -> str:
    if waiting is None:
        return f"**{status}**: nothing more will happen."
    if waiting.until is None:
        return (
            f"**{status}**: waiting for **{waiting.whom}** since "
            f"{workflow.now():%Y-%m-%d %H:%M} UTC; {waiting.then}."
        )
    since = workflow.now().astimezone(waiting.until.tzinfo)
    return (
        f"**{status}**: waiting for **{waiting.whom}** since {since:%Y-%m-%d %H:%M}, "
        f"until **{waiting.until:%Y-%m-%d %H:%M}** ({waiting.until:%Z}); then {waiting.then}."
    )
