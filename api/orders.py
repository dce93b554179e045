"""Orders of every kind at the door: who may, what leaves a trace, how a command is asked.

A lifecycle says once what its orders are; its routes, and the operators' for all kinds, ask that.

    APPOINTMENTS = Orders(OrderKind.APPOINTMENT, find=find_appointment, ...)
    order, capacity = await APPOINTMENTS.opened(context, caller, id, Action.CANCEL)
    return await APPOINTMENTS.ask(context, caller, order, capacity, asked, once)
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from api.commands import Command, Rules, allow, carry_out
from api.context import Context
from api.documented import refusals
from api.idempotency import OnceOnly
from api.problems import Problem
from api.schemas.appointment import TimelineActor, TimelineEntry
from db.account import SealingKey, sealing_key_of_account
from db.journal import audit, log_access
from db.keyring import Shredded
from domain.access import Action, Caller, Capacity, Stake
from domain.order import Actor, Move, OrderKind

SHREDDED = "已删除"  # instead of a name that cannot be read any more
COMMANDED = refusals(
    "not_authenticated",
    "forbidden",
    "not_found",
    "not_allowed",
    "invalid",
    "idempotency_mismatch",
    "try_again",
    "unavailable",
)


class Order(Protocol):
    """What the row of every kind of order tells."""

    @property
    def id(self) -> int: ...
    @property
    def order_no(self) -> str: ...
    @property
    def hospital_id(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def patient_id(self) -> int: ...
    @property
    def patient_key_id(self) -> int: ...
    @property
    def patient_key(self) -> bytes | None: ...
    @property
    def account_key(self) -> bytes | None: ...
    @property
    def account_sealed(self) -> bytes: ...


Row = TypeVar("Row", bound=Order)


@dataclass(frozen=True)
class Asked:
    """An update of the order's workflow. `arg` holds ids and codes only."""

    action: Action
    update: str
    arg: object


@dataclass(frozen=True)
class Orders(Generic[Row]):
    """The orders of one lifecycle. `find` and `find_by_number` take the hospital's id, and the
    order's; `stake` tells what the caller has to do with an order before this action."""

    kind: OrderKind
    rules: Rules
    find: Callable[[AsyncConnection, int, int], Awaitable[Row | None]]
    find_by_number: Callable[[AsyncConnection, int, str], Awaitable[Row | None]]
    stake: Callable[[Context, AsyncConnection, Caller, Row, Action], Awaitable[Stake]]
    show: Callable[[Context, Caller, Row, Capacity], Any]

    async def allowed(
        self,
        context: Context,
        connection: AsyncConnection,
        caller: Caller,
        id: int,
        action: Action,
    ) -> tuple[Row, Capacity]:
        """The order, and in which capacity the caller may do this. Problem `not_found`,
        `forbidden`."""
        order = await self.find(connection, context.hospital_id, id)
        if order is None:
            raise Problem("not_found")
        stake = await self.stake(context, connection, caller, order, action)
        return order, allow(caller, self.rules, action, stake)

    async def opened(
        self, context: Context, caller: Caller, id: int, action: Action
    ) -> tuple[Row, Capacity]:
        """As `allowed`, and the reading has left its trace."""
        async with context.engine.begin() as connection:
            order, capacity = await self.allowed(context, connection, caller, id, action)
            await self.note_reading(connection, caller, capacity, order, action)
        return order, capacity

    async def note_reading(
        self,
        connection: AsyncConnection,
        caller: Caller,
        capacity: Capacity,
        order: Row,
        action: str,
    ) -> None:
        """Others than the owner leave a trace when they read a patient's data."""
        if capacity is Capacity.OWNER:
            return
        await log_access(
            connection,
            order.hospital_id,
            actor_role=Actor.person(capacity, caller.account_id).role,
            actor_id=caller.account_id,
            patient_id=order.patient_id,
            object=f"{self.kind}/{order.order_no}",
            action=action,
        )

    async def ask(
        self,
        context: Context,
        caller: Caller,
        order: Row,
        capacity: Capacity,
        asked: Asked,
        once: OnceOnly,
        note: str | None = None,
    ) -> Any:
        """Ask the order's workflow, and answer with the order as it then is.

        `note`: what the person wrote with it, sealed in the audit."""

        async def note_down(connection: AsyncConnection) -> None:
            await keep_note(context, connection, caller, capacity, order, asked.action, note)

        async def now() -> Row:
            async with context.engine.connect() as connection:
                found = await self.find(connection, context.hospital_id, order.id)
            if found is None:
                raise Problem("not_found")
            return found

        async def status_now() -> str:
            return (await now()).status

        async def answer() -> Any:
            return self.show(context, caller, await now(), capacity)

        return await carry_out(
            context,
            caller,
            Command(self.kind, order.order_no, asked.action, asked.update, asked.arg),
            once,
            note_down=note_down,
            status_now=status_now,
            answer=answer,
            location=f"/api/hospital/{self.kind}s/{order.id}",
        )


async def keep_note(
    context: Context,
    connection: AsyncConnection,
    caller: Caller,
    capacity: Capacity,
    order: Order,
    action: Action,
    note: str | None,
) -> None:
    """What the person wrote, sealed in the audit: it is about this patient and goes with them;
    about one who is gone already, with its writer."""
    if note is None:
        return
    if order.patient_key is None:
        key = await sealing_key_of_account(connection, context.keyring, caller.account_id)
    else:
        key = SealingKey(order.patient_key_id, context.keyring.unwrap(order.patient_key))
    await audit(
        connection,
        order.hospital_id,
        action,
        order.order_no,
        actor_role=Actor.person(capacity, caller.account_id).role,
        actor_id=caller.account_id,
        note=(key.id, key.key.seal({"note": note})),
    )


def holder_name(context: Context, order: Order) -> str | None:
    """The account's own name, if it has given one."""
    try:
        opened = context.keyring.unwrap(order.account_key).open(order.account_sealed)
    except Shredded:
        return SHREDDED
    name: str | None = opened.get("name")
    return name


def timeline_entry(move: Move) -> TimelineEntry:
    return TimelineEntry(
        at=move.at,
        event=move.event,
        from_=move.from_status,
        to=move.to_status,
        actor=TimelineActor(role=move.actor_role, id=move.actor_id),
        reason=move.reason,
        version=move.version,
    )
