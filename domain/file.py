"""Files that people send: what may come, told by content, and how they are kept."""

import re
import zlib
from enum import StrEnum

PDF_TAIL = 1024  # bytes at the end within which a PDF says that it ends
OBJECTS_AT_MOST = 32 * 1024 * 1024  # bytes that a PDF's packed objects may unpack to, for the look
THUMBNAIL = 320  # pixels, the longer side

HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# What makes a PDF a program, or a parcel. Shorter names (/JS) come up in pictures by chance, and no
# action has them without one of these.
ACTIVE = re.compile(
    rb"/(?:(?:JavaScript|Launch|EmbeddedFiles?|RichMedia|SubmitForm|ImportData|GoToE)"
    rb"(?![A-Za-z0-9])|XFA\s*[\[0-9])"
)
ENCRYPTED = re.compile(rb"/Encrypt\s*[<0-9]")
OBJECT_STREAM = re.compile(rb"/ObjStm(?![A-Za-z0-9])")
FLATE_ALONE = re.compile(rb"/Filter\s*\[?\s*/(?:FlateDecode|Fl)\s*(?:\]|/(?!Fl)|>>)")
DICTIONARY = 4096  # bytes before a stream in which what it is is said


class FileStatus(StrEnum):
    UPLOADING = "uploading"  # a row and perhaps an object; nobody can have it yet
    STORED = "stored"
    DROPPED = "dropped"  # on its way out: its objects go, then the row


class FileKind(StrEnum):
    """What was sent, by its content."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    HEIC = "image/heic"
    PDF = "application/pdf"


class FileRefused(Exception):
    """It may not be kept. `code` is one of api/problems.py."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def kind_of(data: bytes) -> FileKind:
    """By the first bytes alone: names and declared types are the sender's word.

    Raises FileRefused `unsupported_file`.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return FileKind.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return FileKind.PNG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return FileKind.WEBP
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return FileKind.HEIC
    if data.startswith(b"%PDF-"):
        return FileKind.PDF
    raise FileRefused("unsupported_file")


def check_pdf(data: bytes) -> None:
    """A document that only shows something. It is kept as it came, so it is looked into.

    Raises FileRefused: `broken_file` for what does not end as a PDF ends (a second file behind it
    would be kept too), `unsupported_file` for one that runs, launches or carries something, and for
    one whose objects cannot be looked into.
    """
    if not re.match(rb"%PDF-[12]\.[0-9]", data):
        raise FileRefused("broken_file")
    end = data.rfind(b"%%EOF", -PDF_TAIL)
    if end < 0 or data[end + 5 :].strip(b"\r\n\t \0"):
        raise FileRefused("broken_file")
    names = _plain_names(data)
    if ENCRYPTED.search(names) or ACTIVE.search(names):
        raise FileRefused("unsupported_file")
    packed = _packed_objects(data)
    if len(packed) != len(OBJECT_STREAM.findall(names)):
        raise FileRefused("unsupported_file")  # one is written so that it is not found
    if any(ACTIVE.search(_plain_names(objects)) for objects in packed):
        raise FileRefused("unsupported_file")


def _plain_names(data: bytes) -> bytes:
    """`/J#61vaScript` is `/JavaScript` too."""
    return re.sub(rb"#([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), data)


def _packed_objects(data: bytes) -> list[bytes]:
    """What each object stream holds; empty for one that is not packed, which was read already."""
    found, left = [], OBJECTS_AT_MOST
    for begin in re.finditer(rb"(?<!end)stream\r?\n", data):
        entries = _plain_names(data[max(0, begin.start() - DICTIONARY) : begin.start()])
        entries = entries[entries.rfind(b"endobj") + 1 :]
        if not OBJECT_STREAM.search(entries):
            continue
        content = _unpacked(entries, data[begin.end() : data.find(b"endstream", begin.end())], left)
        left -= len(content)
        found.append(content)
    return found


def _unpacked(entries: bytes, packed: bytes, at_most: int) -> bytes:
    """By Flate alone: what nobody writes but to hide something is refused."""
    if b"/Filter" not in entries:
        return b""
    if not FLATE_ALONE.search(entries) or b"/DecodeParms" in entries:
        raise FileRefused("unsupported_file")
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(packed, at_most + 1)
    except zlib.error:
        raise FileRefused("broken_file") from None
    if len(content) > at_most:
        raise FileRefused("unsupported_file")
    if not unpacking.eof:
        raise FileRefused("broken_file")
    return content
