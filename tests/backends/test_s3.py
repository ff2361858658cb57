"""The S3 store on moto, over real connections, and on a server that ignores conditions."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.cloud_cases import DriverCases
from tests.backends.cloud_stores import CloudStoreCases
from tests.backends.s3_buckets import DENIED, EXPIRED, OwnBucket, error
from tests.services.process import started
from tests.services.proxy import Proxy, proxy
from tests.services.rclone import rclone
from tests.services.s3 import S3Server, moto
from tests.smoke import SMOKE
from truthstore import RESULTS, BaseStore, get_store
from truthstore.backends.cloud.driver import SingleWriterBlobs
from truthstore.backends.s3 import S3Blobs, S3Config, S3Store
from truthstore.errors import (
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreError,
)
from truthstore.model.record import ABSENT
from truthstore.storage.objects.blobs import Blobs, probe_conditional_deletes, probe_conditional_writes
from truthstore.testing import SAMPLES, BlobsSuite, Sample, StoreSuite, store_machine
from truthstore.testing.suite.items import a_result

pytestmark = pytest.mark.xdist_group("s3")

numbers = itertools.count()


@pytest.fixture(scope="session")
def server():
    yield from started(moto())


@pytest.fixture(scope="session")
def bucket_name(server: S3Server) -> str:
    server.client().create_bucket(Bucket="bucket")
    return "bucket"


@pytest.fixture(scope="session")
def ready(server: S3Server) -> Any:
    """One client for many stores: making one takes longer than most tests."""
    return server.client()


@pytest.fixture
def location(server: S3Server, bucket_name: str) -> dict[str, Any]:
    """An empty place in the bucket."""
    return {**server.options, "bucket": bucket_name, "prefix": f"test-{next(numbers)}/"}


class TestS3Blobs(BlobsSuite):
    @pytest.fixture
    def location(self, server: S3Server, bucket_name: str) -> Any:
        return {**server.options, "bucket": bucket_name, "prefix": f"blobs-{next(numbers)}/"}

    def make_blobs(self, location):
        return S3Blobs(S3Config(**location), location["prefix"])


class TestS3Cloud(OwnBucket, CloudStoreCases):
    expired = EXPIRED
    denied = DENIED

    def open_store(self, url, location, **options):
        given: dict[str, Any] = {**location, **({"endpoint_url": url} if url else {}), **options}
        return S3Store(**given)


class TestS3Faults(OwnBucket, DriverCases):
    busy = error(503, "SlowDown")
    expired = EXPIRED
    denied = DENIED
    delete_requests = 2

    def open(self, url, location, **options):
        given: dict[str, Any] = {**location, **options, "endpoint_url": url}
        return S3Blobs(S3Config(**given), location["prefix"])

    def read_by_vendor(self, location, key):
        return self.read_object(location, location["prefix"] + key)

    def test_many_are_discarded_at_once(self, blobs: Any, faults: Any):
        for i in range(5):
            blobs.put(f"a/{i}", b"")
        faults.reset()
        blobs.discard(["a/0", "a/1", "a/missing"])
        assert len(faults.requests) == 1
        assert list(blobs.list("a/")) == ["a/2", "a/3", "a/4"]
        faults.fail("POST", error(403, "AccessDenied"))
        with pytest.raises(StoreError, match="permission"):
            blobs.discard(["a/2"])

    def test_a_small_body_is_sent_without_asking_first(self, blobs: Any):
        sent: list[object] = []
        blobs._client().meta.events.register(
            "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers.get("Expect"))
        )
        for size in (0, 10_000, 2_000_000):
            data = os.urandom(size)
            blobs.put("a", data)
            assert blobs.get("a")[0] == data
        assert sent == [None, None, b"100-continue"]

    def test_a_collision_is_tried_again(self, blobs: Blobs, faults: Any):
        faults.fail("PUT", error(409, "ConditionalRequestConflict"))
        tag = blobs.put("a", b"1", expect=ABSENT)
        faults.fail("PUT", error(409, "ConditionalRequestConflict"))
        blobs.put("a", b"2", expect=tag)
        faults.fail("PUT", *[error(409, "ConditionalRequestConflict")] * 2)
        with pytest.raises(StoreError) as caught:
            blobs.put("b", b"3", expect=ABSENT)
        assert caught.value.retryable
        assert not isinstance(caught.value, StoreConflictError)

    @pytest.mark.parametrize(
        ("code", "status", "words"),
        [
            ("PermanentRedirect", 301, "region="),
            ("AuthorizationHeaderMalformed", 400, "region="),
            ("InvalidAccessKeyId", 403, "access key"),
            ("SignatureDoesNotMatch", 403, "secret access key is wrong"),
            ("RequestTimeTooSkewed", 403, "clock"),
            ("KMS.DisabledException", 400, "KMS"),
        ],
    )
    def test_errors_say_what_to_do(self, code: str, status: int, words: str, blobs: Blobs, faults: Any):
        faults.fail("PUT", *[error(status, code)] * 2)  # after a redirection, the client asks again
        with pytest.raises(StoreError, match=words) as caught:
            blobs.put("a", b"")
        assert not caught.value.retryable


def test_nobody_listens():
    config = S3Config(
        bucket="b",
        endpoint_url="http://127.0.0.1:9",
        region="us-east-1",
        access_key_id="me",
        secret_access_key="open-sesame",
        retries=0,
        timeout=2.0,
    )
    with pytest.raises(StoreConnectionError, match="did not answer") as caught:
        S3Blobs(config).get("a")
    assert caught.value.retryable


@pytest.fixture(scope="session")
def ignorant():
    yield from started(rclone("bucket"))


class TestWithoutConditions:
    @pytest.fixture
    def blobs(self, ignorant: S3Server) -> Blobs:
        return S3Blobs(S3Config(**ignorant.options, bucket="bucket"), f"p{next(numbers)}/")

    def test_the_probe_finds_it_out(self, blobs: Blobs):
        assert not probe_conditional_writes(blobs)

    def test_a_store_refuses_it_but_for_a_single_writer(self, ignorant: S3Server, tmp_path: Path):
        options: dict[str, Any] = {**ignorant.options, "bucket": "bucket", "prefix": f"s{next(numbers)}"}
        store = S3Store(**options, cache_dir=tmp_path / "1")
        with pytest.raises(StoreConfigError, match="single_writer=True"):
            store.list_ids()
        assert "single_writer=True" in store.health_check().message
        store.close()
        for turn in range(2):
            with S3Store(**options, single_writer=True, cache_dir=tmp_path / f"2-{turn}") as store:
                store.save(a_result(f"run_{turn}"), expect=ABSENT)
                with pytest.raises(StoreConflictError):
                    store.save(a_result(f"run_{turn}"), expect=ABSENT)
                assert len(store.list_ids()) == turn + 1
        store = S3Store(**options, cache_dir=tmp_path / "3")
        with pytest.raises(StoreConfigError, match="single_writer"):
            store.list_ids()
        store.close()

    def test_a_single_writer_looks_first(self, blobs: Blobs):
        single = SingleWriterBlobs(blobs, "s3")
        assert probe_conditional_writes(single)
        tag = single.put("a", b"1", expect=ABSENT)
        for expect in (ABSENT, "another"):
            with pytest.raises(StoreConflictError):
                single.put("a", b"2", expect=expect)
        with pytest.raises(StoreConflictError):
            single.delete("a", expect="another")
        assert single.delete("a", expect=tag)
        assert not single.delete("a", expect=tag)


def test_what_is_written(server: S3Server, location: dict[str, Any]):
    options: dict[str, Any] = {
        "storage_class": "STANDARD_IA",
        "server_side_encryption": "aws:kms",
        "kms_key_id": "k",
        "tags": {"a": "b c"},
    }
    blobs = S3Blobs(S3Config(**location, **options), location["prefix"])
    blobs.put("a.json.gz", b"")
    blobs.put("_truthstore/log/a", b"")
    client = server.client()
    answer = client.head_object(Bucket="bucket", Key=location["prefix"] + "a.json.gz")
    assert (answer["StorageClass"], answer["ServerSideEncryption"]) == ("STANDARD_IA", "aws:kms")
    assert answer["SSEKMSKeyId"].endswith("k")
    assert answer["ContentType"] == "application/gzip"
    assert "ContentEncoding" not in answer
    tags = client.get_object_tagging(Bucket="bucket", Key=location["prefix"] + "a.json.gz")["TagSet"]
    assert tags == [{"Key": "a", "Value": "b c"}]
    answer = client.head_object(Bucket="bucket", Key=location["prefix"] + "_truthstore/log/a")
    assert answer.get("StorageClass", "STANDARD") == "STANDARD"
    blobs.close()


def test_a_ready_client(server: S3Server, bucket_name: str):
    blobs = S3Blobs(S3Config(bucket=bucket_name, client=server.client()), f"ready-{next(numbers)}/")
    tag = blobs.put("a", b"1")
    blobs.close()
    assert blobs.get("a") == (b"1", tag)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "bucket"),
        ({"bucket": "b", "storage_class": "GLACIER"}, "GLACIER_IR"),
        ({"bucket": "b", "server_side_encryption": "AES256", "kms_key_id": "k"}, "aws:kms"),
        ({"bucket": "b", "tags": {str(i): "" for i in range(11)}}, "10 tags"),
        ({"bucket": "b", "access_key_id": "a"}, "belong together"),
        ({"bucket": "b", "client": object(), "region": "r"}, "region"),
        ({"bucket": "b", "concurrency": 0}, "concurrency"),
        ({"bucket": "b", "compression": "zip"}, "compression"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str):
    with pytest.raises(StoreConfigError, match=words):
        S3Blobs(S3Config(**options))


@pytest.fixture(params=["option", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "profile"])
def elsewhere(
    request: pytest.FixtureRequest, server: S3Server, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[S3Blobs, Proxy]]:
    """A driver whose endpoint is not Amazon's, in each way in which that can be said."""
    options: dict[str, Any] = {**server.options, "bucket": bucket_name}
    del options["endpoint_url"]
    with proxy(server.port) as faults:
        if request.param == "option":
            options["endpoint_url"] = faults.url
        elif request.param == "profile":
            (tmp_path / "config").write_text(f"[profile elsewhere]\nendpoint_url = {faults.url}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
            options["profile"] = "elsewhere"
        else:
            monkeypatch.setenv(request.param, faults.url)
        blobs = S3Blobs(S3Config(**options), f"elsewhere-{next(numbers)}/")
        yield blobs, faults
        blobs.close()


def test_a_service_elsewhere_gets_no_checksums_of_amazon(elsewhere: tuple[S3Blobs, Proxy]):
    blobs, faults = elsewhere
    assert blobs.account == faults.url
    blobs.put("a", b"1")
    assert not [name for name in faults.headers if "checksum" in name.lower()]
    assert blobs.get("a")[0] == b"1"


def test_a_service_elsewhere_that_ignores_the_condition_of_a_delete_is_found_out(elsewhere: tuple[S3Blobs, Proxy]):
    blobs, faults = elsewhere
    assert probe_conditional_deletes(blobs)
    faults.dropped = ("DELETE", "If-Match")
    assert not probe_conditional_deletes(blobs)


def test_buckets_of_amazon_are_known_by_their_name_alone():
    assert S3Blobs(S3Config(bucket="b", region="eu-central-1")).account == ""
    assert S3Blobs(S3Config(bucket="b", region="cn-north-1")).account == ""


def test_a_missing_client_is_named_by_its_distribution(monkeypatch: pytest.MonkeyPatch):
    for module in ("boto3", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StoreConfigError, match=r"needs boto3: pip install 'truthstore\[s3\]'"):
        S3Store(bucket="b").list_ids()


def test_a_profile_that_does_not_exist():
    with pytest.raises(StoreConfigError, match="there is no profile '…': there are none"):
        S3Blobs(S3Config(bucket="b", profile="nobody")).get("a")


def test_no_secret_is_shown():
    config = S3Config(bucket="b", access_key_id="me", secret_access_key="open-sesame", session_token="open-sesame")
    assert "open-sesame" not in repr(config)


@pytest.mark.parametrize(
    ("options", "algorithm"),
    [
        ({}, "gzip"),
        ({"compression": True}, "gzip"),
        ({"compression": "zstd"}, "zstd"),
        ({"compression": False}, None),
        ({"use_compression": False}, None),
    ],
)
def test_compression(options: dict[str, Any], algorithm: str | None):
    config = S3Config(bucket="b", **options)
    assert config.algorithm == algorithm
    assert config.use_compression is (algorithm is not None)


class TestS3Store(StoreSuite):
    smoke = SMOKE

    @pytest.fixture
    def location(self, ready: Any, bucket_name: str, tmp_path: Path) -> Any:
        return {"client": ready, "bucket": bucket_name, "prefix": f"store-{next(numbers)}/", "cache_dir": tmp_path}

    def make_store(self, location, *, collection=RESULTS, **options):
        return S3Store(collection=collection, **location, **options)


def test_a_prefix_that_is_restored(ready: Any, bucket_name: str, location: dict[str, Any], tmp_path: Path):
    def open_store(cache: str) -> BaseStore[Sample]:
        return get_store("s3", collection=SAMPLES, **location, cache_dir=tmp_path / cache)

    def names() -> list[str]:
        listed = ready.list_objects_v2(Bucket=bucket_name, Prefix=location["prefix"])
        return [found["Key"] for found in listed["Contents"]]

    store = open_store("cache")
    store.save_many([Sample("a", count=1), Sample("b", count=1)])
    backup = {name: ready.get_object(Bucket=bucket_name, Key=name)["Body"].read() for name in names()}
    store.save(Sample("a", count=2))
    store.delete("b")
    store.save(Sample("c", count=2))
    assert set(store.list_ids()) == {"a", "c"}
    for name in names():
        ready.delete_object(Bucket=bucket_name, Key=name)
    for name, data in backup.items():
        ready.put_object(Bucket=bucket_name, Key=name, Body=data)
    store.save(Sample("d", count=3))
    for one in (open_store("cache"), store, open_store("fresh")):
        assert {head.id: head.meta.fields["count"] for head in one.entries()} == {"a": 1, "b": 1, "d": 3}
        assert {id: one.get(id).count for id in one.list_ids()} == {"a": 1, "b": 1, "d": 3}
        assert one.count() == 3


places: dict[str, Any] = {}


@pytest.fixture
def place(ready: Any, bucket_name: str, tmp_path: Path) -> None:
    """Where the machine below stores: it takes no fixtures."""
    places.update(client=ready, bucket=bucket_name, caches=tmp_path)


def machine_store(prefix: str) -> S3Store[Any]:
    cache = places["caches"] / str(next(numbers))
    return S3Store(client=places["client"], bucket=places["bucket"], prefix=prefix, cache_dir=cache, collection=SAMPLES)


TestS3Machine = pytest.mark.usefixtures("place")(
    pytest.mark.nightly(
        store_machine(machine_store, make_location=lambda: f"machine-{next(numbers)}", writers=2, steps=15, effort=0.1)
    )
)
