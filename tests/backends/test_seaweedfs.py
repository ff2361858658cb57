"""The S3 store on SeaweedFS: a real server with exact conditions, for races and for what an emulator may get wrong."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from tests.backends.cloud_stores import CloudStoreCases
from tests.backends.s3_buckets import DENIED, EXPIRED, OwnBucket
from tests.crash.processes import at_once
from tests.services.process import started
from tests.services.s3 import S3Server
from tests.services.seaweedfs import seaweedfs
from tests.smoke import SMOKE
from truthstore import RESULTS
from truthstore.backends.s3 import S3Blobs, S3Config, S3Store
from truthstore.errors import StoreConflictError, StoreNotSupportedError
from truthstore.storage.objects.blobs import Blobs
from truthstore.testing import SAMPLES, BlobsSuite, Sample, StoreSuite

pytestmark = pytest.mark.xdist_group("seaweedfs")

numbers = itertools.count()


@pytest.fixture(scope="session")
def server():
    yield from started(seaweedfs("bucket"))


@pytest.fixture
def location(server: S3Server) -> Any:
    """An empty place in the bucket."""
    return {**server.options, "bucket": "bucket", "prefix": f"p{next(numbers)}/"}


class TestSeaweedFSBlobs(BlobsSuite):
    # Conditions, races and lists, which are the server's part; bytes and names pass the driver as they do to moto.
    smoke = frozenset(
        name for name in dir(BlobsSuite) if re.search("absent|tag|list|threads|compare|readers|two", name)
    )

    @pytest.fixture
    def location(self, server: S3Server) -> Any:
        return {**server.options, "bucket": "bucket", "prefix": f"blobs-{next(numbers)}/"}

    def make_blobs(self, location):
        return S3Blobs(S3Config(**location), location["prefix"])

    def test_lists_are_in_ascending_order(self, blobs: Blobs):
        """It sorts by the parts of a path. That is found out; a store asks for no list in which it shows."""
        for key in ("a/b", "a.b"):
            blobs.put(key, b"")
        with pytest.raises(StoreNotSupportedError, match="ascending order"):
            list(blobs.list(""))

    test_any_order_of_calls = None  # type: ignore[assignment]  # some of its keys do, too
    test_lists_of_a_prefix = None  # pyright: ignore[reportAssignmentType]  # its keys show the other order


class TestSeaweedFSCloud(OwnBucket, CloudStoreCases):
    smoke = frozenset(name for name in dir(CloudStoreCases) if re.search("processes|answer|bucket", name))
    expired = EXPIRED
    denied = DENIED
    test_a_bucket_that_is_gone_is_never_an_empty_answer = None  # type: ignore[assignment]  # a put makes it again

    def open_store(self, url, location, **options):
        given: dict[str, Any] = {**location, **({"endpoint_url": url} if url else {}), **options}
        return S3Store(**given)


class TestSeaweedFSStore(StoreSuite):
    smoke = SMOKE

    @pytest.fixture
    def location(self, server: S3Server, tmp_path: Path) -> Any:
        options = {**server.options, "bucket": "bucket", "cache_dir": tmp_path}
        return {**options, "prefix": f"store-{next(numbers)}/"}

    def make_store(self, location, *, collection=RESULTS, **options):
        return S3Store(collection=collection, **location, **options)


def test_many_writers_of_few_ids_agree(location: dict[str, Any], tmp_path: Path):
    """Each writer counts up, creates, deletes and replaces, while two others compact: no increment is lost."""
    writers, ids, turns = 4, 3, 12

    def open_store(name: object) -> S3Store[Sample]:
        return S3Store(collection=SAMPLES, cache_dir=tmp_path / str(name), **location)

    first = open_store("first")
    first.save_many(Sample(f"{id}", count=0) for id in range(ids))

    def count_up(number: int) -> int:
        if number >= writers:
            store = open_store("compactor")
            for _ in range(3):
                store.maintain()
            return 0
        done = 0
        with open_store(number) as store:
            for turn in range(turns):
                id = f"{(number + turn) % ids}"
                while True:
                    revision, count = store.head(id).revision, store.get(id).count or 0
                    try:
                        store.save(Sample(id, count=count + 1), expect=revision)
                    except StoreConflictError:
                        continue
                    done += 1
                    break
        return done

    assert sum(at_once(count_up, writers + 2)) == writers * turns
    fresh = open_store("fresh")
    assert sum(sample.count or 0 for sample in fresh.query()) == writers * turns
    assert fresh.verify().ok
