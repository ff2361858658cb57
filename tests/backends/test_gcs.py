"""The GCS store on a stand-in for Google's API, driven by Google's own client."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.backends.cloud_cases import DriverCases
from tests.backends.cloud_stores import CloudStoreCases
from tests.services.gcs import GCSServer, gcs
from tests.services.process import started
from tests.services.proxy import Answer
from tests.smoke import SMOKE
from truthstore import RESULTS, get_store
from truthstore.backends.gcs import GCSBlobs, GCSConfig, GCSStore
from truthstore.errors import StoreConfigError, StoreConnectionError
from truthstore.model.record import ABSENT, ANY
from truthstore.storage.objects.blobs import BlobExpect, Blobs, Tag
from truthstore.store import registry
from truthstore.testing import SAMPLES, BlobsSuite, StoreSuite, store_machine

pytestmark = pytest.mark.xdist_group("gcs")

numbers = itertools.count()


def error(status: int, message: str) -> Answer:
    """An error as GCS sends it."""
    body = json.dumps({"error": {"code": status, "message": message}})
    return Answer(status, body.encode(), (("Content-Type", "application/json"),))


EXPIRED = error(401, "Invalid Credentials")
DENIED = error(403, "said the server")


@pytest.fixture(scope="session")
def server():
    yield from started(gcs("bucket"))


@pytest.fixture(autouse=True)
def emulator(server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)


@pytest.fixture
def location() -> dict[str, Any]:
    return {"bucket": "bucket", "prefix": f"test-{next(numbers)}/"}


class TestGCSBlobs(BlobsSuite):
    @pytest.fixture
    def location(self) -> Any:
        return {"bucket": "bucket", "prefix": f"blobs-{next(numbers)}/"}

    def make_blobs(self, location):
        return GCSBlobs(GCSConfig(**location), location["prefix"])


class OwnBucket:
    """A bucket for each test, which it may remove."""

    @pytest.fixture
    def location(self, server: GCSServer) -> Any:
        name = f"bucket-{next(numbers)}"
        server.buckets.buckets[name] = {}
        return {"bucket": name, "prefix": "a/", "buckets": server.buckets.buckets, "url": server.url}

    def remove_bucket(self, location: Any) -> None:
        del location["buckets"][location["bucket"]]

    def vendor(self, location: Any) -> Any:
        from google.cloud import storage  # type: ignore[attr-defined, import-untyped, unused-ignore]

        return storage.Client().bucket(location["bucket"])

    def names(self, location: Any) -> list[str]:
        return [blob.name for blob in self.vendor(location).list_blobs()]

    def read_object(self, location: Any, name: str) -> tuple[bytes, str | None]:
        blob = self.vendor(location).get_blob(name)
        return blob.download_as_bytes(), blob.content_encoding


class TestGCSCloud(OwnBucket, CloudStoreCases):
    put = "POST"
    expired = EXPIRED
    denied = DENIED

    def open_store(self, url, location, **options):
        os.environ["STORAGE_EMULATOR_HOST"] = url or location["url"]  # the fixture puts it back
        store = GCSStore(bucket=location["bucket"], **options)
        if url:
            store.initialize()  # while the variable says so
        return store


class TestGCSFaults(OwnBucket, DriverCases):
    put = "POST"
    busy = error(503, "try again")
    expired = EXPIRED
    denied = DENIED

    def open(self, url, location, **options):
        os.environ["STORAGE_EMULATOR_HOST"] = url  # the fixture puts it back
        return GCSBlobs(GCSConfig(bucket=location["bucket"], **options), location["prefix"])

    def read_by_vendor(self, location, key):
        return self.read_object(location, location["prefix"] + key)

    def test_a_resumable_upload(self, blobs: Blobs):
        data = os.urandom(9_000_000)
        tag = blobs.put("big", data, expect=ABSENT)
        assert blobs.get("big") == (data, tag)


def test_a_key_file_that_is_none(tmp_path: Path):
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(StoreConfigError, match="credentials_path"):
            GCSBlobs(GCSConfig(bucket="b", credentials_path=path)).get("a")
    (tmp_path / "key.json").write_text(json.dumps({"type": "service_account", "private_key": "open-sesame"}))
    with pytest.raises(StoreConfigError, match="key file of a service account") as caught:
        GCSBlobs(GCSConfig(bucket="b", credentials_path=tmp_path / "key.json")).get("a")
    assert "open-sesame" not in str(caught.value)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(StoreConnectionError, match="no credentials"):
        GCSBlobs(GCSConfig(bucket="b")).get("a")


@pytest.mark.parametrize(
    ("options", "words"), [({}, "bucket"), ({"bucket": "b", "single_writer": True}, "single_writer")]
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str):
    with pytest.raises(StoreConfigError, match=words):
        GCSBlobs(GCSConfig(**options))


class TestGCSStore(StoreSuite):
    smoke = SMOKE

    @pytest.fixture
    def location(self, tmp_path: Path) -> Any:
        return {"bucket": "bucket", "prefix": f"store-{next(numbers)}/", "cache_dir": tmp_path}

    def make_store(self, location, *, collection=RESULTS, **options):
        return GCSStore(collection=collection, **location, **options)


places: dict[str, Any] = {}


@pytest.fixture
def place(server: GCSServer, tmp_path: Path) -> None:
    """Where the machine below stores: it takes no fixtures."""
    places.update(caches=tmp_path)


def machine_store(prefix: str) -> GCSStore[Any]:
    cache = places["caches"] / str(next(numbers))
    return GCSStore(bucket="bucket", prefix=prefix, cache_dir=cache, collection=SAMPLES)


TestGCSMachine = pytest.mark.usefixtures("place")(
    pytest.mark.nightly(
        store_machine(machine_store, make_location=lambda: f"machine-{next(numbers)}", writers=2, effort=0.2)
    )
)


def test_a_service_that_ignores_conditions_of_large_items_is_refused(location: dict[str, Any], tmp_path: Path):
    class Careless(GCSBlobs):
        def put_in_parts(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
            return super().put_in_parts(key, data)

    store = GCSStore(**location, cache_dir=tmp_path)
    store._blobs = store._driver = Careless(GCSConfig(**location), location["prefix"])
    with pytest.raises(StoreConfigError, match="ignores conditional writes"):
        store.list_ids()
    store.close()


def test_a_missing_client_is_named_by_its_distribution(monkeypatch: pytest.MonkeyPatch):
    message = r"needs google-cloud-storage: pip install 'truthstore\[gcs\]'"
    monkeypatch.setitem(sys.modules, "google.cloud.storage.exceptions", None)
    with pytest.raises(StoreConfigError, match=message):
        GCSStore(bucket="b").list_ids()
    monkeypatch.setattr(registry, "_is_installed", lambda module: False)
    with pytest.raises(StoreConfigError, match=message):
        get_store("gcs", bucket="b")
