"""Pictures are written anew: what they show is kept, what they carry is not."""

import asyncio
import io
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageCms

from activities.file import Content
from api import decoding
from api.pictures import SLOW, Pictures
from api.quarantine import Answer
from domain.file import FileKind, FileRefused
from tests.support import bombs
from tests.support.documents import a_pdf, a_report
from tests.support.pictures import a_bomb, a_heic, a_picture, taken_by_a_phone

pytestmark = pytest.mark.anyio
MOST = 1_000_000


ME, YOU = 1, 2


@pytest.fixture(scope="module")
def pictures() -> Iterator[Pictures]:
    made = Pictures()
    yield made
    made.close()


async def kept_of(pictures: Pictures, data: bytes, most: int = MOST, **how: Any) -> Content:
    return await pictures.harmless(data, most, sender=how.pop("sender", ME), **how)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_picture_stays_what_it_is_without_what_it_carries(
    pictures: Pictures, kind: str
) -> None:
    kept = await kept_of(pictures, taken_by_a_phone(kind) + b"PK\x03\x04 a second file")
    assert kept.content_type == f"image/{kind.lower()}"
    assert (kept.width, kept.height) == (48, 64), "turned as it is to be seen"
    picture = opened(kept.data)
    assert (picture.format, picture.size) == (kind, (48, 64))
    assert not picture.getexif()
    assert b"SecretPhone" not in kept.data
    assert b"second file" not in kept.data
    red, green, blue = picture.convert("RGB").getpixel((20, 40))  # type: ignore[misc]
    assert red > 180
    assert max(green, blue) < 60


async def test_a_heic_becomes_a_jpeg(pictures: Pictures) -> None:
    kept = await kept_of(pictures, a_heic())
    assert kept.content_type == "image/jpeg"
    assert opened(kept.data).size == (64, 48)


async def test_a_thumbnail_is_a_small_jpeg(pictures: Pictures) -> None:
    kept = await kept_of(pictures, a_picture("PNG", (900, 300)))
    assert kept.thumbnail is not None
    thumbnail = opened(kept.thumbnail)
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (320, 107))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
async def test_every_way_to_write_colours_is_read(pictures: Pictures, mode: str) -> None:
    out = io.BytesIO()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.new(mode, (8, 8)).save(out, kind)
    kept = await kept_of(pictures, out.getvalue())
    assert opened(kept.data).size == (8, 8)


async def test_another_colour_space_is_translated(pictures: Pictures) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = await kept_of(pictures, a_picture(icc_profile=lab))
    assert "icc_profile" not in opened(kept.data).info
    broken = await kept_of(pictures, a_picture(icc_profile=b"x" * 200))
    assert opened(broken.data).size == (64, 48)


@pytest.mark.parametrize(("kind", "frames"), [("WEBP", 2), ("PNG", 2), ("WEBP", 500), ("PNG", 500)])
async def test_of_a_moving_picture_the_first_is_kept(
    pictures: Pictures, kind: str, frames: int
) -> None:
    kept = opened((await kept_of(pictures, bombs.animated(kind, frames))).data)
    assert getattr(kept, "n_frames", 1) == 1
    red, _, blue = kept.convert("RGB").getpixel((4, 4))  # type: ignore[misc]
    assert red > 200 > blue


async def test_a_webp_too_full_of_detail_for_its_encoder_becomes_another(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gives_up(*args: Any, **how: Any) -> None:
        raise ValueError("encoding error 6")

    monkeypatch.setitem(Image.SAVE, "WEBP", gives_up)
    solid, clear = Image.new("RGB", (9, 9)), Image.new("RGBA", (9, 9))
    assert decoding._written(solid, FileKind.WEBP)[0] is FileKind.JPEG
    assert decoding._written(clear, FileKind.WEBP)[0] is FileKind.PNG


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (a_bomb(), "image_too_large"),
        (a_bomb(1001), "image_too_large"),
        (a_picture()[:-200], "broken_file"),
        (a_picture("PNG")[:60], "broken_file"),
        (a_heic()[:-100], "broken_file"),
        (b"\xff\xd8\xff\xe0 and then nothing", "broken_file"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 200, "broken_file"),
        (bombs.of_scans(2400), "broken_file"),
        (bombs.of_parts(100_000), "broken_file"),
        (bombs.of_filling(1_000_000), "broken_file"),
        (bombs.of_chunks(100_000), "broken_file"),
        (bombs.of_profiles(1000), "broken_file"),
        (bombs.of_chunks(1, b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))), "broken_file"),
        (bombs.of_chunks(1, b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000))), "broken_file"),
    ],
)
async def test_bombs_and_wrecks_are_refused(pictures: Pictures, data: bytes, code: str) -> None:
    with pytest.raises(FileRefused, match=f"^{code}$"):
        await kept_of(pictures, data)


