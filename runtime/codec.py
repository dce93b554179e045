"""What Temporal stores is sealed: payloads with AES-GCM, and the texts of failures with them.

A sealed payload names its key, so that a new current key leaves old histories readable. What was
written before there was a codec passes through. Workflow ids, types, search attributes and error
*types* are not payloads: they are never sealed and must hold ids and codes alone.

Nonces are random, so one key is good for 2^32 payloads (NIST SP 800-38D, 8.3); at a million a day
that is eleven years. Rotate the keyring yearly.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
)

from db.keyring import Keyring

ENCODING = b"binary/encrypted"
CIPHER = b"AES-GCM"
NONCE = 12


class PayloadDamaged(Exception):
    """A sealed payload does not open: it was changed, cut, or moved under another key id."""


class NotPayloads(Exception):
    """A request to decode holds something else than Temporal payloads."""


@dataclass(frozen=True)
class SealingCodec(PayloadCodec):
    """Seals with the keyring's current key, opens with any of it.

    It works on the caller's thread: a usual payload costs 3 microseconds, the largest that Temporal
    takes (2 MB) 0.6 ms, while a hop to another thread and back costs 80 microseconds each time.
    """

    keyring: Keyring
    _ciphers: dict[str, AESGCM] = field(default_factory=dict, repr=False)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._seal(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises PayloadDamaged, or UnknownKey when a key was removed too early."""
        return [self._open(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        key_id = self.keyring.current
        name, nonce = key_id.encode(), secrets.token_bytes(NONCE)
        sealed = self._cipher(key_id).encrypt(nonce, payload.SerializeToString(), name)
        return Payload(
            metadata={
                "encoding": ENCODING,
                "encryption-cipher": CIPHER,
                "encryption-key-id": name,
            },
            data=nonce + sealed,
        )

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        name = payload.metadata.get("encryption-key-id", b"")
        cipher = self._cipher(name.decode(errors="replace") or "(none)")
        try:
            plain = cipher.decrypt(payload.data[:NONCE], payload.data[NONCE:], name)
            return Payload.FromString(plain)
        except (InvalidTag, ValueError, DecodeError) as error:
            raise PayloadDamaged(type(error).__name__) from None

    def _cipher(self, key_id: str) -> AESGCM:
        # Kept, because deriving the key costs as much again as sealing a payload.
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            cipher = AESGCM(self.keyring.derived("payload", key_id))
            self._ciphers[key_id] = cipher
        return cipher


# Temporal makes a payload converter for each workflow; one of its own would compile the schema of
# every type anew, which costs more than all else that it does.
_JSON = PydanticJSONPlainPayloadConverter()


class SharedPydanticConverter(CompositePayloadConverter):
    """temporalio.contrib.pydantic's converter, with one JSON converter for the whole process."""

    def __init__(self) -> None:
        super().__init__(
            *(
                _JSON if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


def data_converter(keyring: Keyring) -> DataConverter:
    """What every client, worker and replayer uses; another one cannot read these histories."""
    return DataConverter(
        payload_converter_class=SharedPydanticConverter,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        payload_codec=SealingCodec(keyring),
    )


async def decode_payloads_json(codec: PayloadCodec, body: bytes) -> bytes:
    """The Temporal web UI's codec protocol: `{"payloads": [{"metadata": {…}, "data": …}]}`.

    Values of metadata, and data, are base64. Raises NotPayloads (a bad request), PayloadDamaged,
    or UnknownKey.
    """
    try:
        raw = json.loads(body)
        if not isinstance(raw, dict):
            raise NotPayloads(type(raw).__name__)
        asked = json_format.ParseDict(raw, Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise NotPayloads(type(error).__name__) from None
    opened = Payloads(payloads=await codec.decode(asked.payloads))
    return json_format.MessageToJson(opened, indent=None).encode()
