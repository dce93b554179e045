"""PDFs are written anew: what they show is kept, what does something is refused, however hidden."""

import io
import zlib

import pikepdf
import pytest

from api.documents import document_anew
from domain.file import FileRefused
from tests.support.documents import a_pdf, a_report, a_scan, a_stream, a_zip_too, with_packed

ALERT = b"<< /S /JavaScript /JS (app.alert(1)) >>"
TWICE = zlib.compress(zlib.compress(b"4 0 " + ALERT))
BOMB = zlib.compress(b"4 0 <<" + b" " * 300_000_000 + b">>")
A_CATALOGUE = b"1 0 obj\n<< /Type /Catalog /Pages 2 0 R /OpenAction %s >>\nendobj\n" % ALERT
SIGNED = b"/AcroForm << /SigFlags 3 /Fields [4 0 R] >> /Perms << /DocMDP 5 0 R >>"
FIELD = b"<< /FT /Sig /T (doctor) /V 5 0 R /Rect [0 0 9 9] /AP << /N 6 0 R >> >>"
SIGNATURE = b"<< /Type /Sig /ByteRange [0 1 2 3] /Contents <00> >>"


def locked(password: str) -> bytes:
    return a_report(encryption=pikepdf.Encryption(owner="owner", user=password))


def revised(pdf: bytes, later: bytes) -> bytes:
    """With a change written behind its end, as editors do."""
    before = int(pdf.rpartition(b"startxref\n")[2].split()[0])
    table = b"xref\n1 1\n%010d 00000 n \n" % len(pdf)
    end = b"trailer\n<< /Root 1 0 R /Size 4 /Prev %d >>\nstartxref\n%d\n%%%%EOF\n"
    return pdf + later + table + end % (before, len(pdf) + len(later))


def into_a_stream(hidden: bytes) -> bytes:
    """Its table says that the catalogue lies within a stream."""
    pdf = a_pdf(objects=[a_stream(b"1 0 obj\n" + hidden + b"\nendobj\n")])
    plain, within = pdf.index(b"1 0 obj"), pdf.rindex(b"1 0 obj")
    return pdf.replace(b"%010d 00000 n" % plain, b"%010d 00000 n" % within)


@pytest.mark.parametrize(
    "data",
    [
        a_pdf(),
        a_scan(),
        a_report(),
        a_report(linearize=True),
        a_pdf(b"/OpenAction [3 0 R /Fit]"),
        a_pdf(b"/OpenAction << /S /GoTo /D [3 0 R /Fit] >>"),
        a_pdf(b"/OpenAction << /S /Named /N /Print >>"),
        a_pdf(b"/Launched true /XFAmily (x) /X [/JavaScripts /JS /EF]"),
        a_pdf(b"/X (<< /S /GoToRome >>)"),
        a_pdf(b"/X << /BM /Screen /S /Transparency >>"),
        # Letters of a font that happen to be called so.
        a_pdf(objects=[b"<< /Type /Font /CharProcs << /JS 5 0 R /EF 5 0 R >> >>", a_stream(b"d0")]),
        revised(a_pdf(), b"1 0 obj\n<< /Type /Catalog /Pages 2 0 R /Lang (zh) >>\nendobj\n"),
        # Writers that get their table wrong.
        a_pdf().replace(b"startxref\n2", b"startxref\n1"),
        a_pdf().replace(b"\nxref\n", b"\n\n\nxref\n"),
        a_pdf().replace(b"startxref\n", b""),
    ],
)
def test_an_honest_document_shows_what_it_did(data):
    kept = document_anew(data)
    with pikepdf.open(io.BytesIO(data)) as before, pikepdf.open(io.BytesIO(kept)) as after:
        assert len(after.pages) == len(before.pages) > 0
        for old, new in zip(before.pages, after.pages, strict=True):
            assert _drawn(new) == _drawn(old)
            assert old.mediabox == new.mediabox
        assert after.check_pdf_syntax() == []
    document_anew(kept)  # raises nothing: what is downloaded may be sent again


def _drawn(page: pikepdf.Page) -> list[bytes]:
    contents = page.obj.get("/Contents", pikepdf.Array())
    streams = list(contents) if isinstance(contents, pikepdf.Array) else [contents]
    pictures = [page.images[name].read_raw_bytes() for name in sorted(page.images)]
    return [one.read_bytes() for one in streams] + pictures


