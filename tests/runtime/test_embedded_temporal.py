"""The embedded Temporal server: retention and search attributes are there, also on an old file."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from runtime.embedded_temporal import NAMESPACE, SEARCH_ATTRIBUTES, EmbeddedTemporal

pytestmark = pytest.mark.anyio


async def attributes(client: Client) -> dict[str, int]:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=NAMESPACE)
    )
    return dict(listed.custom_attributes)


async def test_a_server_in_memory_knows_our_search_attributes_and_retention() -> None:
    with EmbeddedTemporal.start() as server:
        client = await Client.connect(server.address)
        there = await attributes(client)
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=NAMESPACE)
        )
    assert there.keys() == SEARCH_ATTRIBUTES.keys()
    assert there["DueAt"] == IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    assert kept == timedelta(days=30)


async def test_an_old_file_gets_the_search_attributes_that_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "with space" / "temporal.sqlite"
    file.parent.mkdir()
    with EmbeddedTemporal.start(file) as server:
        client = await Client.connect(server.address)
        await client.operator_service.remove_search_attributes(
            RemoveSearchAttributesRequest(namespace=NAMESPACE, search_attributes=["DueAt"])
        )
        assert "DueAt" not in await attributes(client)
    with EmbeddedTemporal.start(file) as server:
        client = await Client.connect(server.address)
        assert "DueAt" in await attributes(client)
