"""Pictures decoded and written anew: nothing of what came besides the pixels is kept, no place and
time (EXIF), no second file behind it, nothing that only looks like a picture.

Runs in quarantine alone: decoders are what somebody who sends a picture attacks.
"""

import io
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image, ImageCms, ImageFile, ImageOps
from pillow_heif import register_heif_opener

from domain.file import THUMBNAIL, FileKind, FileRefused
from domain.picture import check_work

QUALITY = 90
WEBP_METHOD = 2  # half the time of the usual 4, and files of the same size
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

Image.init()  # every fork would import them anew
register_heif_opener(thumbnails=False)
ImageFile.LOAD_TRUNCATED_IMAGES = False


class TooLargeHere(Exception):
    """It may be kept, but has more pixels than are worked on where many wait."""


@dataclass(frozen=True)
class Pixels:
    """How many, width times height, may be kept, and how many are worked on here."""

    most: int
    here: int


@dataclass(frozen=True)
class Picture:
    kind: FileKind
    data: bytes
    width: int
    height: int
    thumbnail: bytes


def decoded_anew(data: bytes, kind: FileKind, pixels: Pixels) -> Picture:
    """Raises FileRefused or TooLargeHere, and whatever a decoder stumbles with."""
    check_work(data, kind)
    try:
        picture = _decoded(data, kind, pixels)
    except BOMBS:
        raise FileRefused("image_too_large") from None
    kept, written = _written(picture, kind if kind in AS_IT_CAME else FileKind.JPEG)
    return Picture(kept, written, picture.width, picture.height, _thumbnail(picture))


def _decoded(data: bytes, kind: FileKind, pixels: Pixels) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=(FORMATS[kind],)) as opened:
        # The header alone has been read: a small file may claim to be a large picture.
        if opened.width * opened.height > pixels.most:
            raise FileRefused("image_too_large")
        if opened.width * opened.height > pixels.here:
            raise TooLargeHere
        opened.load()  # of several frames the first
        if opened.width * opened.height > pixels.most:  # it may have lied
            raise FileRefused("image_too_large")
        ImageOps.exif_transpose(opened, in_place=True)
        return _plain(opened)


def _plain(image: Image.Image) -> Image.Image:
    """Pixels alone, of eight bits a colour, in sRGB: without its profile a picture taken in
    another colour space would show a rash in other colours."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    elif image.mode not in OPAQUE + TRANSPARENT + ("CMYK",):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        # One that cannot be read is ignored, as browsers do.
        with suppress(ImageCms.PyCMSError, OSError, TypeError, ValueError):
            image = _in_srgb(image, profile)
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


def _thumbnail(picture: Image.Image) -> bytes:
    # Not `copy` and then `thumbnail`: the copy would be as large as the picture.
    small = picture.reduce(max(1, max(picture.size) // (2 * THUMBNAIL)))
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return _encoded(small, FileKind.JPEG)


def _written(picture: Image.Image, kind: FileKind) -> tuple[FileKind, bytes]:
    try:
        return kind, _encoded(picture, kind)
    except ValueError:
        # WebP's encoder gives up on large pictures full of detail: its first part has a limit.
        if kind is not FileKind.WEBP:
            raise
        other = FileKind.PNG if picture.mode in TRANSPARENT else FileKind.JPEG
        return other, _encoded(picture, other)


def _encoded(image: Image.Image, kind: FileKind) -> bytes:
    out = io.BytesIO()
    if kind is FileKind.JPEG:
        _on_white(image).save(out, "JPEG", quality=QUALITY)
    elif kind is FileKind.WEBP:
        image.save(out, "WEBP", quality=QUALITY, method=WEBP_METHOD)
    else:
        image.save(out, "PNG")
    return out.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in TRANSPARENT:
        return image
    whole = image.convert("RGBA")
    ground = Image.new("RGBA", whole.size, "white")
    return Image.alpha_composite(ground, whole).convert("RGB")