async def test_a_document_is_kept_where_documents_are_taken(pictures: Pictures) -> None:
    kept = await kept_of(pictures, a_report())
    assert (kept.content_type, kept.thumbnail) == ("application/pdf", None)
    assert kept.data.startswith(b"%PDF-")
    with pytest.raises(FileRefused, match="unsupported_file"):
        await kept_of(pictures, a_pdf(), documents=False)


async def test_the_loop_goes_on_while_a_large_picture_is_worked_on(pictures: Pictures) -> None:
    large = a_picture("PNG", (4000, 3000))
    work = asyncio.create_task(kept_of(pictures, large, 20_000_000))
    longest = 0.0
    while not work.done():
        begun = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - begun)
    assert (await work).width == 4000
    assert longest < 0.5, "of some seconds of work"


# Nobody waits for another's file


@pytest.fixture(scope="module")
def hours() -> bytes:
    """Of work, in some kilobytes: of this side it takes seconds already."""
    return bombs.of_overlays(5, 3000)


async def test_what_takes_too_long_is_ended_and_nobody_waits_for_it(
    hours: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pictures.SLOW", replace(SLOW, cpu_seconds=2.0))
    pictures = Pictures(quick=1, slow=1)
    await kept_of(pictures, a_picture())  # the process has started
    bombers = [asyncio.create_task(kept_of(pictures, hours)) for _ in range(3)]
    await asyncio.sleep(0.1)
    longest = 0.0
    while not bombers[0].done():
        begun = time.perf_counter()
        await kept_of(pictures, a_picture(), sender=YOU)
        longest = max(longest, time.perf_counter() - begun)
        await asyncio.sleep(0.05)
    with pytest.raises(FileRefused, match="broken_file"):
        await bombers[0]
    assert longest < 2.5, "one second of the first lane and what a busy machine adds"
    assert not any(bomber.done() for bomber in bombers[1:]), "one sender, one file at a time"
    for bomber in bombers[1:]:
        bomber.cancel()
    pictures.close()


async def test_a_machine_that_has_no_time_refuses_nobodys_file(
    hours: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pictures.SLOW", replace(SLOW, seconds=0.5))
    pictures = Pictures(quick=1, slow=1)
    with pytest.raises(TimeoutError):
        await kept_of(pictures, hours)
    monkeypatch.setattr("api.pictures.PATIENCE", 0.1)
    with pytest.raises(TimeoutError):
        await kept_of(pictures, hours)
    pictures.close()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer("refused", "image_too_large"), "image_too_large"),
        (Answer("refused", "whatever a decoder that was taken over says"), "broken_file"),
        (Answer("out_of_cpu", "-27"), "broken_file"),
        (Answer("died", "-11"), "broken_file"),
        (Answer("died", "-9"), None),  # by the kernel, for memory
        (Answer("out_of_time", "-14"), None),
        (Answer("made", kind="text/html", parts=(b"", b"")), None),
        (Answer("made", kind="image/jpeg"), None),
    ],
)
async def test_what_is_no_fault_of_the_file_is_tried_again(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch, answer: Answer, code: str | None
) -> None:
    monkeypatch.setattr("api.quarantine.Quarantine.open", lambda self, job: answer)
    with pytest.raises(FileRefused if code else TimeoutError, match=code):
        await kept_of(pictures, a_picture())


async def test_what_is_large_is_worked_on_in_the_second_lane(pictures: Pictures) -> None:
    kept = await kept_of(pictures, a_picture("JPEG", (5000, 4000)), 20_000_000)
    assert (kept.width, kept.height) == (5000, 4000)


async def test_an_end_ends_what_is_being_worked_on(hours: bytes) -> None:
    pictures = Pictures(quick=1, slow=1)
    await kept_of(pictures, a_picture())
    work = asyncio.create_task(kept_of(pictures, hours))
    await asyncio.sleep(0.3)
    begun = time.perf_counter()
    pictures.close()
    with pytest.raises((TimeoutError, RuntimeError)):
        await work
    assert time.perf_counter() - begun < 1
