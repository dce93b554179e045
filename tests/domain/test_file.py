"""What may come, told by content."""

import zlib

import pytest

from domain.file import FileKind, FileRefused, check_pdf, kind_of
from tests.support.pictures import ELF, EXE, GIF, SVG, a_pdf, with_packed

FLATE = b"/Filter /FlateDecode"
HIDING = b"the end of this is cut off"


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


@pytest.mark.parametrize(
    "data",
    [
        a_pdf(),
        a_pdf(after=b"\r\n \0"),
        a_pdf(b"/OpenAction [2 0 R /Fit]"),
        with_packed(b"1 0 << /Type /Annot >>"),
        with_packed(b"1 0 << /Type /Annot >>", b"/Filter [/FlateDecode]"),
        a_pdf(b"/Launched true /XFAmily (x)"),
    ],
)
def test_a_plain_document_is_taken(data):
    check_pdf(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"%PDF-9.9\n%%EOF", "broken_file"),
        (b"%PDF-1.7\nnothing more", "broken_file"),
        (a_pdf(after=b"PK\x03\x04 a second file"), "broken_file"),
        (a_pdf(b"/OpenAction << /S /JavaScript /JS (x) >>"), "unsupported_file"),
        (a_pdf(b"/OpenAction << /S /J#61vaScript /JS (x) >>"), "unsupported_file"),
        (a_pdf(b"/OpenAction << /S /Launch /F (cmd.exe) >>"), "unsupported_file"),
        (a_pdf(b"/Names << /EmbeddedFiles 5 0 R >>"), "unsupported_file"),
        (a_pdf(b"/AcroForm << /XFA [1 0 R] >>"), "unsupported_file"),
        (a_pdf(b"/Encrypt 9 0 R"), "unsupported_file"),
        (with_packed(b"1 0 << /S /JavaScript /JS (x) >>"), "unsupported_file"),
        (with_packed(b"1 0 << /S /Launch >>", b"/Filter[/Fl]"), "unsupported_file"),
        # Where one cannot look, nothing is taken.
        (with_packed(b"x", b"/Filter [/ASCIIHexDecode /FlateDecode]"), "unsupported_file"),
        (with_packed(b"x", b"/Filter [/FlateDecode /FlateDecode]"), "unsupported_file"),
        (with_packed(b"x", FLATE + b" /DecodeParms << /Predictor 12 >>"), "unsupported_file"),
        (with_packed(b"x", FLATE + b" " * 5000), "unsupported_file"),
        (with_packed(b"\0" * 40_000_000), "unsupported_file"),
        (with_packed(HIDING).replace(zlib.compress(HIDING)[-9:], b"\n"), "broken_file"),
        (with_packed(b"x" * 9999).replace(b"stream\n", b"stream\nX", 1), "broken_file"),
    ],
)
def test_a_document_that_does_something_is_refused(data, code):
    with pytest.raises(FileRefused, match=f"^{code}$"):
        check_pdf(data)


def test_looking_takes_no_longer_than_reading():
    check_pdf(a_pdf(b"<< stream\n " * 200_000))
