"""PDFs as people send them, and as nobody should."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence

import pikepdf
from PIL import Image


def a_pdf(extra: bytes = b"", after: bytes = b"", objects: Sequence[bytes] = ()) -> bytes:
    """A page. `extra` goes into its catalogue; `objects` are numbered from 4."""
    data, places = _written((_catalogue(extra), PAGES, PAGE, *objects))
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(places) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Root 1 0 R /Size %d >>\n" % (
        size, table, size,
    )  # fmt: skip
    return data + end + b"startxref\n%d\n%%%%EOF\n" % len(data) + after


def with_packed(
    held: bytes, filters: bytes = b"/FlateDecode", packed: bytes | None = None
) -> bytes:
    """A page, and an object 4 that lies packed in a stream, as most do in what is written today."""
    stored = zlib.compress(b"4 0 " + held) if packed is None else packed
    entries = b"/Type /ObjStm /N 1 /First 4 /Filter " + filters
    data, places = _written((_catalogue(b"/Also 4 0 R"), PAGES, PAGE))
    at_packed, data = len(data), data + b"5 0 obj\n" + a_stream(stored, entries) + b"\nendobj\n"
    at_table = len(data)
    rows = [(0, 0, 65535), *((1, place, 0) for place in places)]
    rows += [(2, 5, 0), (1, at_packed, 0), (1, at_table, 0)]
    table = b"".join(struct.pack(">BIH", *row) for row in rows)
    entries = b"/Type /XRef /Size 7 /W [1 4 2] /Root 1 0 R"
    data += b"6 0 obj\n" + a_stream(table, entries) + b"\nendobj\n"
    return data + b"startxref\n%d\n%%%%EOF\n" % at_table


def a_stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(data), data)


def a_zip_too() -> bytes:
    """A PDF whose second half is a ZIP, whose comment is the PDF's end."""
    pdf = a_pdf()
    body, _, end = pdf.rpartition(b"xref\n0")
    out = io.BytesIO(body)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("program.class", b"\xca\xfe\xba\xbe")
        archive.comment = b"xref\n0" + end
    return out.getvalue()


def a_scan() -> bytes:
    """Two pages, as scanners and telephones write them."""
    out = io.BytesIO()
    page = Image.effect_noise((200, 300), 40)
    page.save(out, "PDF", save_all=True, append_images=[page.convert("RGB")], title="CT")
    return out.getvalue()


def a_report(**how: object) -> bytes:
    """Text, a link, an outline and a form, packed as office programs do."""
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(a_pdf())) as pdf:
        page = pdf.pages[0]
        page.contents_add(b"BT /F1 12 Tf 10 10 Td (HbA1c 5.6 %) Tj ET")
        font = pikepdf.Dictionary(
            Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
        )
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
        link = b"<< /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://a.cn) >> >>"
        page.Annots = pikepdf.Array([pdf.make_indirect(pikepdf.Object.parse(link))])
        with pdf.open_outline() as outline:
            outline.root.append(pikepdf.OutlineItem("Results", 0))
        pdf.Root.OpenAction = pikepdf.Array([page.obj, pikepdf.Name.Fit])
        packed = pikepdf.ObjectStreamMode.generate
        pdf.save(out, object_stream_mode=packed, **how)
    return out.getvalue()


PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Resources << >> >>"


def _catalogue(extra: bytes) -> bytes:
    return b"<< /Type /Catalog /Pages 2 0 R " + extra + b" >>"


def _written(objects: Sequence[bytes]) -> tuple[bytes, list[int]]:
    data, places = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for number, held in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, held)
    return data, places
