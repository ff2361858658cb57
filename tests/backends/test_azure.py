"""The Azure Blob store on Azurite, over real connections."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.backends.cloud_cases import DriverCases
from tests.backends.cloud_stores import CloudStoreCases
from tests.services.azurite import Azurite, azurite
from tests.services.process import started
from tests.services.proxy import Answer
from tests.smoke import SMOKE
from truthstore import RESULTS
from truthstore.backends.azure_blob import AzureBlobConfig, AzureBlobs, AzureBlobStore
from truthstore.errors import StoreConfigError, StoreConnectionError, StoreNotFoundError, StoreReadError
from truthstore.testing import SAMPLES, BlobsSuite, StoreSuite, store_machine

pytestmark = pytest.mark.xdist_group("azure")

numbers = itertools.count()


def error(status: int, code: str) -> Answer:
    """An error as Azure sends it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said the server</Message></Error>"
    return Answer(status, body.encode(), (("Content-Type", "application/xml"), ("x-ms-error-code", code)))


EXPIRED = error(403, "AuthenticationFailed")
DENIED = error(403, "AuthorizationPermissionMismatch")


@pytest.fixture(scope="session")
def server():
    yield from started(azurite())


def container_client(server: Azurite, name: str) -> Any:
    from azure.storage.blob import ContainerClient

    return ContainerClient.from_connection_string(server.connection_string, name)


def new_container(server: Azurite) -> str:
    """The name of a new container."""
    name = f"container-{next(numbers)}"
    with container_client(server, name) as client:
        client.create_container()
    return name


@pytest.fixture(scope="session")
def container(server: Azurite) -> str:
    with container_client(server, "container") as client:
        client.create_container()
    return "container"


@pytest.fixture
def location(server: Azurite, container: str) -> dict[str, Any]:
    return {"connection_string": server.connection_string, "container": container, "prefix": f"test-{next(numbers)}/"}


class TestAzureBlobs(BlobsSuite):
    @pytest.fixture
    def location(self, server: Azurite, container: str) -> Any:
        return {
            "connection_string": server.connection_string,
            "container": container,
            "prefix": f"blobs-{next(numbers)}/",
        }

    def make_blobs(self, location):
        return AzureBlobs(AzureBlobConfig(**location), location["prefix"])


class OwnContainer:
    """A container for each test, which it may remove."""

    @pytest.fixture
    def location(self, server: Azurite) -> Any:
        return {"container": new_container(server), "prefix": "a/", "server": server}

    def remove_bucket(self, location: Any) -> None:
        with container_client(location["server"], location["container"]) as client:
            client.delete_container()

    def names(self, location: Any) -> list[str]:
        with container_client(location["server"], location["container"]) as client:
            return list(client.list_blob_names())

    def read_object(self, location: Any, name: str) -> tuple[bytes, str | None]:
        with container_client(location["server"], location["container"]) as client:
            answer = client.download_blob(name)
            return answer.readall(), answer.properties.content_settings.content_encoding

    def options(self, url: str, location: Any) -> dict[str, Any]:
        server: Azurite = location["server"]
        return {
            "container": location["container"],
            "account_url": f"{url}/{server.account_name}",
            "account_name": server.account_name,
            "account_key": server.account_key,
        }


class TestAzureCloud(OwnContainer, CloudStoreCases):
    expired = EXPIRED
    denied = DENIED

    def open_store(self, url, location, **options):
        server: Azurite = location["server"]
        return AzureBlobStore(**self.options(url or f"http://127.0.0.1:{server.port}", location), **options)


class TestAzureFaults(OwnContainer, DriverCases):
    busy = error(503, "ServerBusy")
    expired = EXPIRED
    denied = DENIED
    secret = Azurite(0).account_key

    def open(self, url, location, **options):
        return AzureBlobs(AzureBlobConfig(**self.options(url, location), **options), location["prefix"])

    def read_by_vendor(self, location, key):
        return self.read_object(location, location["prefix"] + key)


