"""Small files that ask for hours of work, whatever their pixels."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.support.pictures import a_heic, a_picture, chunk

SCAN = re.compile(rb"\xff\xda")


def of_scans(times: int, side: int = 1000) -> bytes:
    """A progressive JPEG whose last scan, of a few bytes, is there so often."""
    whole = a_picture("JPEG", (side, side), progressive=True)
    begin = [found.start() for found in SCAN.finditer(whole)][-1]
    return whole[:begin] + whole[begin:-2] * times + whole[-2:]


def of_parts(times: int) -> bytes:
    """A JPEG with so many empty comments."""
    whole = a_picture("JPEG")
    return whole[:2] + b"\xff\xfe\0\2" * times + whole[2:]


def of_filling(size: int) -> bytes:
    whole = a_picture("JPEG")
    return whole[:2] + b"\xff" * size + whole[2:]


def of_chunks(times: int, kind: bytes = b"tEXt", data: bytes = b"a\0b") -> bytes:
    """A PNG with so many chunks before its pixels."""
    whole = a_picture("PNG")
    return whole[:33] + chunk(kind, data) * times + whole[33:]


def of_profiles(times: int) -> bytes:
    """A PNG with colour profiles that unpack to a megabyte each."""
    return of_chunks(times, b"iCCP", b"a\0\0" + zlib.compress(b"x" * 1_000_000, 9))


def of_overlays(times: int = 5, side: int = 2000) -> bytes:
    """A HEIC of 64 by 64 pixels, for which one of this side is decoded `times` to the third: it is
    laid over itself so often, and so is what comes out, and so is that."""
    tile = a_heic((side, side), enc_params={"preset": "ultrafast"})
    plain, large, small = 4, 2, 3  # the decoded item; which property says what size
    heads = [_item(number, b"iovl") for number in (1, 2, 3)] + [_item(plain, b"hvc1")]
    canvas = struct.pack(">BB4HHH", 0, 0, 0, 0, 0, 0, 64, 64) + bytes(4 * times)
    pixels = _found(tile, b"mdat")
    layers = [
        _box(b"dimg", struct.pack(">HH", n, times), struct.pack(">H", n + 1) * times)
        for n in (1, 2, 3)
    ]
    properties = _box(
        b"ipco",
        _box(b"hvcC", _found(tile, b"meta", b"iprp", b"ipco", b"hvcC")),
        _full(b"ispe", struct.pack(">II", side, side)),
        _full(b"ispe", struct.pack(">II", 64, 64)),
    )
    belongs = b"".join(struct.pack(">HBB", n, 1, small) for n in (1, 2, 3))
    belongs += struct.pack(">HBBB", plain, 2, 0x81, large)

    def before(begin: int) -> bytes:
        places = b"".join(struct.pack(">4HII", n, 1, 0, 1, 0, len(canvas)) for n in (1, 2, 3))
        places += struct.pack(">4HII", plain, 0, 0, 1, begin, len(pixels))
        meta = _full(
            b"meta",
            _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(b"iloc", b"\x44\0" + struct.pack(">H", 4) + places, version=1),
            _full(b"iinf", struct.pack(">H", 4), *heads),
            _full(b"iref", *layers),
            _box(b"iprp", properties, _full(b"ipma", struct.pack(">I", 4) + belongs)),
            _box(b"idat", canvas),
        )
        return _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + meta

    return before(len(before(0)) + 8) + _box(b"mdat", pixels)


def animated(kind: str, frames: int) -> bytes:
    """A red picture, and blue ones after it."""
    out = io.BytesIO()
    blue = [Image.new("RGB", (9, 9), (0, 0, 255 - n % 50)) for n in range(frames - 1)]
    how = {"lossless": True} if kind == "WEBP" else {}
    Image.new("RGB", (9, 9), "red").save(out, kind, save_all=True, append_images=blue, **how)
    return out.getvalue()


def _item(number: int, kind: bytes) -> bytes:
    return _full(b"infe", struct.pack(">HH4sB", number, 0, kind, 0), version=2)


def _box(kind: bytes, *parts: bytes) -> bytes:
    whole = b"".join(parts)
    return struct.pack(">I", len(whole) + 8) + kind + whole


def _full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24), *parts)


def _found(data: bytes, *path: bytes) -> bytes:
    for name in path:
        data = next(inner for kind, inner in _boxes(data) if kind == name)
        data = data[4:] if name == b"meta" else data
    return data


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + size]
        at += size
