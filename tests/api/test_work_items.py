"""The worklist and its commands over HTTP; workflows are what a test says they are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from api.context import Context
from db.account import create_account
from db.keyring import Keyring
from db.work_item import open_work_item, record_move
from domain.access import Role
from domain.work_item import NewWorkItem, WorkItemKind, WorkItemMove, WorkItemStatus, for_desk
from tests.api.test_commands import Workflows
from tests.support.api import as_caller, client_of, refused
from tests.support.booking import Clinic
from workflows.commands import Decide, Reassign, StaffCommand

pytestmark = pytest.mark.anyio

S = WorkItemStatus
LEASE = timedelta(minutes=15)
STUCK = for_desk(WorkItemKind.REFUND_STUCK, "R1", LEASE)
AUDIT = NewWorkItem("audit", "RX1", Role.PHARMACIST, ("approved", "rejected"), LEASE)


@pytest.fixture
async def clinic(context: Context, keyring: Keyring) -> Clinic:
    return await Clinic.opened(context.engine, keyring)


@pytest.fixture
def workflows() -> Workflows:
    return Workflows()


class Desk:
    """Staff at their worklist."""

    def __init__(self, client: httpx.AsyncClient, context: Context, clinic: Clinic) -> None:
        self.client, self.context, self.clinic = client, context, clinic
        self.ids: dict[Role, int] = {}

    async def staff(self, role: Role) -> int:
        """One account of each role."""
        if role not in self.ids:
            async with self.context.engine.begin() as connection:
                self.ids[role] = await create_account(
                    connection, self.context.keyring, 1, phone=f"+86137{len(self.ids):08d}",
                    name="示例员工", password_hash="none", roles=[role],
                )  # fmt: skip
        return self.ids[role]

    async def headers(self, role: Role, key: str | None = None) -> dict[str, str]:
        headers = as_caller(self.context, await self.staff(role), role)
        return headers | ({"Idempotency-Key": key} if key else {})

    async def get(self, path: str = "", role: Role = Role.OPERATOR, **params: Any) -> Any:
        headers = await self.headers(role) | params.pop("language", {})
        return await self.client.get(f"/work-items{path}", params=params, headers=headers)

    async def post(
        self, path: str, role: Role = Role.OPERATOR, key: str | None = None, **body: Any
    ) -> httpx.Response:
        headers = await self.headers(role, key)
        return await self.client.post(f"/work-items{path}", json=body or None, headers=headers)

    async def opened(self, new: NewWorkItem = STUCK) -> int:
        async with self.context.engine.begin() as connection:
            await open_work_item(connection, 1, new)
        return int(await self.clinic.value("select max(id) from work_item"))

    async def move(self, id: int, to: S, version: int = 1, **more: Any) -> None:
        number = await self.clinic.value("select number from work_item where id = :id", id=id)
        now = datetime.now(UTC)
        async with self.context.engine.begin() as connection:
            await record_move(
                connection, WorkItemMove(number, version, to, to, now, "operator", **more)
            )


@pytest.fixture
async def desk(context: Context, clinic: Clinic, workflows: Workflows) -> Any:
    async with client_of(replace(context, lifecycles=workflows)) as client:  # type: ignore[arg-type]
        yield Desk(client, context, clinic)


# Looking


async def test_what_waits_with_its_age_and_what_happens_next(desk: Desk) -> None:
    due = datetime(2030, 1, 1, 4, 0, tzinfo=UTC)
    one = await desk.opened(replace(STUCK, details={"why": "failed"}, due_at=due))
    await desk.clinic.run("update work_item set opened_at = now() - interval '90 minutes'")
    body = (await desk.get()).json()
    (item,) = body["items"]
    assert body["total"] == 1
    assert (item["id"], item["kind"], item["queue"]) == (one, "refund_stuck", "staff-operator")
    assert (item["status"], item["subject"], item["orderNo"]) == ("open", "R1", None)
    assert item["age"].startswith("PT1H30M")
    assert item["decisions"] == ["retry", "paid_otherwise"]
    assert item["details"] == {"why": "failed"}
    assert item["nextStep"] == "1月1日 12:00 仍未决定,将自动关闭。"
    english = await desk.get(language={"Accept-Language": "en"})
    assert english.json()["items"][0]["nextStep"] == "Undecided at Tue 1 Jan, 12:00, it expires."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Nothing happens by itself."),
        ({"escalates_at": datetime(2030, 1, 1, 4, tzinfo=UTC),
          "escalates_to": Role.CHIEF_PHARMACIST},
         "Undecided at Tue 1 Jan, 12:00, it is escalated to the chief pharmacist."),
        ({"due_at": datetime(2030, 1, 1, 4, tzinfo=UTC), "at_deadline": "rejected"},
         "Undecided at Tue 1 Jan, 12:00, it expires as rejected."),
    ],
)  # fmt: skip
async def test_the_next_step_in_a_sentence(desk: Desk, changes: Any, said: str) -> None:
    one = await desk.opened(replace(AUDIT, **changes))
    seen = await desk.get(f"/{one}", Role.PHARMACIST, language={"Accept-Language": "en"})
    assert seen.json()["nextStep"] == said


async def test_a_claim_shows_until_its_lease_is_over(desk: Desk) -> None:
    one, now = await desk.opened(), datetime.now(UTC)
    await desk.move(one, S.CLAIMED, 1, claimed_by=7, lease_until=now + LEASE)
    seen = (await desk.get(f"/{one}")).json()
    assert (seen["status"], seen["claimedBy"]) == ("claimed", 7)
    assert seen["nextStep"].endswith("同岗位的其他人可领取。")
    await desk.move(one, S.CLAIMED, 2, claimed_by=7, lease_until=now)
    seen = (await desk.get(f"/{one}")).json()
    assert (seen["status"], seen["claimedBy"], seen["leaseUntil"]) == ("open", None, None)
    assert [entry["event"] for entry in seen["timeline"]] == ["opened", "claimed", "claimed"]


async def test_what_is_over_says_how(desk: Desk) -> None:
    one = await desk.opened()
    await desk.move(one, S.DECIDED, claimed_by=7, decision="retry")
    seen = (await desk.get(f"/{one}")).json()
    assert (seen["status"], seen["decision"], seen["claimedBy"]) == ("decided", "retry", 7)
    assert seen["nextStep"] == "已结束。"


async def test_everybody_sees_their_own(desk: Desk) -> None:
    refund, audit = await desk.opened(), await desk.opened(AUDIT)

    async def seen(role: Role, **params: Any) -> list[int]:
        return [item["id"] for item in (await desk.get(role=role, **params)).json()["items"]]

    assert await seen(Role.OPERATOR) == [refund, audit]
    assert await seen(Role.OPERATOR, queue="staff-pharmacist") == [audit]
    assert await seen(Role.OPERATOR, kind="refund_stuck", status="open") == [refund]
    assert await seen(Role.OPERATOR, mine=True) == []
    assert await seen(Role.PHARMACIST) == [audit]
    assert await seen(Role.PHARMACIST, queue="staff-operator") == []
    assert await seen(Role.DOCTOR) == []
    assert refused(await desk.get(role=Role.PATIENT)) == (403, "forbidden")
    assert refused(await desk.get(queue="staff-patient")) == (422, "invalid")
    assert refused(await desk.get(f"/{refund}", Role.PHARMACIST)) == (404, "not_found")
    assert refused(await desk.get(f"/{audit + 1}")) == (404, "not_found")
    assert (await desk.get(f"/{audit}", Role.OPERATOR)).status_code == 200


# Commands


async def test_commands_go_to_the_work_items_workflow(desk: Desk, workflows: Workflows) -> None:
    one = await desk.opened()
    operator = await desk.staff(Role.OPERATOR)
    by = StaffCommand(Role.OPERATOR, operator)
    assert (await desk.post(f"/{one}/claim")).json()["id"] == one
    await desk.post(f"/{one}/release")
    await desk.post(f"/{one}/reassign", accountId=operator, reason="休假")
    await desk.post(f"/{one}/decide", decision="retry", remark="银行已恢复")
    number = await desk.clinic.value("select number from work_item")
    assert [(kind, subject) for kind, subject, *_ in workflows.asked] == [("work_item", number)] * 4
    assert [(update, arg) for _, _, update, arg, _ in workflows.asked] == [
        ("claim", by),
        ("release", by),
        ("reassign", Reassign(by, operator)),
        ("decide", Decide(by, "retry")),
    ]


async def test_words_are_kept_sealed_and_go_into_no_history(
    desk: Desk, workflows: Workflows
) -> None:
    who = await desk.clinic.someone()
    order_no = await desk.clinic.booked(who, await desk.clinic.slot())
    about_a_patient = await desk.opened(replace(STUCK, order_no=order_no))
    about_nobody = await desk.opened(replace(STUCK, subject="R2"))
    for one in (about_a_patient, about_nobody):
        for _ in range(2):
            await desk.post(f"/{one}/decide", key=f"k{one}", decision="retry", remark="患者来电")
    assert "患者" not in repr(workflows.asked)
    async with desk.context.engine.connect() as connection:
        rows = (
            await connection.execute(
                text(
                    """select a.note, a.event, a.actor_role, k.wrapped, a.data_key_id
                         from audit a join data_key k on k.id = a.data_key_id order by a.id"""
                )
            )
        ).all()
    assert [(row.event, row.actor_role) for row in rows] == [("decide", "operator")] * 2
    for row in rows:
        assert "患者".encode() not in bytes(row.note)
        opened = desk.context.keyring.unwrap(row.wrapped).open(row.note)
        assert opened == {"note": "患者来电"}
    patient_key = "select data_key_id from patient where id = :id"
    operator_key = "select data_key_id from account where id = :id"
    assert [row.data_key_id for row in rows] == [
        await desk.clinic.value(patient_key, id=who[1]),
        await desk.clinic.value(operator_key, id=await desk.staff(Role.OPERATOR)),
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("claimed_by_other", 409),
        ("lease_expired", 409),
        ("not_allowed", 409),
        ("excluded", 403),
        ("wrong_role", 403),
    ],
)
async def test_the_workflows_refusal_is_the_answer(
    desk: Desk, workflows: Workflows, code: str, status: int
) -> None:
    one = await desk.opened()
    error = ApplicationError(code, "claimed", type="NotAllowed")
    workflows.outcomes = [WorkflowUpdateFailedError(error)]
    answer = await desk.post(f"/{one}/claim")
    assert refused(answer) == (status, code)
    assert answer.json()["orderStatus"] == "claimed"


async def test_a_second_decision_is_refused_without_temporal(
    desk: Desk, client: httpx.AsyncClient
) -> None:
    one = await desk.opened()
    await desk.move(one, S.DECIDED, claimed_by=7, decision="retry")
    desk.client = client  # its Temporal is away
    answer = await desk.post(f"/{one}/decide", decision="paid_otherwise")
    assert refused(answer) == (409, "not_allowed")
    assert answer.json()["orderStatus"] == "decided"


async def test_who_is_of_another_role_may_not(desk: Desk, workflows: Workflows) -> None:
    audit, refund = await desk.opened(AUDIT), await desk.opened()
    for name, body in (("claim", {}), ("decide", {"decision": "approved"})):
        assert refused(await desk.post(f"/{audit}/{name}", **body)) == (403, "forbidden")
    for name in ("claim", "release"):
        strangers = await desk.post(f"/{refund}/{name}", Role.PHARMACIST)
        assert refused(strangers) == (404, "not_found")
    given = {"accountId": await desk.staff(Role.PHARMACIST), "reason": "x"}
    assert refused(await desk.post(f"/{audit}/reassign", Role.PHARMACIST, **given)) == (
        403,
        "forbidden",
    )
    assert workflows.asked == []


async def test_an_operator_gives_back_and_gives_to_whom_it_waits_for(
    desk: Desk, workflows: Workflows
) -> None:
    one = await desk.opened(AUDIT)
    pharmacist, doctor = await desk.staff(Role.PHARMACIST), await desk.staff(Role.DOCTOR)
    await desk.move(one, S.CLAIMED, claimed_by=pharmacist, lease_until=datetime.now(UTC) + LEASE)
    assert (await desk.post(f"/{one}/release")).status_code == 200
    given = await desk.post(f"/{one}/reassign", accountId=pharmacist, reason="值班")
    assert given.status_code == 200
    assert [arg for _, _, _, arg, _ in workflows.asked] == [
        StaffCommand(Role.OPERATOR, await desk.staff(Role.OPERATOR)),
        Reassign(StaffCommand(Role.OPERATOR, await desk.staff(Role.OPERATOR)), pharmacist),
    ]
    for wrong in (doctor, 10**12):
        answer = await desk.post(f"/{one}/reassign", accountId=wrong, reason="值班")
        assert refused(answer) == (422, "invalid")
    unreasoned = await desk.post(f"/{one}/reassign", accountId=pharmacist, reason=" ")
    assert refused(unreasoned) == (422, "invalid")


async def test_a_decision_is_one_of_those_and_at_its_own_place(
    desk: Desk, workflows: Workflows
) -> None:
    audit, refund = await desk.opened(AUDIT), await desk.opened()
    elsewhere = await desk.post(f"/{audit}/decide", Role.PHARMACIST, decision="approved")
    assert refused(elsewhere) == (409, "decided_elsewhere")
    unknown = await desk.post(f"/{refund}/decide", decision="approved")
    assert refused(unknown) == (422, "invalid")
    assert unknown.json()["errors"][0]["field"] == "decision"
    assert workflows.asked == []


async def test_what_was_escalated_is_the_chiefs_too(desk: Desk, workflows: Workflows) -> None:
    one = await desk.opened(replace(AUDIT, escalates_to=Role.CHIEF_PHARMACIST))
    chief = Role.CHIEF_PHARMACIST
    assert refused(await desk.get(f"/{one}", chief)) == (404, "not_found")
    await desk.move(one, S.OPEN, escalated=True)
    assert (await desk.get(f"/{one}", chief)).json()["escalatesTo"] == "staff-chief_pharmacist"
    await desk.post(f"/{one}/claim", chief)
    assert workflows.asked[0][3] == StaffCommand(chief, await desk.staff(chief))