@pytest.mark.parametrize(
    "entries",
    [
        b"/OpenAction " + ALERT,
        b"/OpenAction << /S /J#61vaScript /J#53 (x) >>",
        b"/OpenAction<</S/Rendition/JS(app.alert(1))/OP 0>>",
        b"/OpenAction<</S%c\n/#4aavaScript%c\n/JS%c\n(x)>>",
        b"/OpenAction << /S /GoToR /F (\\\\\\\\server\\\\share\\\\a.pdf) >>",
        b"/OpenAction << /S /GoTo /D [3 0 R /Fit] /Next << /S /URI /URI (http://a.cn) >> >>",
        b"/OpenAction << /S /URI /URI (http://a.cn) >>",
        b"/AA << /WC << /S /Named /N /Print >> >>",
        b"/X << /S /#4caunch /F (cmd.exe) >>",
        b"/X << /S /GoTo#45 /T << /R /C >> >>",
        b"/X << /S /Submit#46orm /F (http://a.cn) >>",
        b"/X << /S /Import#44ata /F (a.fdf) >>",
        b"/X << /S /Thread /F (a.pdf) >>",
        b"/X << /S /Movie >>",
        b"/X << /S /Sound >>",
        b"/X << /S /RichMedia#45xecute >>",
        b"/X << /S /URI /URI (file:///etc/passwd) >>",
        b"/X << /S /URI /URI (\\\\\\\\server\\\\share) >>",
        b"/URI << /Base (java\\nscript:) >>",
        b"/X << /Subtype /Rich#4dedia >>",
        b"/X << /Subtype /FileAttachment >>",
        b"/X << /Subtype /Screen >>",
        b"/X << /Subtype /3D >>",
        b"/X << /Type /File#73pec >>",
        b"/X << /F (a.pdf) >>",
        b"/X << /UF (a.pdf) >>",
        b"/X << /EF << >> >>",
        b"/X << /Type /Embedded#46ile >>",
        b"/Names << /Embedded#46iles 3 0 R >>",
        b"/Names << /Java#53cript 3 0 R >>",
        b"/AcroForm << /XFA [1 0 R] >>",
        b"/AcroForm << /XFA%c\n[1 0 R] >>",
        b"/AcroForm << /#58FA 3 0 R >>",
        b"/Collection << >>",
    ],
)
def test_a_document_that_does_something_is_refused(entries):
    for data in (a_pdf(entries), with_packed(b"<< " + entries + b" >>")):
        refused(data, "unsupported_file")


@pytest.mark.parametrize(
    "data",
    [
        # The name, or the script, in an object of its own; nothing refers to what does it.
        a_pdf(b"/OpenAction << /S 4 0 R /JS (x) >>", objects=[b"/J#61vaScript"]),
        a_pdf(b"/X << /JS 4 0 R /S /X >>", objects=[a_stream(b"app.alert(1)")]),
        a_pdf(b"/X << /S /URI /URI 4 0 R >>", objects=[b"(javascript:alert(1))"]),
        a_pdf(b"/AcroForm << /XFA 4 0 R >>", objects=[a_stream(b"<xdp/>")]),
        a_pdf(b"/OpenAction 4 0 R", objects=[b"<< /S /Java#53cript >>"]),
        a_pdf(objects=[b"[[[[ << /X [ << /S /Java#53cript >> ] >> ]]]]"]),
        a_pdf(objects=[a_stream(b"", b"/S /Java#53cript")]),
        a_pdf(b"/OpenAction 4 0 R", objects=[a_stream(b"", b"/S /URI /URI (http://a.cn)")]),
        # What is shown lies elsewhere.
        a_pdf(objects=[a_stream(b"x", b"/F (\\\\\\\\server\\\\share)")]),
        a_pdf(objects=[a_stream(b"x", b"/F << /FS /URL >>")]),
        # Packed twice, by other filters, or in a way that reads as something else.
        with_packed(b"", b"[/FlateDecode /FlateDecode]", TWICE),
        with_packed(b"", b"/ASCIIHexDecode", (b"4 0 " + ALERT).hex().encode() + b">"),
        with_packed(b"", b"[/ASCIIHexDecode /Fl]", zlib.compress(b"4 0 " + ALERT).hex().encode()),
        into_a_stream(A_CATALOGUE.replace(b"JavaScript", b"Java#53cript")),
        revised(a_pdf(), A_CATALOGUE.replace(b"JavaScript", b"Java#53cript")),
        # Encrypted, also where everybody may open it.
        locked(""),
        locked("secret"),
    ],
)
def test_hiding_it_does_not_help(data):
    refused(data, "unsupported_file")


@pytest.mark.parametrize(
    "data",
    [
        a_zip_too(),
        a_pdf(after=b"PK\x03\x04"),
        b"%PDF-1.7\n%%EOF",
        b"%PDF-1.7\n" + b"1 0 obj\n" * 1000 + b"%%EOF",
        b"%PDF-1.7\n" + b"[" * 1_000_000 + b"%%EOF",
    ],
)
def test_wrecks_and_what_is_another_file_too_are_refused(data):
    refused(data, "broken_file")


def refused(data: bytes, code: str) -> None:
    with pytest.raises((FileRefused, pikepdf.PdfError)) as raised:
        document_anew(data)
    # What the parser stumbles over is broken to whoever asked it.
    assert getattr(raised.value, "code", "broken_file") == code


def test_what_no_page_needs_is_not_kept():
    hidden = [a_stream(b"a second file")]
    kept = document_anew(a_pdf(objects=hidden).replace(b"\nxref", b"\n%a comment\nxref"))
    assert b"second" not in kept
    assert b"comment" not in kept


def test_what_is_packed_small_and_unpacks_large_is_left_out():
    assert b"   " not in document_anew(with_packed(b"", packed=BOMB))


def test_a_signature_is_taken_off_and_its_seal_stays():
    seal = a_stream(b"0 0 9 9 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]")
    kept = document_anew(a_pdf(SIGNED, objects=[FIELD, SIGNATURE, seal]))
    with pikepdf.open(io.BytesIO(kept)) as pdf:
        field = pdf.Root.AcroForm.Fields[0]
        assert "/V" not in field
        assert field.AP.N.read_bytes() == b"0 0 9 9 re f"
        assert "/Perms" not in pdf.Root
    assert b"ByteRange" not in kept
