"""Pictures and documents made harmless before they are kept: never on the event loop.

A picture is decoded and written anew, so nothing of what came besides its pixels is kept: no place
and time (EXIF), no second file behind it, nothing that only looks like a picture.
"""

import asyncio
import io
import os
from concurrent.futures import ThreadPoolExecutor

import structlog
from PIL import Image, ImageCms, ImageFile, ImageOps
from pillow_heif import register_heif_opener

from activities.file import Content
from domain.file import THUMBNAIL, FileKind, FileRefused, check_pdf, kind_of

log = structlog.get_logger(__name__)

QUALITY = 90
FORMATS = {
    FileKind.JPEG: "JPEG",
    FileKind.PNG: "PNG",
    FileKind.WEBP: "WEBP",
    FileKind.HEIC: "HEIF",
}
# What browsers show. The rest becomes JPEG.
AS_IT_CAME = (FileKind.JPEG, FileKind.PNG, FileKind.WEBP)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
OPAQUE, TRANSPARENT = ("RGB", "L"), ("RGBA", "LA")

register_heif_opener(thumbnails=False)
ImageFile.LOAD_TRUNCATED_IMAGES = False


class Pictures:
    """`at_once`: how many are worked on in parallel: each takes a core and, at 50 million pixels,
    some 400 MB."""

    def __init__(self, at_once: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(
            at_once or max(1, (os.cpu_count() or 1) // 4), thread_name_prefix="pictures"
        )

    async def harmless(self, data: bytes, max_pixels: int, *, documents: bool = True) -> Content:
        """Raises FileRefused."""
        kind = kind_of(data)
        if kind is FileKind.PDF and not documents:
            raise FileRefused("unsupported_file")
        loop = asyncio.get_running_loop()
        if kind is FileKind.PDF:
            await loop.run_in_executor(self._pool, check_pdf, data)
            return Content(kind, data)
        return await loop.run_in_executor(self._pool, _anew, data, kind, max_pixels)


def _anew(data: bytes, kind: FileKind, max_pixels: int) -> Content:
    try:
        return _written_anew(data, kind, max_pixels)
    except FileRefused:
        raise
    except BOMBS:
        raise FileRefused("image_too_large") from None
    except Exception as error:  # decoders stumble in many ways over what is made to trip them
        log.info("picture_refused", kind=kind, error=type(error).__name__)
        raise FileRefused("broken_file") from None


def _written_anew(data: bytes, kind: FileKind, max_pixels: int) -> Content:
    with Image.open(io.BytesIO(data), formats=(FORMATS[kind],)) as opened:
        # The header alone has been read: a small file may claim to be a large picture.
        if opened.width * opened.height > max_pixels:
            raise FileRefused("image_too_large")
        opened.load()  # of several frames the first
        upright = ImageOps.exif_transpose(opened)
    picture = _plain(upright)
    kept = kind if kind in AS_IT_CAME else FileKind.JPEG
    thumbnail = picture.copy()
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    return Content(
        content_type=kept,
        data=_encoded(picture, kept),
        width=picture.width,
        height=picture.height,
        thumbnail=_encoded(thumbnail, FileKind.JPEG),
    )


def _plain(image: Image.Image) -> Image.Image:
    """Pixels alone, of eight bits a colour, in sRGB: without its profile a picture taken in
    another colour space would show a rash in other colours."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    elif image.mode not in OPAQUE + TRANSPARENT + ("CMYK",):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        try:
            image = _in_srgb(image, profile)
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            log.info("profile_ignored")
    if image.mode == "CMYK":
        image = image.convert("RGB")
    image.info = {}
    return image


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    to = "RGB" if image.mode == "CMYK" else image.mode
    changed = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        outputMode=to,
    )
    return changed or image


def _encoded(image: Image.Image, kind: FileKind) -> bytes:
    out = io.BytesIO()
    if kind is FileKind.JPEG:
        _on_white(image).save(out, "JPEG", quality=QUALITY)
    elif kind is FileKind.WEBP:
        image.save(out, "WEBP", quality=QUALITY)
    else:
        image.save(out, "PNG")
    return out.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in TRANSPARENT:
        return image
    whole = image.convert("RGBA")
    ground = Image.new("RGBA", whole.size, "white")
    return Image.alpha_composite(ground, whole).convert("RGB")
