"""Staff are told what cannot wait: a message to each, promised in the transaction of the row."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.base import local_today
from domain.access import Role
from domain.message import Template

# A fact a person: `<subject>:<template>:<n>-<account>` (see Outgoing.of_fact), told once however
# often it is promised; here it is not promised twice, or a night of many differences would keep the
# relay busy with one reminder. Each is a stream of its own: nobody waits for a colleague's message.
# Who may not decide it is not told.
PROMISE = """
    insert into outbox (stream, workflow, subject)
    select fact, 'message', fact
      from (select concat(cast(:subject as text), ':', cast(:template as text), ':',
                          cast(:n as bigint), '-', a.id) as fact, a.id as account_id
              from work_item w join account a on a.hospital_id = w.hospital_id
             where w.number = :number and a.active and not a.id = any(w.excluded) and {whom}) f
     where not exists (select 1 from outbox o where o.stream = fact)
       and not exists (select 1 from message m where m.key = fact || ':' || 'in_app')
     order by account_id"""
ALL_OF_ROLE = text(PROMISE.format(whom="a.roles @> array[cast(:role as text)]"))
ONE = text(PROMISE.format(whom="a.id = :account_id"))
ROLES = text("select role, escalates_to from work_item where number = :number")


async def tell_role(
    connection: AsyncConnection, number: str, role: Role, template: Template, version: int
) -> None:
    """Everybody of this role."""
    await connection.execute(ALL_OF_ROLE, {**_fact(number, template, version), "role": role})


async def tell_escalated(connection: AsyncConnection, number: str, version: int) -> None:
    """Those to whom it was escalated. To its own role it is a reminder: once a day and person,
    however many work items wait."""
    row = (await connection.execute(ROLES, {"number": number})).one_or_none()
    if row is None or row.escalates_to is None:
        return
    if row.escalates_to != row.role:
        role, template = Role(row.escalates_to), Template.WORK_ITEM_ESCALATED
        await tell_role(connection, number, role, template, version)
        return
    fact = _fact(number, Template.WORK_ITEMS_WAIT, 0)
    today = (await local_today(connection)).isoformat()
    await connection.execute(ALL_OF_ROLE, {**fact, "subject": today, "role": row.role})


async def tell_assignee(
    connection: AsyncConnection, number: str, account_id: int, version: int
) -> None:
    fact = _fact(number, Template.WORK_ITEM_REASSIGNED, version)
    await connection.execute(ONE, {**fact, "account_id": account_id})


def _fact(number: str, template: Template, n: int) -> dict[str, object]:
    return {"subject": number, "number": number, "template": template, "n": n}
