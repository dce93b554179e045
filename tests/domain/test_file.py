"""What may come, told by content."""

import pytest

from domain.file import FileKind, FileRefused, kind_of
from tests.support.pictures import ELF, EXE, GIF, SVG


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", FileKind.JPEG),
        (b"\x89PNG\r\n\x1a\n", FileKind.PNG),
        (b"RIFF\x10\0\0\0WEBPVP8 ", FileKind.WEBP),
        (b"\0\0\0\x18ftypheic", FileKind.HEIC),
        (b"\0\0\0\x18ftypmif1", FileKind.HEIC),
        (b"%PDF-1.7", FileKind.PDF),
    ],
)
def test_a_kind_is_told_by_the_first_bytes(data, kind):
    assert kind_of(data) is kind


@pytest.mark.parametrize(
    "data", [b"", SVG, ELF, EXE, GIF, b"PK\x03\x04", b"\0\0\0\x18ftypmp42", b" %PDF-1.7", b"<html>"]
)
def test_what_is_none_of_them_is_refused(data):
    with pytest.raises(FileRefused, match="unsupported_file"):
        kind_of(data)
