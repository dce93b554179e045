"""The connection to Temporal, and what a namespace must have before workflows run in it."""

import logging
import os
import socket
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode, TLSConfig

from db.keyring import Keyring
from runtime.codec import data_converter
from runtime.settings import SettingsError, TemporalSettings
from workflows import search


class WrongSearchAttribute(Exception):
    """The namespace has a search attribute of this name and another type; names both."""


async def connect(
    settings: TemporalSettings,
    keyring: Keyring,
    *,
    lazy: bool = True,
    runtime: Runtime | None = None,
    process: str = "hospital",
) -> Client:
    """A client that seals its payloads. `process` is how operators see it as a poller's identity.

    Lazy, it connects at the first call, so that the API starts and books while Temporal is away.
    Workers need `lazy=False`: the SDK refuses a lazy client there.
    Raises SettingsError for TLS files that do not fit, and RuntimeError when not lazy and Temporal
    does not answer.
    """
    return await Client.connect(
        settings.address,
        namespace=settings.namespace,
        api_key=settings.api_key,
        data_converter=data_converter(keyring),
        tls=tls_of(settings),
        identity=f"{process}-{os.getpid()}@{socket.gethostname()}",
        lazy=lazy,
        runtime=runtime,
        # Sealed payloads do not get smaller: compressing them is CPU for nothing.
        grpc_compression=GrpcCompression.NONE,
    )


def tls_of(settings: TemporalSettings) -> TLSConfig | bool:
    """Any of the TLS files, or an API key, means TLS. Raises SettingsError."""
    cert, key, ca = (
        settings.tls_client_cert,
        settings.tls_client_key,
        settings.tls_server_ca,
    )
    if (cert is None) != (key is None):
        lacking = "CERT" if cert is None else "KEY"
        raise SettingsError(
            f"TEMPORAL_TLS_CLIENT_{lacking}_PATH is not set, but its counterpart is"
        )
    if not (cert or key or ca):
        return settings.tls or settings.api_key is not None
    try:
        return TLSConfig(
            client_cert=cert.read_bytes() if cert else None,
            client_private_key=key.read_bytes() if key else None,
            server_root_ca_cert=ca.read_bytes() if ca else None,
        )
    except OSError as error:
        raise SettingsError(f"TEMPORAL_TLS_*_PATH: {error.filename}: {error.strerror}") from None


def metrics_runtime(bind_address: str | None) -> Runtime:
    """The SDK's own metrics at `http://<bind_address>/metrics`; its logs join ours.

    One per process, made before the client. Raises SettingsError when the address cannot be bound.
    """
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
    )
    metrics = bind_address and PrometheusConfig(
        bind_address=bind_address,
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
    )
    try:
        return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics or None))
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"metrics cannot be served on {bind_address}: {error}") from None


async def register_search_attributes(client: Client) -> None:
    """Add what is missing; may run at any time, by several processes at once.

    Raises WrongSearchAttribute. A namespace of Temporal Cloud refuses (RPCError): add them there
    with `tcld namespace search-attributes add`.
    """
    wanted = {key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in search.ALL}
    there = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    for name, kind in wanted.items():
        found = there.custom_attributes.get(name)
        if found is not None and found != kind:
            raise WrongSearchAttribute(
                f"{name} is {IndexedValueType.Name(found)}, not {IndexedValueType.Name(kind)}"
            )
    # One at a time: when another process was first, only that one is refused.
    for name in wanted.keys() - there.custom_attributes.keys():
        try:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace, search_attributes={name: wanted[name]}
                )
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:
                raise


async def set_retention(client: Client, days: int) -> None:
    """How long the namespace keeps closed workflows: at least a day, whole days."""
    ttl = Duration()
    ttl.FromTimedelta(timedelta(days=days))
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(
            namespace=client.namespace,
            config=NamespaceConfig(workflow_execution_retention_ttl=ttl),
        )
    )
