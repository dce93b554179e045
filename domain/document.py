"""What a PDF may hold: it shows something, and does, carries and fetches nothing.

The names here are those of ISO 32000-2. Who compares them has parsed the document: in its bytes a
name can be written in many ways, and lie in packed objects.
"""

import io
import re
import zipfile

from domain.file import FileRefused

TAIL = 1024  # bytes at the end within which a PDF says that it ends
HEAD = re.compile(rb"%PDF-[12]\.[0-9]")

# Marks of a file of another kind within the first. By chance one stands in no file ever sent.
ZIP = re.compile(rb"PK(?:\x03\x04[\x00-\x3f]\x00|\x05\x06\x00\x00\x00\x00)")
ARCHIVES = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
PAGE = re.compile(rb"<(?:!doctype\s+html|html|script|iframe|svg|\?php)[\s>/]", re.IGNORECASE)

# Entries that make a dictionary an action, annotation or object of a kind that is refused.
FORBIDDEN = {
    "/S": frozenset(
        {
            "/JavaScript",
            "/Launch",
            "/GoToR",
            "/GoToE",
            "/Thread",
            "/SubmitForm",
            "/ImportData",
            "/Rendition",
            "/Movie",
            "/Sound",
            "/RichMediaExecute",
        }
    ),
    "/Subtype": frozenset(
        {"/FileAttachment", "/RichMedia", "/Movie", "/Sound", "/Screen", "/3D", "/PS"}
    ),
    "/Type": frozenset({"/EmbeddedFile", "/Filespec", "/Collection"}),
}
# What must not be there, whatever it holds.
KEYS = frozenset(
    {
        "/JavaScript",
        "/XFA",
        "/EmbeddedFiles",
        "/Collection",
        "/RichMediaContent",
        "/RichMediaSettings",
        "/UF",
    }
)
# These are names of a letter's shape too, which is a stream.
UNLESS_DRAWN = frozenset({"/JS", "/AA", "/EF"})
# What a document may do when it is opened: turn to a page, print.
AT_OPENING = frozenset({"/GoTo", "/Named"})
ADDRESSES = frozenset({"/URI", "/Base"})
# What speaks of signatures besides the field that has one.
SIGNING = frozenset({"/Perms", "/DSS", "/SigFlags"})
# An object that spells none of these does nothing.
SUSPECT = re.compile(
    b"(?:%s)(?=[\\s/<>()\\[\\]]|$)"
    % b"|".join(
        name.encode()
        for name in {"/F", "/OpenAction", "/V"}.union(
            KEYS, UNLESS_DRAWN, ADDRESSES, SIGNING, *FORBIDDEN.values()
        )
    )
)

# What a document does openly: said of wrecks too, which nobody can parse.
PLAINLY = re.compile(
    rb"/(?:JavaScript|Launch|EmbeddedFiles?|RichMedia|SubmitForm|ImportData|GoTo[ER]|Rendition)"
    rb"(?![A-Za-z0-9])"
)

UNREAD = re.compile(rb"[\x00-\x20]")  # in java\nscript: too
SCHEME = re.compile(rb"[a-z][a-z0-9+.\-]*:", re.IGNORECASE)
# `\\server`, `//server`, and what is not ASCII from the first byte on, as UTF-16 is.
AWAY = re.compile(rb"[\\/]{2}|\\|[\x80-\xff]")
HARMLESS_SCHEMES = frozenset({b"http:", b"https:", b"mailto:", b"tel:"})


def check_frame(data: bytes) -> None:
    """That it begins and ends as a PDF does, is no other file too, and does nothing openly.

    Raises FileRefused: `broken_file`, or `unsupported_file` for the last.
    """
    end = data.rfind(b"%%EOF", -TAIL)
    if not HEAD.match(data) or end < 0 or data[end + 5 :].strip(b"\r\n\t \0"):
        raise FileRefused("broken_file")
    if _second_file(data):
        raise FileRefused("broken_file")
    if PLAINLY.search(data):
        raise FileRefused("unsupported_file")


def _second_file(data: bytes) -> bool:
    if ZIP.search(data) or PAGE.search(data) or any(mark in data for mark in ARCHIVES):
        return True
    return zipfile.is_zipfile(io.BytesIO(data))


def harmless_address(address: bytes) -> bool:
    """A page or a person. A path on somebody's machine or in its network is not."""
    address = UNREAD.sub(b"", address)
    if found := SCHEME.match(address):
        return found[0].lower() in HARMLESS_SCHEMES
    return not AWAY.match(address)