def test_what_is_written(server: Azurite, location: dict[str, Any]):
    labels = {"team": "Größe, 数据", "plain": "a b"}
    config = AzureBlobConfig(**location, access_tier="Cool", content_type="application/x-result", metadata=labels)
    blobs = AzureBlobs(config, location["prefix"])
    blobs.put("a.json.gz", b"1")
    blobs.put("_truthstore/log/a", b"1")
    with container_client(server, "container") as client:
        facts = client.get_blob_client(location["prefix"] + "a.json.gz").get_blob_properties()
        assert facts.blob_tier == "Cool"
        assert facts.content_settings.content_type == "application/x-result"
        assert facts.content_settings.content_encoding is None
        assert facts.metadata == {"team": "Gr%C3%B6%C3%9Fe, %E6%95%B0%E6%8D%AE", "plain": "a b"}
        index = client.get_blob_client(location["prefix"] + "_truthstore/log/a").get_blob_properties()
        assert index.blob_tier == "Hot"
        blobs.set_access_tier("a.json.gz", "Archive")
        with pytest.raises(StoreReadError, match="archive"):
            blobs.get("a.json.gz")
        blobs.set_access_tier("a.json.gz", "Hot")
        assert client.get_blob_client(location["prefix"] + "a.json.gz").get_blob_properties().blob_tier == "Hot"
    with pytest.raises(StoreNotFoundError):
        blobs.set_access_tier("missing", "Cool")
    with pytest.raises(StoreConfigError, match="Hot"):
        blobs.set_access_tier("a.json.gz", "Lukewarm")
    blobs.close()


def test_a_shared_access_signature(server: Azurite, container: str):
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    signature = generate_container_sas(
        server.account_name,
        container,
        account_key=server.account_key,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    prefix = f"sas-{next(numbers)}/"
    writer = AzureBlobs(AzureBlobConfig(container=container, connection_string=server.connection_string), prefix)
    writer.put("a", b"1")
    for token in (signature, f"?{signature}"):
        config = AzureBlobConfig(container=container, account_url=server.url, sas_token=token)
        blobs = AzureBlobs(config, prefix)
        assert signature not in repr(config)
        assert blobs.get("a")[0] == b"1"
        assert list(blobs.list("")) == ["a"]
        with pytest.raises(StoreConnectionError) as caught:
            blobs.put("a", b"2")
        assert signature not in str(caught.value)
        blobs.close()
    writer.close()


def test_a_wrong_key(server: Azurite, container: str):
    config = AzureBlobConfig(
        container=container, account_url=server.url, account_name=server.account_name, account_key="d3Jvbmc="
    )
    with pytest.raises(StoreConnectionError, match="account key") as caught:
        AzureBlobs(config).get("a")
    assert "d3Jvbmc=" not in str(caught.value)
    assert "d3Jvbmc=" not in repr(config)


def test_nobody_listens():
    config = AzureBlobConfig(
        container="c", account_url="http://127.0.0.1:9", sas_token="sv=1&sig=open-sesame", retries=0, timeout=2.0
    )
    with pytest.raises(StoreConnectionError, match="did not answer") as caught:
        AzureBlobs(config).get("a")
    assert caught.value.retryable
    assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"account_name": "a"}, "container"),
        ({"container": "c"}, "connection_string="),
        ({"container": "c", "account_url": "https://a?sig=open-sesame"}, "sas_token="),
        ({"container": "c", "account_name": "a", "account_key": "k", "sas_token": "s"}, "one of"),
        ({"container": "c", "account_name": "a", "access_tier": "Warm"}, "Hot"),
        ({"container": "c", "account_name": "a", "access_tier": "Archive"}, "set_access_tier"),
        ({"container": "c", "account_name": "a", "metadata": {"a-b": ""}}, "a-b"),
        ({"container": "c", "account_name": "a", "single_writer": True}, "single_writer"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str):
    with pytest.raises(StoreConfigError, match=words) as caught:
        AzureBlobs(AzureBlobConfig(**options))
    assert "open-sesame" not in str(caught.value)


class TestAzureBlobStore(StoreSuite):
    """In a container for each test, because Azurite reads all of a container for every list."""

    smoke = SMOKE

    @pytest.fixture
    def location(self, server: Azurite, tmp_path: Path) -> Any:
        name = new_container(server)
        return {"connection_string": server.connection_string, "container": name, "cache_dir": tmp_path}

    def make_store(self, location, *, collection=RESULTS, **options):
        return AzureBlobStore(collection=collection, **location, **options)


places: dict[str, Any] = {}


@pytest.fixture
def place(server: Azurite, tmp_path: Path) -> None:
    """Where the machine below stores: it takes no fixtures."""
    places.update(server=server, caches=tmp_path)


def machine_store(container: str) -> AzureBlobStore[Any]:
    return AzureBlobStore(
        connection_string=places["server"].connection_string,
        container=container,
        cache_dir=places["caches"] / str(next(numbers)),
        collection=SAMPLES,
    )


TestAzureMachine = pytest.mark.usefixtures("place")(
    pytest.mark.nightly(
        store_machine(
            machine_store, make_location=lambda: new_container(places["server"]), writers=2, steps=15, effort=0.1
        )
    )
)
