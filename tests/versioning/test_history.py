"""What versioning promises: numbers, history, diff, rollback, removal, and that nothing of it is lost."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from truthstore import (
    ABSENT,
    Record,
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreError,
    StoreNotFoundError,
    StoreQuery,
    StoreWriteError,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.expectations import SUITES, Expectation, ExpectationSuite
from truthstore.results import ResultStatus, ValidationResult, ValidatorResult
from truthstore.testing import SAMPLES, FaultyBlobs, Sample, SimulatedCrashError, make_samples
from truthstore.testing.suite.concurrency import at_once
from truthstore.versioning import (
    DiffType,
    GitLikeStrategy,
    VersionConflictError,
    VersionedStore,
    VersioningConfig,
    VersioningMode,
    VersionNotFoundError,
    get_strategy,
)
from truthstore.versioning.base import VersionChange, VersionDiff, VersionInfo
from truthstore.versioning.diff import differences
from truthstore.versioning.meta import history_of, version_id
from truthstore.versioning.strategies import IncrementalStrategy, SemanticStrategy, TimestampStrategy


@pytest.fixture(params=["memory", "filesystem"])
def reopen(request, tmp_path):
    """Opens one more store at the same place; of memory, after the one before was closed."""
    blobs = MemoryBlobs()
    opened: list[VersionedStore[Any]] = []

    def make(collection: Any = SAMPLES, **options: Any) -> VersionedStore[Any]:
        if request.param == "memory":
            for store in opened:
                store.close()
            base: Any = MemoryStore(collection=collection, blobs=blobs)
        else:
            base = FileSystemStore(base_path=tmp_path, durability="os", collection=collection)
        opened.append(VersionedStore(base, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def known(store: VersionedStore[Any], id: str = "a") -> list[VersionInfo]:
    history = store.get_version_history(id)
    assert store.list_versions(id) == [info.version for info in history]
    assert store.count_versions(id) == len(history)
    assert store.get_latest_version_info(id) == (history[0] if history else None)
    for info in history:
        assert store.get_version_info(id, info.version) == info
        assert store.exists(id, version=info.version)
        assert store.get(id, version=info.label) == store.get_version(id, info.version)
    return history


def test_every_save_is_a_version_and_stays_one_after_a_restart(reopen):
    store = reopen()
    store.save(Sample("a", count=1), message="first", created_by="ada", metadata={"ratio": float("nan"), "n": [1]})
    store.save(Sample("a", count=2, tags={"t": "x"}), "second", "bob")
    info = store.save_version(
        Sample("a", count=3), message="third", metadata={"when": datetime(2026, 1, 1, tzinfo=UTC)}
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


@pytest.mark.parametrize("mode", VersioningMode)
def test_numbers_grow_however_fast_the_saves(reopen, mode):
    store = reopen(mode=mode)
    for count in range(120):
        store.save(Sample("a", count=count))
    history = store.get_version_history("a")
    numbers = [info.version for info in history]
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(numbers) == len({info.label for info in history}) == 120
    assert [store.get("a", version=n).count for n in reversed(numbers)] == list(range(120))
    store.save(Sample("b"))
    first = store.get_latest_version_info("b")
    if mode is VersioningMode.GIT_LIKE:
        assert first.label == first.checksum[:7]
    if mode is VersioningMode.SEMANTIC:
        assert first.label == "1.0.0"
        store.save(Sample("b"), metadata={"bump": "minor"})
        store.save(Sample("b"), metadata={"bump": "major"})
        store.save(Sample("b"))
        assert [info.label for info in known(store, "b")] == ["2.0.1", "2.0.0", "1.1.0", "1.0.0"]
        with pytest.raises(ValueError, match="bump"):
            store.save(Sample("b"), metadata={"bump": "giant"})


def test_strategies_by_themselves():
    assert [IncrementalStrategy().get_next_version("a", n) for n in (None, 1, 99)] == [1, 2, 100]
    assert IncrementalStrategy().parse_version("v5") == 5
    semantic = SemanticStrategy()
    assert semantic.get_next_version("a", None) == 10_000
    assert [semantic.get_next_version("a", 10_203, {"bump": b}) for b in ("patch", "minor", "major")] == [
        10_204,
        10_300,
        20_000,
    ]
    assert semantic.format_version(10_203) == "1.2.3"
    assert semantic.parse_version("1.2.3") == 10_203
    clock = iter([5.0, 4.0, 4.0])
    times = TimestampStrategy(lambda: next(clock))
    assert [times.get_next_version("a"), times.get_next_version("a", 5_000)] == [5_000, 5_001]
    assert times.parse_version(times.format_version(1_700_000_000_123)) == 1_700_000_000_123
    git = GitLikeStrategy(hash_length=9)
    assert git.get_next_version("a", None, {"content": {"x": 1}}) == 1
    assert git.parse_version(git.format_version(1)) == 1
    assert len(git.format_version(1)) == 9
    assert git.format_version(2) == "000000002"
    for mode in VersioningMode:
        for wrong in ("", "x", "1.2", "-1"):
            with pytest.raises(ValueError):
                get_strategy(mode).parse_version(wrong)
    with pytest.raises(ValueError):
        get_strategy("unknown")


def result(*checks: ValidatorResult, **changes: Any) -> ValidationResult:
    values: dict[str, Any] = {
        "run_id": "run",
        "run_time": datetime(2026, 1, 1, tzinfo=UTC),
        "data_asset": "orders",
        "status": ResultStatus.SUCCESS,
    }
    return ValidationResult(**{**values, **changes}, results=list(checks))


def test_checks_are_compared_by_what_they_check():
    store = VersionedStore(MemoryStore())
    null, unique = ValidatorResult("not_null", success=True, column="a"), ValidatorResult("unique", success=True)
    other = ValidatorResult("not_null", success=True, column="b")
    store.save(result(null, unique))
    failed = ValidatorResult("not_null", success=False, column="a", count=3)
    store.save(result(other, unique, failed, status=ResultStatus.FAILURE, tags={"a.b": "x"}))
    diff = store.diff("run", 1)
    found = {change.path: (change.type, change.old, change.new) for change in diff.changes}
    assert found["status"] == (DiffType.MODIFIED, "success", "failure")
    assert found["tags['a.b']"] == (DiffType.ADDED, None, "x")
    assert found["results[not_null, a].success"] == ("modified", True, False)
    assert found["results[not_null, a].count"] == ("modified", 0, 3)
    assert found["results[not_null, b]"][0] is DiffType.ADDED
    assert not [path for path in found if "unique" in path]
    assert diff.changes[0]["old_value"] == "success"
    assert diff.changes[0]["type"] == "modified"
    assert (diff.version_a, diff.version_b) == (1, 2)
    back = store.diff("run", 2, 1)
    assert {change.path for change in back.changes} == set(found)
    assert back.summary.startswith("0 added, 2 removed, ")
    assert not store.diff("run", 2, 2)
    assert diff.to_dict()["changes"][0]["path"] == "status"
    with pytest.raises(VersionNotFoundError):
        store.diff("run", 7)
    with pytest.raises(VersionNotFoundError):
        store.diff("unknown", 1)


def test_suites_and_views_have_versions_too():
    store = VersionedStore(MemoryStore()).collection(SUITES)
    assert isinstance(store, VersionedStore)
    suite = ExpectationSuite.create("daily", "orders")
    store.save(suite)
    suite.add_expectation(Expectation("not_null", "amount"))
    store.save(suite)
    assert "expectations[not_null, amount]" in [change.path for change in store.diff("daily", 1).changes]
    assert store.list_versions("daily") == [2, 1]


def test_differences_of_documents():
    def paths(old: Any, new: Any) -> list[str]:
        return [f"{change.type[0]} {change.path}" for change in differences(old, new)]

    assert paths({"a": 1}, {"a": True}) == ["m a"]
    assert paths({"a": 1}, {"a": 1.0}) == []
    assert paths({"a": float("nan")}, {"a": float("nan")}) == []
    assert paths({"a": [1, 2]}, {"a": [1, 3, 4]}) == ["m a[1]", "a a[2]"]
    same = [{"name": "x", "v": 1}, {"name": "x", "v": 2}, {"name": "x, 2", "v": 3}]
    assert paths(same, same) == []
    assert paths(same, same[:2]) == ["r [x, 2, 2]"]
    assert paths([{"name": "x"}], []) == ["r [x]"]
    assert paths({"a": None}, {}) == ["r a"]
    assert paths([1], {"0": 1}) == ["m "]


def test_options_are_checked_before_anything_is_written():
    base = MemoryStore(collection=SAMPLES)
    with pytest.raises(StoreConfigError, match="branch"):
        VersioningConfig(enable_branching=True)
    with pytest.raises(StoreConfigError, match="checksum"):
        VersioningConfig(checksum_algorithm="crc32")
    with pytest.raises(ValueError):
        VersioningConfig(max_versions=-1)
    with pytest.raises(ValueError):
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


def test_values_can_be_written_down():
    info = VersionInfo(1, "a", datetime(2026, 1, 1, tzinfo=UTC), created_by="ada", metadata={"x": 1}, changes=("b",))
    assert json.loads(json.dumps(info.to_dict())) == info.to_dict()
    assert info.to_dict()["created_at"] == "2026-01-01T00:00:00+00:00"
    diff = VersionDiff.of("a", 1, 2, [VersionChange("x", DiffType.MODIFIED, "a", "b")])
    assert diff.to_dict()["changes"] == [{"path": "x", "type": "modified", "old_value": "a", "new_value": "b"}]
    assert diff.changes[0]["path"] == "x"
    error = VersionNotFoundError("item", 99)
    assert (error.item_id, error.version) == ("item", 99)
    assert "99" in str(error)


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


@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
@pytest.mark.parametrize("operation", ["save", "delete", "purge", "delete head", "rollback", "first"])
def test_a_fault_at_every_step_loses_no_version_and_no_number(operation, kind):
    """Whatever was acknowledged is there, in the same order; the next save goes on."""
    for fail_at in range(1, 30):
        blobs = MemoryBlobs()
        with VersionedStore(MemoryStore(collection=SAMPLES, blobs=blobs)) as store:
            store.save_many(Sample("a", count=n) for n in (1, 2, 3))
        faulty = FaultyBlobs(blobs)
        store = VersionedStore(MemoryStore(collection=SAMPLES, blobs=faulty))
        store.initialize()
        steps = {
            "save": lambda store=store: store.save(Sample("a", count=4)),
            "first": lambda store=store: store.save(Sample("b", count=4)),
            "delete": lambda store=store: store.delete("a"),
            "purge": lambda store=store: store.delete("a", delete_all_versions=True),
            "delete head": lambda store=store: store.delete("a", version=3),
            "rollback": lambda store=store: store.rollback("a", 1),
        }
        faulty.arm(fail_at, kind)
        acknowledged = False
        try:
            steps[operation]()
            acknowledged = True
        except (StoreConflictError, StoreNotFoundError):
            raise  # a storage that fails is neither
        except (StoreError, SimulatedCrashError):
            pass
        finished = faulty.disarm()
        store = VersionedStore(MemoryStore(collection=SAMPLES, blobs=blobs))
        versions = {n: store.get("a", version=n).count for n in store.list_versions("a")}
        head = store.get("a").count if store.exists("a") else None
        old, new = {
            "save": (({3: 3, 2: 2, 1: 1}, 3), ({4: 4, 3: 3, 2: 2, 1: 1}, 4)),
            "first": (({3: 3, 2: 2, 1: 1}, 3), ({3: 3, 2: 2, 1: 1}, 3)),
            "delete": (({3: 3, 2: 2, 1: 1}, 3), ({3: 3, 2: 2, 1: 1}, None)),
            "purge": (({3: 3, 2: 2, 1: 1}, 3), ({}, None)),
            "delete head": (({3: 3, 2: 2, 1: 1}, 3), ({2: 2, 1: 1}, 2)),
            "rollback": (({3: 3, 2: 2, 1: 1}, 3), ({4: 1, 3: 3, 2: 2, 1: 1}, 1)),
        }[operation]
        assert (versions, head) in ([new] if acknowledged else [old, new]), (fail_at, kind)
        before = store.list_versions("a")
        store.save(Sample("a", count=9))
        assert store.list_versions("a")[1:] == before
        assert store.get("a").count == 9
        store.delete("a", delete_all_versions=True)
        store.maintain()
        left = store.base.collection(history_of(SAMPLES)).list_ids()
        assert left == []
        if not finished:
            break
    else:
        pytest.fail("the operation has more steps than were tried")


def test_a_removal_that_was_cut_short_is_finished_by_maintenance():
    blobs = MemoryBlobs()
    store = VersionedStore(MemoryStore(collection=SAMPLES, blobs=blobs))
    store.save_many(Sample("a", count=n) for n in range(5))
    for fail_at in range(1, 40):
        faulty = FaultyBlobs(blobs)
        dying = VersionedStore(MemoryStore(collection=SAMPLES, blobs=faulty))
        dying.list_versions("a")
        faulty.arm(fail_at, "crash-before")
        with pytest.raises(SimulatedCrashError):
            dying.delete("a", delete_all_versions=True)
        store = VersionedStore(MemoryStore(collection=SAMPLES, blobs=blobs))
        if not store.exists("a"):
            break
    assert known(store) == []
    assert store.base.collection(history_of(SAMPLES)).count() == 4
    store.maintain()
    assert store.base.collection(history_of(SAMPLES)).count() == 0
    assert store.list_ids(StoreQuery(include_deleted=True)) == []


def test_savers_and_removers_of_one_id_agree_on_its_numbers(reopen):
    store = reopen()
    made: list[int] = []

    def work(thread: int) -> None:
        for n in range(15):
            if thread % 3 == 0:
                store.delete("a")
            else:
                made.append(store.save_version(Sample("a", count=n)).version)

    at_once(work, 6)
    assert len(set(made)) == len(made)
    assert sorted(made, reverse=True) == store.list_versions("a")


def test_removing_all_versions_while_others_save_leaves_no_trace_of_the_old(reopen):
    store = reopen()

    def work(thread: int) -> None:
        for n in range(10):
            if thread == 0:
                store.delete("a", delete_all_versions=True)
            else:
                store.save(Sample("a", count=n))

    at_once(work, 4)
    store.delete("a", delete_all_versions=True)
    assert store.base.collection(history_of(SAMPLES)).list_ids() == []
    store.save(Sample("a"), expect=ABSENT)
    assert store.list_versions("a") == [1]


def test_a_checksum_is_named_by_four_characters_that_no_other_has(reopen):
    store = reopen(mode="git_like")
    store.save_many(Sample("a", count=count) for count in range(300))
    history = store.get_version_history("a")
    for info in history[:20]:
        assert store.get("a", version=info.checksum[:12]) == store.get("a", version=info.version)
    assert store.get("a", version="1").count == 0
    assert store.get("a", version="29").count == 28
    start = history[0].checksum[0]
    with pytest.raises(VersionNotFoundError):
        store.get("a", version=f"{start}zzz")
    store.rollback("a", version=history[7].checksum)
    assert store.get_version_history("a")[0].checksum == history[7].checksum
    assert store.get("a", version=history[7].checksum).count == history[7].version - 1


def test_a_beginning_that_several_checksums_share_names_none(reopen, monkeypatch):
    monkeypatch.setattr("truthstore.versioning.reader.SHORTEST_CHECKSUM", 1)
    store = reopen(mode="git_like")
    store.save_many(Sample("a", count=count) for count in range(40))
    letters = [info.checksum[0] for info in store.get_version_history("a")]
    shared = next(letter for letter in letters if letters.count(letter) > 1 and letter.isalpha())
    with pytest.raises(VersionNotFoundError, match="begin so"):
        store.get("a", version=shared)


@pytest.mark.parametrize("said", [{"message": "\ud800"}, {"created_by": "\ud800"}, {"metadata": {"a": ["\ud800"]}}])
def test_what_is_said_of_a_version_can_be_stored(reopen, said):
    store = reopen()
    store.save(Sample("a", count=1))
    with pytest.raises(StoreWriteError, match=r"surrogate|cannot be stored"):
        store.save(Sample("a", count=2), **said)
    assert store.get("a").count == 1
    assert store.count() == 1
