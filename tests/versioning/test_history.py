"""Promises of versioning: numbers, history, diff, rollback and deletes, without losing any version."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.versioning.doubles import known, save_version
from truthstore import (
    Record,
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreNotFoundError,
    StoreQuery,
    StoreWriteError,
)
from truthstore.backends.memory import MemoryStore
from truthstore.testing import SAMPLES, Sample, make_samples
from truthstore.versioning import (
    VersionConflictError,
    VersionedStore,
    VersioningConfig,
    VersionNotFoundError,
)
from truthstore.versioning.meta import history_of, version_id


def test_every_save_is_a_version_and_stays_one_after_a_restart(reopen):
    store = reopen()
    store.save(Sample("a", count=1), message="first", created_by="ada", metadata={"ratio": float("nan"), "n": [1]})
    store.save(Sample("a", count=2, tags={"t": "x"}), "second", "bob")
    info = save_version(
        store, Sample("a", count=3), message="third", metadata={"when": datetime(2026, 1, 1, tzinfo=UTC)}
    )
    assert (info.version, info.message, info.parent_version, info.changes) == (3, "third", 2, ("count", "tags"))
    history = known(store)
    again = reopen()
    assert known(again) == history
    assert [info.version for info in history] == [3, 2, 1]
    assert [info.parent_version for info in history] == [2, 1, None]
    assert [info.created_by for info in history] == [None, "bob", "ada"]
    assert history[2].metadata == {"ratio": "NaN", "n": [1]}
    assert [again.get("a", version=n).count for n in (1, 2, 3)] == [1, 2, 3]
    assert again.get("a").count == 3
    body = again.get_record("a", collection=SAMPLES, options={"version": 1}).body
    assert history[2].checksum == hashlib.sha256(body).hexdigest()
    assert history[2].size_bytes == len(body)
    assert again.get_version_history("a", limit=1, offset=1) == history[1:2]
    assert again.get_history("a", limit=2) == history[:2]
    assert sorted(info.created_at for info in history) == [info.created_at for info in reversed(history)]
    for version in (0, 4, "v9", "nonsense", -1):
        with pytest.raises(VersionNotFoundError) as caught:
            again.get("a", version=version)
        assert caught.value.item_id == "a"
        assert not again.exists("a", version=version)
    assert again.get_version_history("b") == []
    assert again.get_latest_version_info("b") is None
    assert again.count_versions("b") == 0


def test_the_head_of_a_version_is_as_it_was(reopen):
    store = reopen()
    for sample in make_samples():
        store.save(sample)
    before = {head.id: head for head in store.entries()}
    store.save_many(Sample(sample.id) for sample in make_samples())
    for sample in make_samples():
        assert store.head(sample.id, version=1) == before[sample.id]
        assert repr(store.get(sample.id, version=1)) == repr(sample)
    assert store.verify().ok
    assert store.rebuild_index() in {0, len(before)}
    assert {len(store.list_versions(id)) for id in before} == {2}


def test_what_is_opaque_is_kept_as_it_was(reopen):
    store = reopen()
    meta = SAMPLES.encode(Sample("a", ratio=float("inf"), name="x", note="some words", tags={"k": "v"})).meta
    put = store.put_record(
        Record(meta.replace(encodings=("xor",), text=meta.text, size=2), b"\0\xff"), collection=SAMPLES
    )
    store.put_record(SAMPLES.encode(Sample("a")), collection=SAMPLES)
    old = store.get_record("a", collection=SAMPLES, options={"version": 1})
    assert old.body == b"\0\xff"
    assert old.head() == put
    assert old.meta.text == "some words x"


def test_an_expected_version(reopen):
    store = reopen()
    store.save(Sample("a"), expected_version=0)
    with pytest.raises(VersionConflictError) as caught:
        store.save(Sample("a"), expected_version=0)
    assert (caught.value.expected_version, caught.value.actual_version) == (0, 1)
    store.save(Sample("a"), expected_version=1)
    with pytest.raises(StoreConflictError):
        store.save(Sample("a"), expected_version=1)
    store.save(Sample("a"), expected_version="v2")
    with pytest.raises(VersionConflictError):
        store.save(Sample("b"), expected_version=3)
    store.delete("a")
    with pytest.raises(VersionConflictError):
        store.save(Sample("a"), expected_version=3)
    store.save(Sample("a"), expected_version=0)
    assert store.list_versions("a") == [5, 3, 2, 1]
    with pytest.raises(StoreBulkError) as bulk:
        store.save_many([Sample("a"), Sample("b")], expected_version=0)
    assert set(bulk.value.failed) == {"a"}
    assert list(bulk.value.stored) == ["b"]


def test_what_was_deleted_can_be_rolled_back(reopen):
    store = reopen()
    for count in (1, 2):
        store.save(Sample("a", count=count, name="x"))
    assert store.delete("a")
    assert not store.delete("a")
    store = reopen()
    assert not store.exists("a")
    with pytest.raises(StoreNotFoundError):
        store.get("a")
    assert store.get("a", version=1).count == 1
    assert [info.version for info in known(store)] == [2, 1]
    assert not store.exists("a", version=3)
    assert store.rollback("a", version=1, created_by="ada") == "a"
    assert store.get("a").count == 1
    info = store.get_latest_version_info("a")
    assert (info.version, info.parent_version, info.metadata) == (4, 2, {"rollback_from": 1})
    assert (info.message, info.created_by) == ("Rollback to version v1", "ada")
    assert store.list_ids(StoreQuery(where={"count": 1})) == ["a"]
    with pytest.raises(VersionNotFoundError):
        store.rollback("a", version=3)


def test_all_versions_go_only_when_asked(reopen):
    store = reopen()
    for id in ("a", "a@1", "b"):
        store.save_many([Sample(id, count=1), Sample(id, count=2), Sample(id, count=3)])
    store.delete("b")
    for id in ("a", "b"):
        assert store.delete(id, delete_all_versions=True)
        assert not store.delete(id, delete_all_versions=True)
        assert known(store, id) == []
        with pytest.raises(VersionNotFoundError):
            store.get(id, version=1)
    below = store.base.collection(history_of(SAMPLES))
    assert sorted(below.list_ids()) == ["a@1@1", "a@1@2"]
    assert store.list_ids(StoreQuery(include_deleted=True)) == ["a@1"]
    store.save(Sample("a", count=9))
    assert [info.version for info in known(store)] == [1]
    with pytest.raises(TypeError):
        store.delete("a", version=1, delete_all_versions=True)


def test_one_version_is_removed(reopen):
    store = reopen()
    store.save_many(Sample("a", count=n) for n in (1, 2, 3))
    assert store.delete("a", version=2)
    assert not store.delete("a", version=2)
    assert [info.version for info in known(store)] == [3, 1]
    assert store.delete("a", version="v3")
    assert store.get("a").count == 1
    assert [info.version for info in known(store)] == [1]
    store.save(Sample("a", count=4))
    assert [info.version for info in known(store)] == [4, 1], "no number is given twice"
    assert store.delete("a", version=1)
    assert store.delete("a", version=4)
    assert not store.exists("a")
    assert known(store) == []
    assert not store.delete("a", version=4)


@pytest.mark.parametrize("cleanup", [True, False])
def test_old_versions_go_and_never_the_head(reopen, cleanup):
    store = reopen(max_versions=2, auto_cleanup=cleanup)
    for count in range(5):
        store.save(Sample("a", count=count))
    assert len(known(store)) == (2 if cleanup else 5)
    assert store.maintain().get("versions_removed") == (0 if cleanup else 3)
    assert [info.version for info in known(store)] == [5, 4]
    store.delete("a")
    store.maintain()
    assert [info.version for info in known(store)] == [5, 4]
    one = reopen(max_versions=1)
    one.save(Sample("a", count=7))
    assert [info.version for info in known(one)] == [7]


def test_ids_that_look_like_versions_are_safe(reopen):
    store = reopen()
    ids = ["a", "a@1", "a@1@1", "a@2", "@", "@1", "1", "a@", "v1", "x" * 1024, "x" * 1000, "é" * 1024, "x" * 1023 + "@"]
    for turn in range(3):
        store.save_many(Sample(id, count=turn, name=id[:9]) for id in ids)
    store.delete("a@1")
    for id in ids:
        assert [store.get(id, version=n).count for n in (1, 2, 3)] == [0, 1, 2]
        assert store.get(id, version=1).id == id
        assert len(known(store, id)) == 3
    assert sorted(store.list_ids()) == sorted(set(ids) - {"a@1"})
    assert len({version_id(id, n) for id in ids for n in range(20)}) == 20 * len(ids)


def test_options_are_checked_before_anything_is_written():
    base = MemoryStore(collection=SAMPLES)
    with pytest.raises(StoreConfigError, match="branch"):
        VersioningConfig(enable_branching=True)
    with pytest.raises(StoreConfigError, match="checksum"):
        VersioningConfig(checksum_algorithm="crc32")
    with pytest.raises(ValueError):
        VersioningConfig(max_versions=-1)
    with pytest.raises(StoreConfigError, match="mode is one of"):
        VersioningConfig(mode="random")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_versions"):
        VersionedStore(base, max_version=3)
    with pytest.raises(StoreConfigError, match="one layer"):
        VersionedStore(VersionedStore(base))
    store = VersionedStore(base, VersioningConfig(require_message=True, checksum_algorithm="md5", track_changes=False))
    with pytest.raises(StoreWriteError, match="message="):
        store.save(Sample("a"))
    wrong: Any
    for wrong in ({"message": 3}, {"metadata": "x"}, {"expected_version": True}, {"version": 1}):
        with pytest.raises(TypeError):
            store.save(Sample("a"), **wrong)
    with pytest.raises(StoreWriteError):
        store.save(Sample("a"), message="m", metadata={"x": object()})
    assert store.list_ids() == []
    store.save(Sample("a"), message="m")
    store.save(Sample("a", count=1), message="m")
    (second, first) = known(store)
    assert first.checksum is not None
    assert (len(first.checksum), second.changes) == (32, ())
    store.rollback("a", 1)
    with pytest.raises(ValueError):
        store.get_version_history("a", limit=-1)


def test_what_was_written_without_versions_becomes_the_first(reopen):
    store = reopen()
    store.base.save(Sample("a", count=1))
    assert [info.version for info in known(store)] == [1]
    store.save(Sample("a", count=2))
    assert [info.version for info in known(store)] == [2, 1]
    store.base.save(Sample("a", count=3))  # past the layer: version 2 is overwritten, and its number is not used again
    assert [info.version for info in known(store)] == [3, 1]
    store.save(Sample("a", count=4))
    assert [(n, store.get("a", version=n).count) for n in store.list_versions("a")] == [(4, 4), (3, 3), (1, 1)]
    store.base.delete("a")
    assert store.list_versions("a") == [3, 1]
    store.save(Sample("a", count=5))
    assert [(n, store.get("a", version=n).count) for n in store.list_versions("a")] == [(5, 5), (3, 3), (1, 1)]


@pytest.mark.parametrize("said", [{"message": "\ud800"}, {"created_by": "\ud800"}, {"metadata": {"a": ["\ud800"]}}])
def test_what_is_said_of_a_version_can_be_stored(reopen, said):
    store = reopen()
    store.save(Sample("a", count=1))
    with pytest.raises(StoreWriteError, match=r"surrogate|cannot be stored"):
        store.save(Sample("a", count=2), **said)
    assert store.get("a").count == 1
    assert store.count() == 1
