"""How far each side has read."""

from collections.abc import Collection, Mapping

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.conversation.rows import ConsultationReadingRow
from domain.conversation import Side

# Never back, and never beyond what there is.
READ = text(
    """insert into consultation_reading as r (order_no, side, account_id, read_up_to)
       select :order_no, :side, :account_id, m.last
         from (select coalesce(max(seq), 0) as last from consultation_message
                where order_no = :order_no and seq <= :up_to) as m
       on conflict (order_no, side) do update
          set read_up_to = excluded.read_up_to, account_id = excluded.account_id, at = now()
        where r.read_up_to < excluded.read_up_to
       returning read_up_to"""
)
UNREAD = text(
    """select m.order_no, count(*) as messages
         from consultation_message m
         left join consultation_reading r on r.order_no = m.order_no and r.side = :side
        where m.order_no = any(:order_nos) and m.side <> :side
          and m.seq > coalesce(r.read_up_to, 0)
        group by m.order_no"""
)


async def mark_read(
    connection: AsyncConnection, order_no: str, side: Side, account_id: int, up_to: int
) -> bool:
    """Whether it is news: what was read stays read."""
    marked = await connection.execute(
        READ, {"order_no": order_no, "side": side, "account_id": account_id, "up_to": up_to}
    )
    return marked.one_or_none() is not None


async def readings_of(connection: AsyncConnection, order_no: str) -> Mapping[Side, int]:
    rows = await connection.execute(
        select(ConsultationReadingRow.side, ConsultationReadingRow.read_up_to).where(
            ConsultationReadingRow.order_no == order_no
        )
    )
    return dict.fromkeys(Side, 0) | {Side(row.side): row.read_up_to for row in rows}


async def unread(
    connection: AsyncConnection, order_nos: Collection[str], side: Side
) -> Mapping[str, int]:
    """How many messages of the other side this one has not read, by order; none is 0."""
    rows = await connection.execute(UNREAD, {"order_nos": list(order_nos), "side": side})
    return dict.fromkeys(order_nos, 0) | {row.order_no: row.messages for row in rows}
