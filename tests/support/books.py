"""What must be true of a house whatever happened in it: sources, money, timelines, messages."""

import asyncio
from collections import Counter
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus

from tests.support.house import House, eventually

SETTLED = 150.0  # seconds: an activity whose worker was killed is tried again after its timeout


def check_books(house: House, within: float = SETTLED) -> None:
    """Wait until nothing moves by itself any more, then look at everything."""
    await_calm(house, within)
    assert sources_that_do_not_add_up(house) == []
    assert transfers_that_do_not_balance(house) == []
    assert payments_whose_ledger_differs(house) == []
    assert money_lost(house) == []
    assert refunds_that_differ_at_the_gateway(house) == []
    assert timelines_with_holes(house) == []
    assert messages_sent_twice(house) == []
    assert workflows_that_differ_from_rows(house) == []


def await_calm(house: House, within: float = SETTLED) -> None:
    unfinished = {
        "outbox": "select stream, workflow, signal, attempts from outbox",
        "refunds": "select refund_no from refund where status = 'pending'",
        "messages": "select key from message where status = 'claimed'",
        "orders": """select order_no from appointment
                      where status = 'pending' and pay_by < now() + interval '30 seconds'""",
        "payments": """select payment_no from payment
                        where status = 'pending' and expires_at < now() + interval '30 seconds'""",
    }

    def calm() -> bool:
        moving = {what: rows for what, query in unfinished.items() if (rows := house.sql(query))}
        if house.at_gateway("select 1 from delivery where state = 'due'"):
            moving["callbacks"] = []
        running = [w for w in workflows(house) if w.status is WorkflowExecutionStatus.RUNNING]
        busy = [w.id for w in running if w.id.startswith("message/")]
        return not moving and not busy

    eventually(calm, within, pause=0.25, what="calm")


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
    """Money that the gateway took and that neither bought an appointment nor went back."""
    back: Counter[str] = Counter()
    for refund in house.at_gateway("select * from refund where state = 'succeeded'"):
        back[refund["payment_no"]] += refund["amount"]
    used = {
        row["payment_no"]
        for row in house.sql(
            """select payment_no from appointment
                where payment_no is not null and status <> 'cancelled'"""
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
             from appointment a,
                  lateral (select count(*) as entries,
                                  (array_agg(to_status order by version desc))[1] as last
                             from timeline t where t.order_no = a.order_no) told
            where told.entries <> a.version + 1 or told.last <> a.status"""
    )


def messages_sent_twice(house: House) -> list[dict[str, Any]]:
    return house.sql(
        """select split_part(key, ':', 1) as subject, template, channel, count(*) from message
            where template <> 'sms_code' group by 1, 2, 3
           having count(*) > 1 or bool_or(status not in ('sent', 'delivered'))"""
    )


def workflows_that_differ_from_rows(house: House) -> list[str]:
    """Every order has one workflow; it runs while the order is open, and ended well otherwise."""
    runs: dict[str, list[Any]] = {}
    for execution in workflows(house):
        runs.setdefault(execution.id, []).append(execution.status)
    wrong = []
    for order in house.sql("select order_no, status from appointment"):
        found = runs.pop(f"appointment/{order['order_no']}", [])
        is_open = order["status"] in ("pending", "confirmed", "checked_in")
        status = WorkflowExecutionStatus.RUNNING if is_open else WorkflowExecutionStatus.COMPLETED
        begun_again = [s for s in found if s is not WorkflowExecutionStatus.TERMINATED]
        if begun_again != [status]:
            wrong.append(f"{order['order_no']} {order['status']}: {found}")
    strangers = [name for name in runs if name.startswith("appointment/")]
    return wrong + strangers


def workflows(house: House) -> list[Any]:
    async def listed() -> list[Any]:
        client = await Client.connect(house.temporal_address)
        return [execution async for execution in client.list_workflows()]

    return asyncio.run(listed())
