"""The connection, and what a namespace must have, on the real server."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import TLSConfig

from db.keyring import Keyring
from runtime.embedded_temporal import EmbeddedTemporal, free_port
from runtime.settings import SettingsError, TemporalSettings
from runtime.temporal import (
    WrongSearchAttribute,
    connect,
    metrics_runtime,
    register_search_attributes,
    set_retention,
    tls_of,
)
from workflows import search

pytestmark = pytest.mark.anyio

KEYRING = Keyring(current="k1", keys={"k1": bytes(32)}, index=bytes(32))


def settings(address: str = "127.0.0.1:1", **changed: object) -> TemporalSettings:
    values = {
        "address": address,
        "namespace": "default",
        "api_key": None,
        "tls": False,
        "tls_client_cert": None,
        "tls_client_key": None,
        "tls_server_ca": None,
    }
    return TemporalSettings(**{**values, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedTemporal]:
    with EmbeddedTemporal.start() as running:
        yield running


async def _names(client: Client) -> set[str]:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return set(listed.custom_attributes)


async def _remove(client: Client, *names: str) -> None:
    await client.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=names)
    )


async def test_search_attributes_are_registered_once_however_often(
    server: EmbeddedTemporal,
) -> None:
    client = await connect(settings(server.address), KEYRING)
    await _remove(client, "OrderStatus", "DueAt")
    await asyncio.gather(*(register_search_attributes(client) for _ in range(3)))
    await register_search_attributes(client)
    assert {key.name for key in search.ALL} <= await _names(client)


async def test_a_search_attribute_of_another_type_is_told(server: EmbeddedTemporal) -> None:
    client = await connect(settings(server.address), KEYRING)
    await register_search_attributes(client)
    await _remove(client, "DoctorId")
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace="default",
            search_attributes={"DoctorId": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        )
    )
    with pytest.raises(WrongSearchAttribute, match=r"DoctorId is .*KEYWORD, not .*INT"):
        await register_search_attributes(client)
    await _remove(client, "DoctorId")
    await register_search_attributes(client)


async def test_what_a_client_starts_is_found_and_sealed(server: EmbeddedTemporal) -> None:
    client = await connect(settings(server.address), KEYRING)
    await register_search_attributes(client)
    handle = await client.start_workflow(
        "AppointmentWorkflow",
        {"note": "13900001111"},
        id="appointment/A1",
        task_queue="nobody",
        static_summary="order 13900001111",
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(search.ORDER_STATUS, "pending"),
                SearchAttributePair(search.DUE_AT, datetime(2030, 1, 1, tzinfo=UTC)),
                SearchAttributePair(search.DOCTOR_ID, 7),
            ]
        ),
    )
    history = await handle.fetch_history()
    assert b"13900001111" not in b"".join(event.SerializeToString() for event in history.events)
    described = await handle.describe()
    assert described.typed_search_attributes[search.DOCTOR_ID] == 7
    await handle.terminate()


async def test_retention_is_set(server: EmbeddedTemporal) -> None:
    client = await connect(settings(server.address), KEYRING)
    await set_retention(client, 7)
    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="default")
    )
    assert described.config.workflow_execution_retention_ttl.ToTimedelta() == timedelta(days=7)


async def test_a_client_is_there_while_temporal_is_not() -> None:
    client = await connect(settings(), KEYRING, process="api-1")
    assert client.identity.startswith("api-1-")


def test_tls_follows_from_what_is_set(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"ca")
    assert tls_of(settings()) is False
    assert tls_of(settings(tls=True)) is True
    assert tls_of(settings(api_key="k")) is True
    assert tls_of(settings(tls_server_ca=tmp_path / "ca.pem")) == TLSConfig(
        server_root_ca_cert=b"ca"
    )


def test_tls_files_that_do_not_fit_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TEMPORAL_TLS_CLIENT_KEY_PATH is not set"):
        tls_of(settings(tls_client_cert=tmp_path / "cert.pem"))
    with pytest.raises(SettingsError, match=r"no\.pem: No such file"):
        tls_of(settings(tls_server_ca=tmp_path / "no.pem"))


async def test_metrics_of_the_sdk_need_a_free_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    first = metrics_runtime(address)
    with pytest.raises(SettingsError, match=f"metrics cannot be served on {address}"):
        metrics_runtime(address)
    del first


async def test_metrics_of_the_sdk_may_be_left_out() -> None:
    assert metrics_runtime(None)
