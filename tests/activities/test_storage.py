"""One contract for every place where files lie; S3 is a real server that speaks it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from activities.gateways.local_storage import LocalStorage
from activities.gateways.s3_storage import S3Storage
from activities.gateways.storage import Missing, Storage, StorageAway
from tests.support.storage import MemoryStorage

pytestmark = pytest.mark.anyio
KEYS = {"access_key": "a-key", "secret_key": "its-secret"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="a-key", aws_secret_access_key="its-secret",
    ).create_bucket(Bucket="files")  # fmt: skip
    yield endpoint
    server.stop()


@pytest.fixture(params=["memory", "local", "s3"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    opened: Storage
    if request.param == "s3":
        endpoint = request.getfixturevalue("bucket")
        opened = S3Storage(bucket="files", region="us-east-1", endpoint=endpoint, **KEYS)
    elif request.param == "local":
        opened = LocalStorage(tmp_path / "files")
    else:
        opened = MemoryStorage()
    yield opened
    await opened.aclose()


async def read(storage: Storage, name: str) -> bytes:
    return b"".join([part async for part in storage.get(name)])


async def test_what_is_put_is_got_whole(storage: Storage) -> None:
    content = [bytes([n]) * 300_000 for n in range(5)]
    await storage.put("here/20261122/one", iter(content))
    assert await read(storage, "here/20261122/one") == b"".join(content)
    await storage.put("here/20261122/none", [])
    assert await read(storage, "here/20261122/none") == b""


async def test_putting_twice_is_once_and_the_last_counts(storage: Storage) -> None:
    for content in (b"first", b"second"):
        await storage.put("twice/1/x", [content])
    assert await read(storage, "twice/1/x") == b"second"
    assert [kept.name async for kept in storage.under("twice/1/")] == ["twice/1/x"]


async def test_what_is_not_there_is_missing(storage: Storage) -> None:
    with pytest.raises(Missing):
        await read(storage, "no/1/where")
    assert [kept async for kept in storage.under("no/1/")] == []


async def test_deleting_twice_is_once(storage: Storage) -> None:
    await storage.put("gone/1/x", [b"x"])
    await storage.delete("gone/1/x")
    await storage.delete("gone/1/x")
    with pytest.raises(Missing):
        await read(storage, "gone/1/x")


async def test_what_lies_below_a_prefix_is_listed_with_its_age(storage: Storage) -> None:
    for name in ("list/1/a", "list/1/b", "list/2/c"):
        await storage.put(name, [b"x"])
    found = {kept.name: kept.changed_at async for kept in storage.under("list/1/")}
    assert found.keys() == {"list/1/a", "list/1/b"}
    for changed_at in found.values():
        assert abs(datetime.now(UTC) - changed_at) < timedelta(minutes=1)


async def test_a_half_is_never_read(storage: Storage) -> None:
    def breaks_off() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await storage.put("half/1/x", breaks_off())
    with pytest.raises(Missing):
        await read(storage, "half/1/x")


async def test_a_bucket_that_is_away_is_said_so() -> None:
    away = S3Storage(bucket="files", region="us-east-1", endpoint="http://127.0.0.1:1", **KEYS)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(away.aclose)
        with pytest.raises(StorageAway):
            await away.put("a/1/x", [b"x"])
        with pytest.raises(StorageAway):
            await read(away, "a/1/x")


async def test_a_bucket_that_is_not_there_is_away_and_not_missing(bucket: str) -> None:
    other = S3Storage(bucket="another", region="us-east-1", endpoint=bucket, **KEYS)
    with pytest.raises(StorageAway):
        await read(other, "a/1/x")
    await other.aclose()


async def test_a_long_list_comes_in_pages(bucket: str) -> None:
    storage = S3Storage(bucket="files", region="us-east-1", endpoint=bucket, **KEYS)
    for number in range(5):
        await storage.put(f"pages/1/{number}", [b"x"])
    real = storage._client.list_objects_v2
    storage._client.list_objects_v2 = lambda **how: real(MaxKeys=2, **how)
    assert len([kept async for kept in storage.under("pages/1/")]) == 5
    await storage.aclose()


async def test_no_name_leads_out_of_the_directory(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    for name in ("../x", "/etc/passwd", "a/../../x", "a//b", ""):
        with pytest.raises(ValueError, match="not a name"):
            await storage.put(name, [b"x"])


async def test_files_are_for_their_owners_eyes_only(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    await storage.put("a/1/x", [b"x"])
    assert (tmp_path / "files/a/1/x").stat().st_mode & 0o077 == 0
    assert (tmp_path / "files/a/1").stat().st_mode & 0o077 == 0
