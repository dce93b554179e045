"""Pictures that ask for hours of work are told before they are decoded."""

import time
from contextlib import suppress

import pytest

from domain.file import FileRefused, kind_of
from domain.picture import MOST_PARTS, MOST_SCANS, check_work
from tests.support import bombs
from tests.support.pictures import a_heic, a_picture

FLAT = a_picture("JPEG")


def check(data: bytes) -> None:
    check_work(data, kind_of(data))


@pytest.mark.parametrize(
    "data",
    [
        FLAT,
        a_picture("JPEG", (300, 200), progressive=True),
        a_picture("PNG"),
        a_picture("WEBP"),
        a_heic(),
        bombs.of_scans(MOST_SCANS - 9),
        bombs.of_parts(MOST_PARTS - 20),
        bombs.of_chunks(MOST_PARTS - 3),
        bombs.of_profiles(1),
        bombs.of_filling(1000),
        # Bytes of the picture itself that look like markers, restarts among them.
        FLAT[:-2] + b"\xff\x00\xff\xd0\xff\x01\xff\xff\x00" * 1000 + FLAT[-2:],
        # What lies in a part, or behind the end, is no scan: a preview, a film.
        FLAT[:2] + b"\xff\xe1\x40\x02" + b"\xff\xda\0\2" * 4096 + FLAT[2:],
        FLAT + b"\xff\xda\0\2" * 1000,
        # What breaks off is for the decoder to refuse.
        FLAT[:-200],
        FLAT[:-1],
        a_picture("PNG")[:50],
    ],
)
def test_an_honest_picture_asks_for_little(data):
    check(data)


@pytest.mark.parametrize(
    "data",
    [
        bombs.of_scans(MOST_SCANS + 1),
        bombs.of_scans(20_000),
        # Between the scans what a scan may hold, and what may stand between parts.
        bombs.of_scans(100).replace(b"\xff\xda", b"\xff\x00\xff\xd7\xff\xff\xda"),
        bombs.of_parts(MOST_PARTS + 1),
        bombs.of_filling(100_000),
        bombs.of_chunks(MOST_PARTS),
        bombs.of_profiles(2),
        FLAT.replace(b"\xff\xc0", b"\xff\xc9"),  # arithmetic coding
        FLAT.replace(b"\xff\xc0", b"\xff\xc3"),  # lossless
    ],
)
def test_one_that_asks_for_hours_is_refused(data):
    with pytest.raises(FileRefused, match="broken_file"):
        check(data)


@pytest.mark.parametrize(
    "data",
    [
        FLAT[:-2] + b"\xff" * 20_000_000,
        FLAT[:-2] + b"\xff\x00" * 10_000_000,
        FLAT[:-2] + b"\xff\xd0" * 10_000_000,
        FLAT[:2] + b"\xff\xfe\0\0" * 5_000_000,
    ],
)
def test_looking_takes_no_longer_than_reading(data):
    begun = time.process_time()
    with suppress(FileRefused):
        check(data)
    assert time.process_time() - begun < 2
