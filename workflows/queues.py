"""Which worker answers what. A queue is a kind of work that can be scaled and stopped alone."""

from domain.access import Role

LIFECYCLES = "lifecycles"  # workflows, and the activities that write rows
# What waits for another workflow waits apart from what that workflow needs: a rush of orders whose
# time to pay is over would otherwise take every place, and wait for what finds none.
SETTLEMENTS = "settlements"
GATEWAYS = "gateways"  # what waits for the world outside, and may wait for long
MESSAGES = "messages"  # what goes out to people; rate-limited


def staff_queue(role: Role) -> str:
    """Where the work items (待办) of a role wait: Temporal's web UI lists them by it."""
    return f"staff-{role}"


STAFF = tuple(staff_queue(role) for role in Role if role is not Role.PATIENT)
