"""What a picture may ask for besides its pixels: a small file can ask for hours of work.

Looked at before it is decoded, in one pass.
"""

import re

from domain.file import FileKind, FileRefused

# Each scan of a progressive JPEG goes over the whole picture, whatever few bytes it has: at 50
# million pixels up to 35 ms. Encoders write about ten, with four colours eighteen.
MOST_SCANS = 64
# Readers go from one part to the next in Python. Twenty megabytes in the usual 8 KB are 2 560.
MOST_PARTS = 20_000
# Filling between two parts of a JPEG is read in Python too, byte after byte.
MOST_BETWEEN = 64 * 1024

# FF is data where 00 follows, and no part where a restart (D0 to D7), 01 or more filling follows.
MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
SCAN, END = 0xDA, 0xD9
# Arithmetic, lossless and hierarchical coding: slow to decode, and no browser shows it.
UNUSUAL = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})


def check_work(data: bytes, kind: FileKind) -> None:
    """Raises FileRefused `broken_file`. WebP and HEIC are left to the limits of time and memory."""
    if kind is FileKind.JPEG:
        _check_jpeg(data)
    elif kind is FileKind.PNG:
        _check_png(data)


def _check_jpeg(data: bytes) -> None:
    scans, parts, at = 0, 0, 2
    while (found := MARKER.search(data, at)) and found[1][0] != END:
        between = found.start() - at
        if between > MOST_BETWEEN and not scans:
            raise FileRefused("broken_file")
        parts += 1
        scans += found[1][0] == SCAN
        if scans > MOST_SCANS or parts > MOST_PARTS or found[1][0] in UNUSUAL:
            raise FileRefused("broken_file")
        # What a scan's header is followed by has no length: the next marker ends it.
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))


def _check_png(data: bytes) -> None:
    parts, profiles, at = 0, 0, 8
    while at < len(data):
        parts += 1
        profiles += data[at + 4 : at + 8] == b"iCCP"
        if parts > MOST_PARTS or profiles > 1:
            raise FileRefused("broken_file")
        at += 12 + int.from_bytes(data[at : at + 4], "big")
