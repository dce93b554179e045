"""Files are put away and swept: what touches both the storage and their rows."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.gateways.storage import Storage
from db.file import (
    File,
    NewFile,
    drop_orphans,
    file_stored,
    forget_dropped,
    insert_file,
    known_names,
)
from db.keyring import Keyring
from db.sealed_stream import ContentKey

log = structlog.get_logger(__name__)

# Objects that no row speaks of are looked for among these days: rows come first, so there are none
# but after a restore, or when a sweep deleted a row whose object came back.
LOOKED_BACK = 7  # days
ROW_COMES_FIRST = timedelta(hours=2)  # an object is younger than its row


@dataclass(frozen=True)
class Content:
    """What is kept of what was sent."""

    content_type: str
    data: bytes
    width: int | None = None
    height: int | None = None
    thumbnail: bytes | None = None


class TooSlow(Exception):
    """It took so long to put away that it counts as left behind."""


@dataclass(frozen=True)
class Files:
    engine: AsyncEngine
    storage: Storage
    keyring: Keyring

    async def keep(
        self, hospital_id: int, account_id: int, content: Content, purpose: str | None
    ) -> int:
        """Row, object, row: dying in between leaves what the sweep finds. Raises StorageAway."""
        key, day = ContentKey.new(), datetime.now(UTC).date()
        name = self.new_name(day)
        thumbnail = self.new_name(day) if content.thumbnail is not None else None
        sealed = await asyncio.to_thread(lambda: list(key.seal(name, content.data)))
        new = NewFile(
            hospital_id=hospital_id,
            account_id=account_id,
            purpose=purpose,
            content_type=content.content_type,
            size=len(content.data),
            width=content.width,
            height=content.height,
            sha256=await asyncio.to_thread(lambda: hashlib.sha256(b"".join(sealed)).digest()),
            name=name,
            thumbnail=thumbnail,
            thumbnail_size=len(content.thumbnail) if content.thumbnail is not None else None,
        )
        async with self.engine.begin() as connection:
            file_id = await insert_file(connection, self.keyring, new, key)
        await self.storage.put(name, sealed)
        if thumbnail is not None and content.thumbnail is not None:
            await self.storage.put(thumbnail, key.seal(thumbnail, content.thumbnail))
        async with self.engine.begin() as connection:
            if not await file_stored(connection, file_id):
                raise TooSlow
        return file_id

    def read(self, file: File, *, thumbnail: bool = False) -> AsyncIterator[bytes]:
        """Raises Shredded at once; Missing, StorageAway or Tampered while it is read."""
        name = (file.thumbnail or file.name) if thumbnail else file.name
        return file.key(self.keyring).open(name, self.storage.get(name))

    # What belongs to nothing

    async def sweep(self, orphan_after: timedelta) -> None:
        """Safe to run at any time and from several places. Raises StorageAway."""
        while True:
            async with self.engine.begin() as connection:
                dropped = await drop_orphans(connection, orphan_after)
            if not dropped:
                break
            for file in dropped:
                for name in file.names:
                    await self.storage.delete(name)
            async with self.engine.begin() as connection:
                await forget_dropped(connection, [file.id for file in dropped])
            log.info("files_swept", count=len(dropped))
        await self._sweep_strays()

    async def _sweep_strays(self) -> None:
        now = datetime.now(UTC)
        for back in range(LOOKED_BACK + 1):
            day, strays = now.date() - timedelta(days=back), []
            async for kept in self.storage.under(self._folder(day)):
                if kept.changed_at < now - ROW_COMES_FIRST:
                    strays.append(kept.name)
                if len(strays) >= 500:
                    await self._delete_unknown(strays)
                    strays = []
            await self._delete_unknown(strays)

    async def _delete_unknown(self, names: list[str]) -> None:
        if not names:
            return
        async with self.engine.begin() as connection:
            known = await known_names(connection, names)
        for name in set(names) - known:
            await self.storage.delete(name)
            log.warning("stray_object_swept")

    def new_name(self, day: date) -> str:
        """Random, below a folder of this installation: whoever shares a bucket sweeps their own."""
        return f"{self._folder(day)}{secrets.token_hex(16)}"

    def _folder(self, day: date) -> str:
        ours = self.keyring.blind("storage", "").hex()[:16]
        return f"{ours}/{day:%Y%m%d}/"
