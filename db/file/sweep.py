"""Files that belong to nothing: marked first, then their objects go, then their rows. Whatever dies
in between, the next sweep goes on from there."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Longer than any upload takes; `file_stored` refuses one that took longer.
UPLOAD_AT_MOST = timedelta(hours=1)

DROP = text(
    """update file set status = 'dropped'
        where id in (select id from file
                      where attached_at is null and status <> 'dropped'
                        and created_at < now() - case status
                            when 'uploading' then cast(:upload as interval)
                            else cast(:orphan as interval) end
                      order by created_at limit :batch
                        for update skip locked)"""
)
DROPPED = text("select id, name, thumbnail from file where status = 'dropped' order by id limit :n")
FORGET = text("delete from file where id = any(:ids) and status = 'dropped'")
KNOWN = text(
    """select name from file where name = any(:names)
       union all select thumbnail from file where thumbnail = any(:names)"""
)


@dataclass(frozen=True)
class Dropped:
    id: int
    names: tuple[str, ...]  # in the storage


async def drop_orphans(
    connection: AsyncConnection, orphan_after: timedelta, batch: int = 500
) -> list[Dropped]:
    """Mark what was never attached or never finished, and list what is marked. A file that is being
    attached at this moment is passed over."""
    await connection.execute(
        DROP, {"upload": UPLOAD_AT_MOST, "orphan": orphan_after, "batch": batch}
    )
    rows = await connection.execute(DROPPED, {"n": batch})
    return [
        Dropped(row.id, tuple(name for name in (row.name, row.thumbnail) if name)) for row in rows
    ]


async def forget_dropped(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Their objects are gone."""
    await connection.execute(FORGET, {"ids": list(ids)})


async def known_names(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """Those of these objects that a row speaks of."""
    rows = await connection.execute(KNOWN, {"names": list(names)})
    return set(rows.scalars())
