"""Pictures are written anew: what they show is kept, what they carry is not."""

import asyncio
import io
import time

import pytest
from PIL import Image, ImageCms

from api.pictures import Pictures
from domain.file import FileRefused
from tests.support.pictures import a_bomb, a_heic, a_pdf, a_picture, taken_by_a_phone

pytestmark = pytest.mark.anyio
MOST = 1_000_000


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_picture_stays_what_it_is_without_what_it_carries(
    pictures: Pictures, kind: str
) -> None:
    kept = await pictures.harmless(taken_by_a_phone(kind) + b"PK\x03\x04 a second file", MOST)
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
    kept = await pictures.harmless(a_heic(), MOST)
    assert kept.content_type == "image/jpeg"
    assert opened(kept.data).size == (64, 48)


async def test_a_thumbnail_is_a_small_jpeg(pictures: Pictures) -> None:
    kept = await pictures.harmless(a_picture("PNG", (900, 300)), MOST)
    assert kept.thumbnail is not None
    thumbnail = opened(kept.thumbnail)
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (320, 107))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
async def test_every_way_to_write_colours_is_read(pictures: Pictures, mode: str) -> None:
    out = io.BytesIO()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.new(mode, (8, 8)).save(out, kind)
    kept = await pictures.harmless(out.getvalue(), MOST)
    assert opened(kept.data).size == (8, 8)


async def test_another_colour_space_is_translated(pictures: Pictures) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = await pictures.harmless(a_picture(icc_profile=lab), MOST)
    assert "icc_profile" not in opened(kept.data).info
    broken = await pictures.harmless(a_picture(icc_profile=b"x" * 200), MOST)
    assert opened(broken.data).size == (64, 48)


async def test_of_a_moving_picture_the_first_is_kept(pictures: Pictures) -> None:
    out = io.BytesIO()
    first, second = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    first.save(out, "WEBP", save_all=True, append_images=[second], lossless=True)
    kept = opened((await pictures.harmless(out.getvalue(), MOST)).data)
    assert getattr(kept, "n_frames", 1) == 1
    assert kept.convert("RGB").getpixel((4, 4))[0] > 200  # type: ignore[index]


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
    ],
)
async def test_bombs_and_wrecks_are_refused(pictures: Pictures, data: bytes, code: str) -> None:
    with pytest.raises(FileRefused, match=f"^{code}$"):
        await pictures.harmless(data, MOST)


async def test_a_document_is_kept_as_it_is_where_documents_are_taken(pictures: Pictures) -> None:
    kept = await pictures.harmless(a_pdf(), MOST)
    assert (kept.content_type, kept.data, kept.thumbnail) == ("application/pdf", a_pdf(), None)
    with pytest.raises(FileRefused, match="unsupported_file"):
        await pictures.harmless(a_pdf(), MOST, documents=False)


async def test_the_loop_goes_on_while_a_large_picture_is_worked_on(pictures: Pictures) -> None:
    large = a_picture("PNG", (4000, 3000))
    work = asyncio.create_task(pictures.harmless(large, 20_000_000))
    longest = 0.0
    while not work.done():
        begun = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - begun)
    assert (await work).width == 4000
    assert longest < 0.5, "of some seconds of work"
