"""Who is told what is about no order: a place in line, a work item."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.message import MessageActivities, Outgoing
from db.keyring import Keyring
from db.waitlist import WantedPlace, join_waitlist
from domain.message import Channel, Template
from tests.activities.test_message import error_of
from tests.support.booking import RULES, Clinic
from tests.support.messages import Provider, by, messages_of

pytestmark = pytest.mark.anyio

LINK = "https://hospital.example.org"
FEED = "select account_id from message where channel = 'in_app'"


@pytest.fixture
async def clinic(engine: AsyncEngine, keyring: Keyring) -> Clinic:
    return await Clinic.opened(engine, keyring)


@pytest.fixture
def sms() -> Provider:
    return Provider()


@pytest.fixture
def messages(clinic: Clinic, sms: Provider) -> MessageActivities:
    return messages_of(clinic, sms, Provider())


@pytest.fixture
async def waiting(clinic: Clinic) -> tuple[int, str]:
    """The account of somebody in line, and what a message about that is about."""
    slot = await clinic.slot(sources=1)
    await clinic.booked(await clinic.someone(0), slot)
    account, patient = await clinic.someone(1)
    async with clinic.engine.begin() as connection:
        wanted = WantedPlace(1, account, slot, patient)
        place = (await join_waitlist(connection, wanted, RULES))[1]
    return account, f"waitlist-{place}"


async def tell(messages: MessageActivities, message: Outgoing) -> tuple[Channel, ...]:
    """By every way there is. Those that were planned after in-app."""
    plan = await messages.plan_message(message)
    for channel in (Channel.IN_APP, *plan.channels):
        await messages.send_message(by(message, channel))
    return plan.channels


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("update schedule set withdrawn = true", "该时段停诊"),
        ("update waitlist_entry set status = 'lapsed'", "按预约规则不能再预约该时段"),
        ("update schedule set starts_at = now(), ends_at = now() + interval '1 h'", "该时段已开始"),
    ],
    ids=["called-off", "lapsed", "begun"],
)
async def test_who_waited_hears_that_it_is_over_and_why(
    messages: MessageActivities,
    clinic: Clinic,
    sms: Provider,
    waiting: tuple[int, str],
    change: str,
    why: str,
) -> None:
    account, place = waiting
    await clinic.run(change)
    ended = Outgoing.of_fact(f"{place}:{Template.WAITLIST_ENDED}")
    assert await tell(messages, ended) == (Channel.SMS,)
    ((to, text, key),) = sms.sent
    assert (to, key) == ("+8613900000001", f"{place}:waitlist_ended:sms")
    assert why in text
    assert f"{LINK}/waitlist" in text
    assert await clinic.ids(FEED) == [account]
    assert await clinic.ids("select params from message") == [{}, {}]  # there is no order to show


async def test_a_place_that_never_was_is_told_to_nobody(
    messages: MessageActivities, clinic: Clinic
) -> None:
    error = await error_of(messages.plan_message(Outgoing.of_fact("waitlist-7:waitlist_ended")))
    assert (error.message, error.non_retryable) == ("no_order", True)


async def test_staff_hear_of_a_work_item_by_its_number_alone(
    messages: MessageActivities, clinic: Clinic, sms: Provider
) -> None:
    nurse = await clinic.account()
    opened = Outgoing.of_fact(f"W1:{Template.WORK_ITEM_OPENED}:0-{nurse}")
    assert await tell(messages, opened) == (Channel.SMS,)
    ((to, text, _),) = sms.sent
    assert to == "+8613800000001"
    assert text == f"【示例医院】紧急待办 W1，请立即处理：{LINK}/work-items/W1"
    assert await clinic.ids(FEED) == [nurse]


async def test_what_was_handed_on_is_told_in_app_alone(
    messages: MessageActivities, clinic: Clinic
) -> None:
    nurse = await clinic.account()
    given = Outgoing.of_fact(f"W1:{Template.WORK_ITEM_REASSIGNED}:3-{nurse}")
    assert await tell(messages, given) == ()


async def test_who_works_here_no_more_is_told_nothing(
    messages: MessageActivities, clinic: Clinic
) -> None:
    nurse = await clinic.account()
    await clinic.run("update account set active = false")
    opened = Outgoing.of_fact(f"W1:{Template.WORK_ITEM_OPENED}:0-{nurse}")
    error = await error_of(messages.plan_message(opened))
    assert (error.message, error.non_retryable) == ("no_order", True)


@pytest.mark.parametrize("fact", ["A1", "A1:nothing", "W1:work_item_opened", ""])
def test_what_is_no_fact_is_refused(fact: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Outgoing.of_fact(fact)
