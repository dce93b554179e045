"""Files that people send: what may come, told by content, and how they are kept."""

from enum import StrEnum

THUMBNAIL = 320  # pixels, the longer side

HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


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
