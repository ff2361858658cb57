"""Stores travel to other processes as what they were made with, and are opened there; those that cannot say why."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from truthstore import RESULTS, SUITES, BaseStore, Collection, StoreConfigError, WrapperStore, get_store, open_store
from truthstore.backends.azure_blob import AzureBlobStore
from truthstore.backends.filesystem import FileSystemConfig, FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.backends.s3 import S3Config, S3Store
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, DiskCache, LRUCache, RedisCache
from truthstore.observability import AuditConfig, FileAuditBackend, MetricsConfig, ObservabilityConfig, ObservableStore
from truthstore.retention import CountBasedPolicy, RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore, VersioningConfig

Make = Callable[[Path], BaseStore[Sample]]


def files(folder: Path) -> FileSystemStore[Sample]:
    return FileSystemStore(FileSystemConfig(base_path=folder / "store", metadata={"a": 1}), collection=SAMPLES)


def everything(folder: Path) -> BaseStore[Sample]:
    versioned = VersionedStore(files(folder), VersioningConfig(max_versions=5))
    kept = RetentionStore(versioned, [TimeBasedPolicy(max_age_days=9), CountBasedPolicy(9)], cleanup_interval_hours=24)
    cached = CachedStore(kept, LRUCache(max_size=10, ttl_seconds=60), mode="read_write")
    audit = AuditConfig(backend=FileAuditBackend(folder / "audit.jsonl"))
    return ObservableStore(cached, ObservabilityConfig(audit=audit, metrics=MetricsConfig(enabled=True)))


def from_a_file(folder: Path) -> BaseStore[Sample]:
    (folder / "store.yaml").write_text(
        f"backend: filesystem\nbase_path: {folder}/store\nlayers: [versioning, {{layer: caching, max_size: 5}}]\n"
    )
    return open_store(folder / "store.yaml", collection=SAMPLES)


STORES: dict[str, Make] = {
    "files": files,
    "files by name": lambda folder: get_store("filesystem", base_path=folder / "store", collection=SAMPLES),
    "files by URL": lambda folder: get_store(f"file://{folder}/store?durability=os", collection=SAMPLES),
    "a log": lambda folder: get_store(
        "filesystem", base_path=folder, index="log", cache_dir=folder / "cache", collection=SAMPLES
    ),
    "SQLite": lambda folder: get_store(f"sqlite:///{folder}/x.db", collection=SAMPLES),
    "a view": lambda folder: files(folder).collection(SUITES).collection(SAMPLES),
    "a queue": lambda folder: BatchedStore(files(folder), durable=True, path=folder / "queue.db"),
    "a cache on disk": lambda folder: CachedStore(files(folder), DiskCache(folder / "cache")),
    "a stack": everything,
    "a YAML file": from_a_file,
}


def work(store: BaseStore[Sample], id: str) -> int:
    with store:
        store.save(Sample(id))
    return os.getpid()


@pytest.mark.parametrize("what", STORES)
def test_a_store_is_opened_where_it_is_unpickled(tmp_path: Path, what: str):
    with STORES[what](tmp_path) as store:
        store.save(Sample("a"))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            with pickle.loads(pickle.dumps(store, protocol)) as again:
                assert repr(again) == repr(store)
                assert again.get("a") == Sample("a")
                again.save(Sample(f"b{protocol}"))
        assert store.count() == 1 + pickle.HIGHEST_PROTOCOL - 1
        view = pickle.loads(pickle.dumps(store.collection(RESULTS)))
        assert view.list_ids() == []
        view.close()
        assert store.exists("a")


METHODS = [method for method in ("spawn", "forkserver") if method in multiprocessing.get_all_start_methods()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("importable_tests")
def test_workers_write_to_it(tmp_path: Path, method: str):
    context: Any = multiprocessing.get_context(method)
    with everything(tmp_path) as store:
        store.save(Sample("a"))
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            done = list(executor.map(work, [store] * 4, "bcde"))
        assert os.getpid() not in done
        assert sorted(store.list_ids()) == list("abcde")


def test_a_collection_travels_with_its_declaration():
    mine = Collection.of(Sample, name="mine", index={"count": int}, time="moment", tags="tags", text=("note",))
    for collection in (RESULTS, SUITES, SAMPLES, mine):
        again: Collection[Any] = pickle.loads(pickle.dumps(collection))
        assert (again.name, again.type, again.fingerprint) == (collection.name, collection.type, collection.fingerprint)
    assert copy.deepcopy(mine) is mine


def test_what_holds_its_items_itself_says_so():
    for store in (MemoryStore(), WrapperStore(MemoryStore()), get_store("sqlite://")):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(
                TypeError, match=rf"a {type(store).__name__} stays in its process, for what it holds does"
            ):
                pickle.dumps(store, protocol)
        store.close()


def test_so_does_what_was_given_a_ready_client():
    client = pytest.importorskip("boto3").client("s3", region_name="eu-central-1")
    redis = pytest.importorskip("redis").Redis(port=1)
    for given in (
        S3Store(bucket="b", client=client),
        S3Store(S3Config(bucket="b", client=client)),
        S3Store(config=S3Config(bucket="b", client=client)),
        RedisCache(client=redis),
    ):
        with pytest.raises(TypeError, match="stays in its process, for so does the ready client that it was given"):
            pickle.dumps(given)


def test_and_what_was_given_anything_else_that_is_bound_to_its_process(tmp_path: Path):
    registry = pytest.importorskip("prometheus_client").CollectorRegistry()
    AzureSasCredential = pytest.importorskip("azure.core.credentials").AzureSasCredential  # noqa: N806  # a class
    credential = AzureSasCredential("sig")
    credential.lock = threading.Lock()  # as those that fetch tokens have
    stores: dict[str, BaseStore[Any]] = {
        "CollectorRegistry": ObservableStore(
            files(tmp_path), ObservabilityConfig(metrics=MetricsConfig(registry=registry))
        ),
        "AzureSasCredential": AzureBlobStore(
            account_url="https://a.blob.core.windows.net", container="c", credential=credential
        ),
        "generator": RetentionStore(files(tmp_path), policies=(CountBasedPolicy(n) for n in (1, 2))),
    }
    for name, given in stores.items():
        with pytest.raises(TypeError, match=f"stays in its process, for so does the ready {name} that it was given"):
            pickle.dumps(given)
        given.close()


def test_no_other_place_is_opened_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with FileSystemStore(base_path="here", collection=SAMPLES) as store:
        pickled = pickle.dumps(store)
        with pickle.loads(pickled):
            pass
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        with pytest.raises(StoreConfigError, match="give absolute paths"):
            pickle.loads(pickled)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_neither_connection_nor_secret_travels_that_was_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
    monkeypatch.setenv("PGPASSWORD", "of the environment")
    for store in (S3Store(bucket="b"), get_store("postgresql://me@127.0.0.1:1/x"), everything(tmp_path)):
        assert b"of the environment" not in pickle.dumps(store)
        store.close()
