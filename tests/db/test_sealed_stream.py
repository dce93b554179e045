"""Sealed contents: read from the front, and never anything but what was put there."""

from collections.abc import AsyncIterator

import pytest

from db.sealed_stream import FRAME, HEADER, TAG, ContentKey, Tampered, sealed_size

pytestmark = pytest.mark.anyio


async def parts(sealed: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(sealed), size):
        yield sealed[start : start + size]


async def read(key: ContentKey, name: str, sealed: bytes, size: int = 1000) -> bytes:
    return b"".join([part async for part in key.open(name, parts(sealed, size))])


@pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 3 * FRAME + 7])
@pytest.mark.parametrize("size", [5, FRAME, 10 * FRAME])
async def test_what_was_sealed_opens(length: int, size: int) -> None:
    if size == 5 and length > FRAME + 1:
        length = 100
    key, content = ContentKey.new(), bytes(n % 251 for n in range(length))
    sealed = b"".join(key.seal("a", content))
    assert len(sealed) == sealed_size(length)
    assert await read(key, "a", sealed, size) == content
    assert length < 16 or content[:16] not in sealed


async def test_nothing_can_be_changed_cut_off_moved_or_renamed() -> None:
    key = ContentKey.new()
    sealed = b"".join(key.seal("a", b"x" * (2 * FRAME + 10)))
    frame = FRAME + TAG
    first, second = sealed[HEADER : HEADER + frame], sealed[HEADER + frame : HEADER + 2 * frame]
    rest = sealed[HEADER + 2 * frame :]
    spoiled = [
        sealed[:HEADER] + second + first + rest,
        sealed[: HEADER + frame],
        sealed[: HEADER + 2 * frame],
        sealed[:-1],
        sealed + b"x",
        sealed[:HEADER],
        sealed[:3],
        b"",
        b"XXXX" + sealed[4:],
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
    ]
    for one in spoiled:
        with pytest.raises(Tampered):
            await read(key, "a", one)
    with pytest.raises(Tampered):
        await read(key, "b", sealed)
    with pytest.raises(Tampered):
        await read(ContentKey.new(), "a", sealed)


async def test_the_front_is_there_before_the_end_has_come() -> None:
    key = ContentKey.new()
    sealed = b"".join(key.seal("a", b"x" * (5 * FRAME)))
    opening = key.open("a", parts(sealed[: 2 * FRAME], FRAME))
    assert await anext(opening) == b"x" * FRAME
