"""Commands while Temporal is away, and what the route answers to each outcome."""

import asyncio
import hashlib
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.lifecycles import NoLifecycle
from api.context import Context
from api.idempotency import hashed
from db.keyring import Keyring
from domain.access import Capacity, Role
from domain.appointment import AppointmentStatus as S
from runtime.lifecycles import TemporalLifecycles
from tests.support.api import a_client, as_caller, client_of, refused
from tests.support.booking import MINUTE, Clinic

pytestmark = pytest.mark.anyio


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@dataclass
class Order:
    client: httpx.AsyncClient
    context: Context
    account: int
    id: int
    order_no: str

    async def command(
        self,
        name: str,
        *,
        key: str | None = None,
        who: dict[str, str] | None = None,
        body: Any = None,
    ) -> httpx.Response:
        headers = who or as_caller(self.context, self.account, Role.PATIENT)
        headers |= {"Idempotency-Key": key} if key else {}
        path = f"/appointments/{self.id}/{name}"
        return await self.client.post(path, headers=headers, json=body)

    async def operate(self, name: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        headers = as_caller(self.context, 97, Role.OPERATOR)
        headers |= {"Idempotency-Key": key} if key else {}
        path = f"/ops/orders/{self.order_no}/{name}"
        return await self.client.post(path, json={"reason": "电话要求", **body}, headers=headers)


@pytest.fixture
async def order(client: httpx.AsyncClient, context: Context, clinic: Clinic) -> Order:
    return await an_order(client, context, clinic)


async def an_order(client: httpx.AsyncClient, context: Context, clinic: Clinic) -> Order:
    who = await clinic.someone()
    order_no = await clinic.booked(who, await clinic.slot())
    return Order(client, context, who[0], (await clinic.order(order_no)).id, order_no)


# Temporal is away


@pytest.mark.parametrize("ending", [S.CANCELLED, S.COMPLETED, S.NO_SHOW])
async def test_a_closed_order_is_refused_with_its_state_without_temporal(
    order: Order, clinic: Clinic, ending: S
) -> None:
    await clinic.move(order.order_no, 1, ending, at=datetime.now(UTC))
    for name in ("cancel", "check-in"):
        answer = await order.command(name)
        assert refused(answer) == (409, "not_allowed")
        assert answer.json()["orderStatus"] == ending


async def test_a_command_of_unknown_outcome_says_try_again(order: Order, clinic: Clinic) -> None:
    begun = time.monotonic()
    answer = await order.command("cancel", key="k")
    assert refused(answer) == (503, "try_again")
    assert int(answer.headers["retry-after"]) > 0
    assert time.monotonic() - begun < 6
    assert (await clinic.order(order.order_no)).status == "pending"
    assert await clinic.value("select count(*) from idempotency") == 0


async def test_a_temporal_that_hangs_does_not_hang_the_caller(
    context: Context, clinic: Clinic, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.commands.ACCEPT_WITHIN", timedelta(seconds=0.2))

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    silent = await a_client(keyring, f"127.0.0.1:{port}")
    lifecycles = TemporalLifecycles(silent, context.engine, context.config)
    async with client_of(replace(context, lifecycles=lifecycles)) as client:
        order = await an_order(client, context, clinic)
        assert refused(await order.command("cancel")) == (503, "try_again")
    server.close()


# Temporal answers


@dataclass
class Handle:
    outcome: BaseException | None
    late: bool = False

    async def result(self) -> str:
        if self.late:
            await asyncio.Event().wait()
        if self.outcome is not None:
            raise self.outcome
        return "done"


@dataclass
class Workflows:
    """What lifecycles answer to commands, in order; then that all is done."""

    outcomes: list[BaseException | Handle] = field(default_factory=list)
    asked: list[tuple[str, str, str, Any, str | None]] = field(default_factory=list)

    async def command(
        self, kind: str, subject: str, update: str, args: Any = None, *,
        result: type, update_id: str | None = None,
    ) -> Handle:  # fmt: skip
        self.asked.append((kind, subject, update, args, update_id))
        outcome = self.outcomes.pop(0) if self.outcomes else Handle(None)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def asked_before(
        self, kind: str, subject: str, result: type, update_id: str | None
    ) -> Handle:
        raise NoLifecycle(subject)  # validators' refusals are kept nowhere


@pytest.fixture
def workflows() -> Workflows:
    return Workflows()


@pytest.fixture
async def answered(context: Context, clinic: Clinic, workflows: Workflows) -> Any:
    """An order whose workflow answers."""
    async with client_of(replace(context, lifecycles=workflows)) as client:  # type: ignore[arg-type]
        yield await an_order(client, context, clinic)


def refusal(code: str, status: str) -> WorkflowUpdateFailedError:
    return WorkflowUpdateFailedError(ApplicationError(code, status, type="NotAllowed"))


async def test_a_command_that_is_done_answers_with_the_order(
    answered: Order, workflows: Workflows
) -> None:
    answer = await answered.command("cancel")
    assert (answer.status_code, answer.json()["id"]) == (200, answered.id)
    ((kind, subject, update, args, update_id),) = workflows.asked
    assert (kind, subject, update, update_id) == ("appointment", answered.order_no, "cancel", None)
    assert (args.capacity, args.account_id) == (Capacity.OWNER, answered.account)


async def test_the_workflows_refusal_is_the_callers_answer(
    answered: Order, workflows: Workflows
) -> None:
    workflows.outcomes = [refusal("late_cancel", "confirmed"), Handle(refusal("not_allowed", "x"))]
    answer = await answered.command("cancel", key="k")
    assert refused(answer) == (409, "late_cancel")
    assert answer.json()["orderStatus"] == "confirmed"
    assert refused(await answered.command("cancel", key="k")) == (409, "not_allowed")
    # Judged anew under the same key:
    assert (await answered.command("cancel", key="k")).status_code == 200


async def test_what_is_accepted_but_late_says_where_to_look(
    answered: Order, workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.commands.FINISH_WITHIN", timedelta(seconds=0.05))
    lost = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
    workflows.outcomes = [Handle(None, late=True), Handle(lost)]
    for _ in range(2):
        answer = await answered.command("check-in")
        assert answer.status_code == 202
        path = f"/api/hospital/appointments/{answered.id}"
        assert answer.json()["location"] == answer.headers["location"] == path


async def test_a_workflow_that_ended_meanwhile_is_a_closed_order(
    answered: Order, workflows: Workflows
) -> None:
    workflows.outcomes = [NoLifecycle("x")]
    answer = await answered.command("cancel")
    assert refused(answer) == (409, "not_allowed")
    assert answer.json()["orderStatus"] == "pending"  # as its row says


async def test_one_key_is_one_update_until_it_is_done_and_then_none(
    answered: Order, workflows: Workflows
) -> None:
    workflows.outcomes = [RPCError("away", RPCStatusCode.UNAVAILABLE, b"")]
    assert refused(await answered.command("cancel", key="k")) == (503, "try_again")
    for _ in range(3):
        assert (await answered.command("cancel", key="k")).status_code == 200
    first, second = (asked[-1] for asked in workflows.asked)
    assert first == second
    kept = hashed(answered.account, "k")
    path = f"POST /api/hospital/appointments/{answered.id}/cancel?\0"
    request = hashlib.sha256(path.encode()).hexdigest()
    parts = (str(answered.account), answered.order_no, "cancel", "cancel", kept, request, "0")
    assert first == hashlib.sha256("\0".join(parts).encode()).hexdigest()
    other = await answered.command("cancel", key="k", body={"note": "other"})
    assert refused(other) == (422, "idempotency_mismatch")


async def test_commands_of_others_under_the_same_key_are_others(
    answered: Order, workflows: Workflows, clinic: Clinic
) -> None:
    operator = as_caller(answered.context, 97, Role.OPERATOR)
    await answered.command("cancel", key="k")
    await answered.command("cancel", key="k", who=operator)
    mine, theirs = workflows.asked
    assert mine[-1] != theirs[-1]
    assert theirs[3].capacity == Capacity.OPERATOR


# What is written down


async def test_a_note_is_kept_sealed_and_once_per_answered_key(
    answered: Order, workflows: Workflows, clinic: Clinic
) -> None:
    for _ in range(2):
        answer = await answered.command("cancel", key="k", body={"note": "家里有事"})
        assert answer.status_code == 200
    assert await clinic.value("select count(*) from audit") == 1
    assert "家里有事".encode() not in bytes(await clinic.value("select note from audit"))
    assert "家里" not in repr(workflows.asked)
    too_long = await answered.command("cancel", body={"note": "x" * 501})
    assert refused(too_long) == (422, "invalid")


async def test_an_operators_command_is_audited_with_its_reason(
    answered: Order, workflows: Workflows, clinic: Clinic
) -> None:
    assert (await answered.operate("extend", minutes=30)).status_code == 200
    assert (await answered.operate("cancel-and-refund")).status_code == 200
    pay_by = (await clinic.order(answered.order_no)).pay_by
    (_, _, extend, until, _), (_, _, cancel, _, _) = workflows.asked
    assert (extend, until.pay_by, cancel) == ("extend", pay_by + 30 * MINUTE, "cancel")
    query = "select concat_ws(' ', event, subject, actor_role, actor_id) from audit order by id"
    assert await clinic.ids(query) == [
        f"extend {answered.order_no} operator 97",
        f"cancel_and_refund {answered.order_no} operator 97",
    ]
    reads = "select action from access_log order by id"
    assert await clinic.ids(reads) == ["extend", "cancel_and_refund"]


async def test_an_extension_ends_when_the_slot_begins(
    answered: Order, workflows: Workflows, clinic: Clinic
) -> None:
    await clinic.run("update appointment set starts_at = pay_by + interval '5 minutes'")
    assert (await answered.operate("extend", minutes=1440)).status_code == 200
    order = await clinic.order(answered.order_no)
    assert workflows.asked[0][3].pay_by == order.starts_at


async def test_an_operator_gives_a_reason_and_a_sensible_time(order: Order) -> None:
    for body in ({"reason": " "}, {"minutes": 0}, {"minutes": 10**6}, {"minutes": 10**30}):
        assert refused(await order.operate("extend", **body)) == (422, "invalid")
    unknown = replace(order, order_no="A261122000000000000")
    assert refused(await unknown.operate("extend")) == (404, "not_found")
