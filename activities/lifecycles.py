"""How an activity speaks to an order's workflow, wherever that workflow is in its life."""

from typing import Any, Protocol


class NoLifecycle(Exception):
    """The order is closed: there is no workflow to speak to, and there will be none."""


class Lifecycles(Protocol):
    """Kinds are `appointment`, `payment`, `message`, `work_item`; a subject is its number."""

    async def tell(self, kind: str, subject: str, signal: str, args: object | None = None) -> None:
        """Signal the workflow, starting it from its row if it is not running.

        Raises NoLifecycle when its row is closed.
        """

    async def ask(
        self,
        kind: str,
        subject: str,
        update: str,
        args: object | None = None,
        *,
        result: type,
        update_id: str | None = None,
    ) -> Any:
        """Ask by update and wait for the answer, starting the workflow from its row if need be.

        The same `update_id` is the same question: it has the first answer. Raises NoLifecycle.
        """
