"""One house for the tests that leave it whole, and one for those that pull it down."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.support.books", "tests.support.house")

from tests.support.house import House  # noqa: E402 after what it is registered for


def _opened() -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="hospital-e2e-") as directory:
        house = House(Path(directory) / "house")
        try:
            try:
                house.open()
            except BaseException:
                print(house.all_said())
                raise
            yield house
        finally:
            house.close()


@pytest.fixture(scope="session")
def shared_house() -> Iterator[House]:
    yield from _opened()


@pytest.fixture(scope="session")
def shaky_house() -> Iterator[House]:
    yield from _opened()


@pytest.fixture
def house(shared_house: House, request: pytest.FixtureRequest) -> Iterator[House]:
    """A house in which nothing breaks. What its rooms said is shown when a test fails."""
    yield from _watched(shared_house, request)


@pytest.fixture
def shaken(shaky_house: House, request: pytest.FixtureRequest) -> Iterator[House]:
    """A house whose parts a test may stop and kill; whole again for the next test."""
    yield from _watched(shaky_house, request)
    shaky_house.mend()


def _watched(house: House, request: pytest.FixtureRequest) -> Iterator[House]:
    failed = request.session.testsfailed
    yield house
    if request.session.testsfailed > failed:
        print(house.all_said())
