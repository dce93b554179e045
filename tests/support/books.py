"""What must be true of a house whatever happened in it: sources, money, timelines, messages."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pprint import pformat
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus

from tests.support.house import House, NotYet, eventually

# Those that are told as often as they are true.
TOLD_AGAIN = (
    "consultation_waiting",
    "consultation_ring",
    "consultation_prolonged",
    "phone_call",  # to both phones, in the development outbox
)
SETTLED = 150.0  # seconds: an activity whose worker was killed is tried again after its timeout


def check_books(house: House, within: float = SETTLED) -> None:
    """Whether the house comes to rest with everything in order; what is not is in the error."""
    findings: dict[str, list[Any]] = {}

    def in_order() -> bool:
        findings.clear()
        findings.update({look.__name__: found for look in LOOKS if (found := look(house))})
        return not findings

    try:
        eventually(in_order, within, pause=0.5)
    except NotYet:
        raise AssertionError(pformat(findings, width=200)) from None


def still_moving(house: House) -> list[str]:
    """What goes on by itself and will change the rest."""
    queries = {
        "outbox": "select stream, workflow, signal, attempts from outbox",
        "refund": "select refund_no from refund where status = 'pending'",
        "message": "select key from message where status = 'claimed'",
        "order": "select order_no from appointment where status = 'pending' and pay_by < now()",
        "payment": """select payment_no from payment
                       where status = 'pending' and expires_at < now()""",
    }
    moving = [f"{what}: {row}" for what, query in queries.items() for row in house.sql(query)]
    callbacks = house.at_gateway("select event_id from delivery where state = 'due'")
    running = [w.id for w in workflows(house) if w.status is WorkflowExecutionStatus.RUNNING]
    messages = [name for name in running if name.startswith("message/")]
    return moving + [f"callback: {row}" for row in callbacks] + messages


def sources_that_do_not_add_up(house: House) -> list[dict[str, Any]]:
    """Slots whose count, held source rows, and orders that hold one disagree."""
    return house.sql(
        """select s.id, s.used_sources, held.n as held, wanted.n as orders
             from schedule s,
                  lateral (select count(*) as n from source
                            where schedule_id = s.id and order_no is not null) held,
                  lateral (select count(*) as n from appointment
                            where schedule_id = s.id and status <> 'cancelled') wanted
            where s.used_sources <> held.n or held.n <> wanted.n"""
    )


def transfers_that_do_not_balance(house: House) -> list[dict[str, Any]]:
    return house.sql(
        """select transfer_id, sum(amount) from ledger_entry
            group by transfer_id having sum(amount) <> 0 or count(*) <> 2"""
    )


def payments_whose_ledger_differs(house: House) -> list[dict[str, Any]]:
    """What the ledger says we owe the patient must be what came in less what went back."""
    return house.sql(
        """select p.payment_no, p.received, back.amount as back, books.amount as books
             from payment p,
                  lateral (select coalesce(sum(amount), 0) as amount from refund r
                            where r.payment_no = p.payment_no and r.status = 'succeeded') back,
                  lateral (select coalesce(sum(e.amount), 0) as amount
                             from ledger_transfer t join ledger_entry e on e.transfer_id = t.id
                            where t.payment_no = p.payment_no
                              and e.ledger_account = 'patients') books
            where books.amount <> back.amount - p.received"""
    )


def money_lost(house: House) -> list[str]:
    """Money that the gateway took and that neither bought anything nor went back."""
    back: Counter[str] = Counter()
    for refund in house.at_gateway("select * from refund where state = 'succeeded'"):
        back[refund["payment_no"]] += refund["amount"]
    used = {
        row["payment_no"]
        for row in house.sql(
            """select payment_no from appointment
                where payment_no is not null and status <> 'cancelled'
               union select payment_no from consultation
                where payment_no is not null and status not in ('cancelled', 'refunded')"""
        )
    }
    lost = []
    for payment in house.at_gateway("select * from payment where paid_at is not null"):
        number, kept = payment["payment_no"], payment["amount"] - back[payment["payment_no"]]
        if kept != (payment["amount"] if number in used else 0):
            lost.append(f"{number}: {kept} fen of {payment['amount']}, used: {number in used}")
    return lost


def refunds_that_differ_at_the_gateway(house: House) -> list[str]:
    """Each refund of ours is one at the gateway, and there are no others."""
    ours = {
        (row["refund_no"], row["payment_no"], int(row["amount"] * 100), row["status"])
        for row in house.sql("select * from refund")
    }
    theirs = {
        (row["refund_no"], row["payment_no"], row["amount"], row["state"])
        for row in house.at_gateway("select * from refund")
    }
    return sorted(map(str, ours ^ theirs))


def timelines_with_holes(house: House) -> list[dict[str, Any]]:
    """Orders whose timeline has not one entry for each version, or ends elsewhere than the row."""
    return house.sql(
        """select a.order_no, a.status, a.version, told.entries, told.last
             from (select order_no, status, version from appointment
                   union all select order_no, status, version from consultation) a,
                  lateral (select count(*) as entries,
                                  (array_agg(to_status order by version desc))[1] as last
                             from timeline t where t.order_no = a.order_no) told
            where told.entries <> a.version + 1 or told.last <> a.status"""
    )


def messages_sent_twice(house: House) -> list[dict[str, Any]]:
    return house.sql(
        """select split_part(key, ':', 1) as subject, template, channel, count(*) from message
            where template <> 'sms_code' and template <> all(%s) group by 1, 2, 3
           having count(*) > 1 or bool_or(status not in ('sent', 'delivered'))""",
        list(TOLD_AGAIN),
    )


def facts_not_told(house: House) -> list[dict[str, Any]]:
    """Moves and refunds that the patient must hear of, in the app and by SMS, and did not."""
    return house.sql(
        """with facts as (
               select order_no as subject, 'appointment_confirmed' as template
                 from appointment where status = 'confirmed'
               union select order_no, case reason when 'unpaid' then 'appointment_unpaid_closed'
                                         when 'patient' then 'appointment_cancelled'
                                         else 'appointment_cancelled_by_clinic' end
                 from appointment where status = 'cancelled'
               union select order_no, 'appointment_no_show'
                 from appointment where status = 'no_show'
               union select order_no, case
                    when status = 'completed' then 'consultation_completed'
                    when reason = 'unpaid' then 'consultation_unpaid_closed'
                    when reason = 'patient' then 'consultation_cancelled'
                    when reason = 'unsuitable' then 'consultation_referred'
                    else 'consultation_refunded' end
                 from consultation where status in ('completed', 'cancelled', 'refunded')
               union select refund_no, 'payment_refunded' from refund where status = 'succeeded'
           )
           select facts.subject, facts.template, count(m.id) from facts
             left join message m
                    on m.template = facts.template and m.key like facts.subject || ':%'
                   and m.status in ('sent', 'delivered')
            group by 1, 2 having count(m.id) <> 2"""
    )


def workflows_that_differ_from_rows(house: House) -> list[str]:
    """Every order has one workflow; it runs while the order is open, and ended well otherwise."""
    runs: dict[str, list[Any]] = {}
    for execution in workflows(house):
        runs.setdefault(execution.id, []).append(execution.status)
    wrong = []
    orders = """select 'appointment' as kind, order_no, status from appointment
                union all select 'consultation', order_no, status from consultation"""
    for order in house.sql(orders):
        found = runs.pop(f"{order['kind']}/{order['order_no']}", [])
        is_open = order["status"] in ("pending", "confirmed", "checked_in", "consulting")
        status = WorkflowExecutionStatus.RUNNING if is_open else WorkflowExecutionStatus.COMPLETED
        begun_again = [s for s in found if s is not WorkflowExecutionStatus.TERMINATED]
        if begun_again != [status]:
            wrong.append(f"{order['order_no']} {order['status']}: {found}")
    strangers = [name for name in runs if name.startswith(("appointment/", "consultation/"))]
    return wrong + strangers


def workflows(house: House) -> list[Any]:
    async def listed() -> list[Any]:
        client = await Client.connect(house.temporal_address)
        return [execution async for execution in client.list_workflows()]

    return asyncio.run(listed())


LOOKS: tuple[Callable[[House], list[Any]], ...] = (
    still_moving,
    sources_that_do_not_add_up,
    transfers_that_do_not_balance,
    payments_whose_ledger_differs,
    money_lost,
    refunds_that_differ_at_the_gateway,
    timelines_with_holes,
    messages_sent_twice,
    facts_not_told,
    workflows_that_differ_from_rows,
)
