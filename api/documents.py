"""PDFs parsed and written anew: what is kept is what was understood, and nothing beside it.

A look at the bytes alone can be led astray: by comments, by packed objects, by a table that points
into a stream. Runs in quarantine alone.
"""

import io
from collections.abc import Iterator

import pikepdf

from domain.document import (
    ADDRESSES,
    AT_OPENING,
    FORBIDDEN,
    KEYS,
    SIGNING,
    SUSPECT,
    UNLESS_DRAWN,
    check_frame,
    harmless_address,
)
from domain.file import FileRefused

# What object streams may unpack to: nothing else is unpacked here.
pikepdf.settings.set_qpdf_limits(flate_max_memory=128 * 1024 * 1024)

Entries = pikepdf.Dictionary | pikepdf.Stream


def document_anew(data: bytes) -> bytes:
    """Raises FileRefused: `broken_file` for what is no PDF, or another file too, `unsupported_file`
    for one that runs, launches, carries or fetches something, or is encrypted. Raises whatever the
    parser stumbles with."""
    check_frame(data)
    try:
        pdf = pikepdf.open(io.BytesIO(data), inherit_page_attributes=False)
    except pikepdf.PasswordError:
        raise FileRefused("unsupported_file") from None
    with pdf:
        if pdf.is_encrypted:
            raise FileRefused("unsupported_file")
        suspects = list(_suspects(pdf))
        for entries in suspects:
            _check(entries)
        for entries in suspects:
            _take_off_signature(entries)
        written = _written(pdf)
    check_frame(written)  # the whole may spell what its packed parts hid
    return written


def _suspects(pdf: pikepdf.Pdf) -> Iterator[Entries]:
    """Also those that nothing refers to. Most objects of a large document are told harmless by
    their spelling, in which qpdf writes a name in one way."""
    for held in (pdf.trailer, *pdf.objects):
        if isinstance(held, pikepdf.Stream):
            spelled = held.stream_dict.unparse(resolved=True)
        elif isinstance(held, pikepdf.Object):
            spelled = held.unparse(resolved=True)
        else:
            continue  # a number
        if SUSPECT.search(spelled):
            yield from _within(held)


def _within(held: object) -> Iterator[Entries]:
    """Without what is referred to: that is an object of its own."""
    if isinstance(held, pikepdf.Name) and any(str(held) in names for names in FORBIDDEN.values()):
        raise FileRefused("unsupported_file")  # whoever refers to it would not be suspected
    ahead = [held]
    while ahead:
        one = ahead.pop()
        if isinstance(one, pikepdf.Dictionary | pikepdf.Stream):
            yield one
            inner: list[object] = [value for _, value in one.items()]
        elif isinstance(one, pikepdf.Array):
            inner = list(one)
        else:
            continue
        ahead += [value for value in inner if _is_direct(value)]


def _is_direct(value: object) -> bool:
    return isinstance(value, pikepdf.Dictionary | pikepdf.Array) and not value.is_indirect


def _check(entries: Entries) -> None:
    stream = isinstance(entries, pikepdf.Stream)
    if "/JS" in entries and "/S" in entries:
        raise FileRefused("unsupported_file")  # a script may be a stream
    for key, value in entries.items():
        named = str(value) if isinstance(value, pikepdf.Name) else None
        if (
            key in KEYS
            or (key in UNLESS_DRAWN and not isinstance(value, pikepdf.Stream))
            or (named is not None and named in FORBIDDEN.get(key, ()))
            or (key == "/F" and (stream or isinstance(value, pikepdf.String)))  # it lies elsewhere
            or (key == "/OpenAction" and not _only_goes(value))
            or (key in ADDRESSES and not _harmless(value))
        ):
            raise FileRefused("unsupported_file")


def _only_goes(action: object) -> bool:
    """Nobody was asked whether a document may fetch a page when it is opened."""
    if not isinstance(action, pikepdf.Dictionary | pikepdf.Stream):
        return True  # to a place in it
    return str(action.get("/S")) in AT_OPENING and "/Next" not in action


def _harmless(address: object) -> bool:
    return not isinstance(address, pikepdf.String) or harmless_address(bytes(address))


def _take_off_signature(entries: Entries) -> None:
    """It speaks of the bytes that came. Left in, a viewer would call the document forged; what was
    drawn for it, such as a seal, stays."""
    signature = entries.get("/V")
    if isinstance(signature, pikepdf.Dictionary) and "/ByteRange" in signature:
        del entries["/V"]
    for key in SIGNING:
        if key in entries:
            del entries[key]


def _written(pdf: pikepdf.Pdf) -> bytes:
    out = io.BytesIO()
    pdf.save(
        out,
        # A picture or a font stays as it was packed; unpacking one can take any time.
        stream_decode_level=pikepdf.StreamDecodeLevel.none,
        fix_metadata_version=False,  # else XML is read
        deterministic_id=True,
    )
    return out.getvalue()
