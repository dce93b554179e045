"""A storage in memory, that can be made to fail."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from activities.gateways.storage import Kept, Missing, StorageAway


@dataclass
class MemoryStorage:
    objects: dict[str, bytes] = field(default_factory=dict)
    changed: dict[str, datetime] = field(default_factory=dict)
    away: bool = False

    async def put(self, name: str, content: Iterable[bytes]) -> None:
        self._ask()
        self.objects[name] = b"".join(content)
        self.changed[name] = datetime.now(UTC)

    async def get(self, name: str) -> AsyncIterator[bytes]:
        self._ask()
        if name not in self.objects:
            raise Missing
        content = self.objects[name]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def delete(self, name: str) -> None:
        self._ask()
        self.objects.pop(name, None)

    async def under(self, prefix: str) -> AsyncIterator[Kept]:
        self._ask()
        for name in [name for name in self.objects if name.startswith(prefix)]:
            yield Kept(name, self.changed[name])

    async def aclose(self) -> None:
        return

    def _ask(self) -> None:
        if self.away:
            raise StorageAway
