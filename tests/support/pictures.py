"""Pictures and documents as phones send them, and as nobody should."""

import io
import struct
import zlib
from typing import Any

from PIL import Image


def a_picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48), **how: Any) -> bytes:
    out = io.BytesIO()
    image = Image.new("RGB", size, (200, 40, 40))
    image.putpixel((0, 0), (0, 0, 255))
    image.save(out, kind, **how)
    return out.getvalue()


def taken_by_a_phone(kind: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    """Turned on its side, with the place where it was taken."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    exif[0x010F] = "SecretPhone"
    exif.get_ifd(0x8825)[1] = "N"
    return a_picture(kind, size, exif=exif)


def a_heic(size: tuple[int, int] = (64, 48), **how: Any) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    return a_picture("HEIF", size, **how)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def a_bomb(side: int = 60_000) -> bytes:
    """A few bytes that claim to be a picture of this side: unpacked, gigabytes."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
        + chunk(b"IEND", b"")
    )


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 64
EXE = b"MZ\x90\0" + b"\0" * 64
GIF = b"GIF89a" + b"\0" * 32
