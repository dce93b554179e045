"""Nothing a person said or is called stands in the clear in what Temporal stores."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from db.keyring import Keyring, UnknownKey, create_keyring
from runtime.codec import (
    NotPayloads,
    PayloadDamaged,
    SealingCodec,
    data_converter,
    decode_payloads_json,
)

pytestmark = pytest.mark.anyio

CANARY = "13900001111"


@dataclass(frozen=True)
class Booking:
    order_no: str
    fee: Decimal
    note: str


BOOKING = Booking("A1", Decimal("19.90"), CANARY)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    create_keyring(tmp_path / "keyring.json")
    return Keyring.load(tmp_path / "keyring.json")


@pytest.fixture
def rotated(keyring: Keyring) -> Keyring:
    return replace(keyring, current="k2", keys={**keyring.keys, "k2": bytes(range(32))})


async def test_a_value_comes_back_as_it_went(keyring: Keyring) -> None:
    converter = data_converter(keyring)
    sealed = await converter.encode([BOOKING, None])
    assert await converter.decode(sealed, [Booking, type(None)]) == [BOOKING, None]


async def test_the_stored_bytes_hold_no_canary(keyring: Keyring) -> None:
    (sealed,) = await data_converter(keyring).encode([BOOKING])
    assert CANARY.encode() not in sealed.SerializeToString()
    assert b"order_no" not in sealed.SerializeToString()


async def test_the_same_value_is_sealed_differently_each_time(keyring: Keyring) -> None:
    first, second = await data_converter(keyring).encode([BOOKING, BOOKING])
    assert first.data != second.data


async def test_an_old_key_still_opens_and_the_current_one_seals(
    keyring: Keyring, rotated: Keyring
) -> None:
    old = await data_converter(keyring).encode([BOOKING])
    converter = data_converter(rotated)
    assert await converter.decode(old, [Booking]) == [BOOKING]
    (new,) = await converter.encode([BOOKING])
    assert new.metadata["encryption-key-id"] == b"k2"


async def test_a_key_removed_too_early_is_told(keyring: Keyring, rotated: Keyring) -> None:
    sealed = await data_converter(rotated).encode([BOOKING])
    with pytest.raises(UnknownKey, match="k2"):
        await data_converter(keyring).decode(sealed)


async def test_what_was_stored_in_the_clear_passes_through(keyring: Keyring) -> None:
    clear = await DataConverter.default.encode([{"order_no": "A1"}])
    assert await data_converter(keyring).decode(clear) == [{"order_no": "A1"}]


async def test_a_changed_payload_does_not_open(keyring: Keyring, rotated: Keyring) -> None:
    codec = SealingCodec(rotated)
    (sealed,) = await codec.encode([Payload(data=b"x")])
    flipped = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    for data in (flipped, sealed.data[:20], b""):
        with pytest.raises(PayloadDamaged):
            await codec.decode([Payload(metadata=sealed.metadata, data=data)])
    moved = {**sealed.metadata, "encryption-key-id": b"k1"}
    with pytest.raises(PayloadDamaged):
        await codec.decode([Payload(metadata=moved, data=sealed.data)])


async def test_a_failure_keeps_its_text_and_stack_sealed(keyring: Keyring) -> None:
    converter = data_converter(keyring)
    failure = Failure()
    try:
        try:
            raise ValueError(CANARY)
        except ValueError as cause:
            raise ApplicationError(CANARY, {"phone": CANARY}, type="NotAllowed") from cause
    except ApplicationError as error:
        await converter.encode_failure(error, failure)
    stored = failure.SerializeToString()
    assert CANARY.encode() not in stored
    assert b"test_codec.py" not in stored
    back = await converter.decode_failure(failure)
    assert isinstance(back, ApplicationError)
    assert (back.message, back.type) == (CANARY, "NotAllowed")
    assert CANARY in str(back.__cause__)


# For the Temporal web UI


def _as_json(payload: Payload) -> dict[str, object]:
    metadata = {key: b64encode(value).decode() for key, value in payload.metadata.items()}
    return {"metadata": metadata, "data": b64encode(payload.data).decode()}


async def test_the_web_ui_gets_its_payloads_opened(keyring: Keyring) -> None:
    sealed = await data_converter(keyring).encode([{"order_no": "A1"}, None])
    body = json.dumps({"payloads": [_as_json(payload) for payload in sealed]}).encode()
    answer = json.loads(await decode_payloads_json(SealingCodec(keyring), body))
    first, second = answer["payloads"]
    assert json.loads(b64decode(first["data"])) == {"order_no": "A1"}
    assert b64decode(first["metadata"]["encoding"]) == b"json/plain"
    assert b64decode(second["metadata"]["encoding"]) == b"binary/null"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        b'{"payloads": 1}',
        b'{"payloads": [{"metadata": {"encoding": 5}}]}',
        b'{"payloads":' + b"[" * 100_000,
    ],
)
async def test_a_body_that_holds_no_payloads_is_refused(keyring: Keyring, body: bytes) -> None:
    with pytest.raises(NotPayloads):
        await decode_payloads_json(SealingCodec(keyring), body)
