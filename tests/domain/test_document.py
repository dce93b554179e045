"""Where a PDF begins and ends, what else it might be, and where its links may lead."""

import time

import pytest

from domain.document import check_frame, harmless_address
from domain.file import FileRefused
from tests.support.documents import a_pdf, a_report, a_scan, a_stream, a_zip_too, with_packed

HTML = b"<html><script>alert(1)</script></html>"


@pytest.mark.parametrize(
    "data",
    [
        a_pdf(),
        a_pdf(after=b"\r\n \0"),
        a_scan(),
        a_report(),
        with_packed(b"<< /Type /Annot >>"),
        a_pdf(b"/Launched true /Title (RTF, ZIP, <b> and PK)"),
    ],
)
def test_a_plain_document_is_nothing_else(data):
    check_frame(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"%PDF-9.9\n%%EOF", "broken_file"),
        (b"%PDF-1.7\nnothing more", "broken_file"),
        (b"\n" + a_pdf(), "broken_file"),
        (HTML + a_pdf(), "broken_file"),
        (a_pdf(after=b"PK\x03\x04 a second file"), "broken_file"),
        (a_pdf(after=HTML), "broken_file"),
        (a_pdf(after=HTML + b"\n%%EOF"), "broken_file"),
        (a_pdf().replace(b"1 0 obj", HTML + b"1 0 obj", 1), "broken_file"),
        (a_pdf().replace(b"1 0 obj", b"%" + HTML + b"\n1 0 obj", 1), "broken_file"),
        (a_pdf(b"/X (<!DocType\thtml>)"), "broken_file"),
        (a_pdf(b"/X (<?php system('id'); ?>)"), "broken_file"),
        (a_zip_too(), "broken_file"),
        (a_pdf(objects=[a_stream(a_zip_too())]), "broken_file"),
        (a_pdf(objects=[a_stream(b"Rar!\x1a\x07\x01\0")]), "broken_file"),
        (a_pdf(b"/OpenAction << /S /JavaScript /JS (x) >>"), "unsupported_file"),
        (b"%PDF-1.7 << /S /Launch >> and no objects %%EOF", "unsupported_file"),
    ],
)
def test_what_is_another_file_too_is_refused(data, code):
    with pytest.raises(FileRefused, match=f"^{code}$"):
        check_frame(data)


def test_looking_takes_no_longer_than_reading():
    for inner in (b"<< stream\n ", b"<", b"PK\x03\x04", b"/GoTo"):
        begun = time.process_time()
        with pytest.raises(FileRefused):
            check_frame(a_pdf(inner * (20_000_000 // len(inner)), after=b"x"))
        assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("address", "harmless"),
    [
        (b"https://hospital.cn/a?b=c:d", True),
        (b" HTTP://hospital.cn", True),
        (b"mailto:a@b.cn", True),
        (b"tel:+861", True),
        (b"www.hospital.cn", True),
        (b"http://hospital.cn/\xe4\xb8\xad", True),
        (b"page.html#x:y", True),
        (b"javascript:alert(1)", False),
        (b"JavaScript:alert(1)", False),
        (b"java\nscript:alert(1)", False),
        (b"file:///etc/passwd", False),
        (b"smb://a/b", False),
        (b"C:\\a.exe", False),
        (b"\\\\server\\share", False),
        (b"//server/share", False),
        (b"/\\server/share", False),
        (b"\xfe\xff\0f\0i\0l\0e\0:", False),
    ],
)
def test_a_link_leads_to_a_page_or_a_person(address, harmless):
    assert harmless_address(address) is harmless
