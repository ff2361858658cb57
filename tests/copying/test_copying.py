"""What a copy takes along, what it leaves, and what it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.copying.doubles import CARRIED, NOON, OF_RESULTS, Meanwhile, Spoiling, fill, held, result, versioned
from truthstore import (
    BaseStore,
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreQuery,
    StoreWriteError,
    copy_store,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore
from truthstore.checks.notes import all_notes
from truthstore.copying import CopyConflictError, CopyCounts
from truthstore.expectations import SUITES
from truthstore.model.record import AS_STORED
from truthstore.results import RESULTS, ResultStatus, ValidatorResult
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore

EVERYTHING: dict[str, Any] = {"everything": True}


def test_records_come_as_they_were_stored(source: BaseStore[Any], target: BaseStore[Any]):
    counts = copy_store(source, target)
    assert held(target) == held(source)
    assert (counts.copied, counts.compared, counts.unchanged) == (10, 10, 0)
    assert counts.bytes == sum(record.meta.size for record in source.entries())


def test_a_second_copy_writes_nothing(source: BaseStore[Any], target: BaseStore[Any]):
    copy_store(source, target)
    target.subscribe(written := lambda changes: pytest.fail(f"written again: {changes}"))
    assert copy_store(source, target) == CopyCounts(compared=10, unchanged=10)
    del written


def test_a_later_copy_takes_what_is_new_whatever_the_clocks_say(
    source: BaseStore[Any], target: BaseStore[Any], monkeypatch: pytest.MonkeyPatch
):
    copy_store(source, target)
    monkeypatch.setattr("truthstore.model.collection.time_ns", lambda: 1_000_000_000)  # a clock of 1970
    source.save(result(77))
    source.save(result(3, suite_name="changed"))
    counts = copy_store(source, target, conflict="source")
    assert (counts.copied, counts.unchanged) == (2, 9)
    assert held(target) == held(source)


def test_everything_comes_along():
    with versioned(MemoryStore()) as source, versioned(MemoryStore()) as target:
        fill(source)
        source.audit.flush()
        copied = copy_store(source, target, **EVERYTHING)
        assert copied.kept == 0
        known, there = held(source), held(target)
        for collection in CARRIED:
            here = {key: value for key, value in known.items() if key[0] == collection.name}
            assert here, collection
            assert {key: value for key, value in there.items() if key in here} == here
        assert target.list_versions("run-0004") == [2, 1]
        assert [info.message for info in target.get_version_history("run-0004")] == ["again", None]
        assert not target.exists("run-0001")
        target.rollback("run-0001", version=1)
        assert len(list(target.iter_checks("streamed"))) == 5
        assert [note.reason for note in notes(target)] == ["known"]
        assert target.collection(SUITES).list_ids() == ["orders suite"]
        assert target.verify().ok


def notes(store: BaseStore[Any]) -> list[Any]:
    return [note for note in all_notes(store, RESULTS) if note.kind == "acknowledged"]


def test_the_collection_of_the_store_comes_with_what_belongs_to_it_and_no_other():
    with VersionedStore(MemoryStore()) as source, MemoryStore() as target:
        fill(source)
        copy_store(source, target)
        assert target.collection_names() == {"results", "results.versions", "results.parts", "results.notes"}
        assert len(list(target.iter_checks("streamed"))) == 5
        copy_store(source, target, collections=[SUITES])
        assert target.collection(SUITES).count() == 1


def test_a_collection_of_ones_own_needs_its_declaration(target: BaseStore[Any]):
    source = MemoryStore()
    source.collection(SAMPLES).save(Sample("a"))
    source.save(result(1))
    with pytest.raises(StoreConfigError, match=r"what samples holds: give collections="):
        copy_store(source, target, **EVERYTHING)
    copy_store(source, target, collections=[SAMPLES], **EVERYTHING)
    assert target.collection(SAMPLES).list_ids() == ["a"]
    assert target.list_ids() == ["run-0001"]


def test_what_is_replaced_or_streamed_during_a_copy_is_whole_at_the_target():
    with VersionedStore(MemoryStore()) as source, VersionedStore(MemoryStore()) as target:
        source.save_many(result(number) for number in range(3))

        def write(below: BaseStore[Any]) -> None:
            source.save(result(1, suite_name="meanwhile"))
            with source.open_run("streamed", "large.csv", run_time=NOON) as run:
                run.add(ValidatorResult("check", success=True))

        copy_store(source, Meanwhile(target, write))
        for id in target.list_ids():
            numbers = target.list_versions(id)
            assert numbers == list(range(len(numbers), 0, -1))
        copy_store(source, target)
        assert held(target, OF_RESULTS) == held(source, OF_RESULTS)
        assert len(list(target.iter_checks("streamed"))) == 1


def test_a_query_copies_its_items_with_what_belongs_to_them():
    with VersionedStore(MemoryStore()) as source, MemoryStore() as target:
        fill(source)
        copy_store(source, target, StoreQuery(tags={"team": "team-0"}, start_time=NOON + timedelta(minutes=4)))
        assert sorted(target.list_ids()) == ["run-0004", "run-0006", "run-0008", "run-0010"]
        versions = VersionedStore(target)
        assert versions.list_versions("run-0004") == [2, 1]
        assert versions.list_versions("run-0000") == []
        assert [note.kind for note in notes(target)] == ["acknowledged"]
        assert "results.parts" not in target.collection_names()
        copy_store(source, target, StoreQuery(ids=["streamed"]))
        assert len(list(target.iter_checks("streamed"))) == 5


def test_a_query_with_a_limit_copies_the_newest(source: BaseStore[Any], target: BaseStore[Any]):
    copy_store(source, target, StoreQuery(limit=3))
    assert target.list_ids() == ["run-0009", "run-0008", "run-0007"]


def test_without_versions_the_target_makes_its_own():
    with VersionedStore(MemoryStore()) as source, VersionedStore(MemoryStore()) as target:
        fill(source)
        target.save(result(4))
        counts = copy_store(source, target, versions=False, conflict="source")
        assert (counts.kept, target.list_versions("run-0004"), target.list_versions("run-0008")) == (0, [2, 1], [1])
        assert not target.exists("run-0001")
        assert copy_store(source, target, versions=False).copied == 0


def test_a_store_without_versions_is_copied_below_them(source: BaseStore[Any]):
    with VersionedStore(MemoryStore()) as target:
        copy_store(source, target)
        assert target.list_versions("run-0001") == [1]
        target.save(result(1, suite_name="later"))
        assert target.list_versions("run-0001") == [2, 1]
        assert target.get("run-0001", version=1) == source.get("run-0001")


@pytest.mark.parametrize("put", [CachedStore, lambda store: BatchedStore(store, flush_interval_seconds=None)])
def test_layers_that_keep_records_do_not_stand_in_the_way(put: Any):
    data = MemoryData()
    source, target = put(VersionedStore(MemoryStore())), put(VersionedStore(MemoryStore(data=data)))
    source.save(result(1))
    source.save(result(1, suite_name="again"))
    assert not target.exists("run-0001")
    copy_store(source, target)
    assert target.get("run-0001") == source.get("run-0001")
    assert MemoryStore(data=data).get("run-0001") == source.get("run-0001"), "it does not wait"
    assert target.list_versions("run-0001") == source.list_versions("run-0001") == [2, 1]
    source.close()
    target.close()


def test_encodings_may_differ(tmp_path: Any):
    packed = FileSystemStore(base_path=tmp_path / "packed", serialization_format="msgpack", compression="gzip")
    with packed, FileSystemStore(base_path=tmp_path / "plain") as plain, MemoryStore() as third:
        packed.save(result(1))
        plain.save(result(2))
        copy_store(packed, plain)
        copy_store(plain, packed)
        copy_store(packed, third)
        assert {head.meta.encoding for head in plain.entries()} == {"json", "msgpack"}
        assert held(packed) == held(plain) == held(third)
        assert plain.get("run-0001") == packed.get("run-0001")


def test_a_naive_time_is_the_same_instant_in_another_time_zone(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    import time
    from datetime import datetime

    with (
        FileSystemStore(base_path=tmp_path / "source") as source,
        FileSystemStore(base_path=tmp_path / "target") as target,
    ):
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        source.save(result(1).__class__("naive", datetime(2026, 5, 4, 12), "orders", ResultStatus.SUCCESS))  # noqa: DTZ001
        instant = source.head("naive").meta.fields["run_time"]
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        copy_store(source, target)
        assert target.head("naive").meta.fields["run_time"] == instant
        target.rebuild_index()
        assert target.head("naive").meta.fields["run_time"] == instant
    monkeypatch.undo()
    time.tzset()


def test_progress_is_told_after_each_batch(source: BaseStore[Any], target: BaseStore[Any]):
    seen: list[CopyCounts] = []
    result = copy_store(source, target, progress=seen.append)
    assert [(one.collection, one.compared, one.copied) for one in seen] == [("results", 0, 10), ("results", 10, 10)]
    assert seen[-1].bytes == result.bytes > 0


def test_what_progress_raises_ends_the_copy(source: BaseStore[Any], target: BaseStore[Any]):
    def stop(counts: CopyCounts) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(source, target, progress=stop)
    assert copy_store(source, target).unchanged == 10


class TestConflicts:
    @pytest.fixture(autouse=True)
    def other(self, target: BaseStore[Any]) -> Any:
        target.save(result(3, suite_name="of the target"))
        return target.head("run-0003").revision

    def test_what_the_target_has_otherwise_stays_and_is_said(self, source: BaseStore[Any], target: BaseStore[Any]):
        with pytest.raises(
            CopyConflictError, match=r"of 1 records, first of results 'run-0003'.*conflict='source'"
        ) as error:
            copy_store(source, target)
        assert error.value.ids == (("results", "run-0003"),)
        assert (error.value.counts.copied, error.value.counts.kept, error.value.identifier) == (9, 1, "run-0003")
        assert target.get("run-0003").suite_name == "of the target"
        assert target.count() == 10

    def test_the_source_wins_if_asked_to(self, source: BaseStore[Any], target: BaseStore[Any]):
        copy_store(source, target, conflict="source")
        assert held(target) == held(source)

    def test_the_target_wins_if_asked_to(self, source: BaseStore[Any], target: BaseStore[Any], other: str):
        counts = copy_store(source, target, conflict="target")
        assert (counts.kept, counts.copied, target.head("run-0003").revision) == (1, 9, other)

    @pytest.mark.parametrize("conflict", ["raise", "source"])
    def test_what_another_program_writes_meanwhile_is_never_overwritten_unseen(
        self, source: BaseStore[Any], conflict: Any
    ):
        base = MemoryStore()
        target = Meanwhile(base, lambda below: below.save(result(5, suite_name="meanwhile")))
        if conflict == "raise":
            with pytest.raises(CopyConflictError, match="run-0005"):
                copy_store(source, target)
            assert base.get("run-0005").suite_name == "meanwhile"
        else:
            copy_store(source, target, conflict="source")
            assert held(base) == held(source)

    def test_the_same_revision_written_meanwhile_is_done(self, source: BaseStore[Any]):
        base = MemoryStore()
        copy_store(source, Meanwhile(base, lambda below: copy_store(source, below)))
        assert held(base) == held(source)

    def test_an_older_version_of_what_is_copied_is_no_conflict(self):
        with VersionedStore(MemoryStore()) as source, VersionedStore(MemoryStore()) as target:
            fill(source)
            copy_store(source, target)
            source.save(result(5, suite_name="newer"))
            source.delete("run-0007")
            source.save(result(1, suite_name="back"))
            assert copy_store(source, target).kept == 0
            assert (target.get("run-0005").suite_name, target.exists("run-0007")) == ("newer", False)
            assert target.list_versions("run-0001") == source.list_versions("run-0001")

    def test_an_unknown_rule(self, source: BaseStore[Any], target: BaseStore[Any]):
        with pytest.raises(ValueError, match="conflict is one of raise, source, target"):
            copy_store(source, target, conflict="newest")  # type: ignore[arg-type]


class TestDeletes:
    def test_what_the_source_deleted_stays_by_default(self, source: BaseStore[Any], target: BaseStore[Any]):
        copy_store(source, target)
        source.delete("run-0002")
        assert copy_store(source, target).deleted == 0
        assert target.exists("run-0002")

    @pytest.mark.parametrize("ids", [["run-0000"], ["run-0002", "run-0009"]], ids=["first", "middle and last"])
    def test_a_mirror_deletes_it(self, ids: list[str], source: BaseStore[Any], target: BaseStore[Any]):
        copy_store(source, target)
        source.delete_many(ids)
        target.save(result(99))
        target.save(result(100))
        assert copy_store(source, target, delete=True).deleted == len(ids) + 2
        assert held(target) == held(source)

    def test_versions_go_with_it(self):
        with VersionedStore(MemoryStore()) as source, VersionedStore(MemoryStore()) as target:
            fill(source)
            copy_store(source, target)
            source.delete("run-0004", delete_all_versions=True)
            copy_store(source, target, delete=True)
            assert target.list_versions("run-0004") == []
            assert held(target, OF_RESULTS) == held(source, OF_RESULTS)

    def test_an_empty_source_empties_no_target(self, source: BaseStore[Any]):
        with (
            MemoryStore() as empty,
            pytest.raises(StoreConflictError, match="holds 10 results, and the source holds none"),
        ):
            copy_store(empty, source, delete=True)

    def test_it_goes_with_no_query(self, source: BaseStore[Any], target: BaseStore[Any]):
        with pytest.raises(TypeError, match="neither a query"):
            copy_store(source, target, StoreQuery(status="failure"), delete=True)


class TestVerifying:
    def test_a_copy_that_is_not_what_was_written_is_an_error(self, source: BaseStore[Any]):
        with pytest.raises(StoreCorruptError, match=r"results 'run-0000' is not the same in source and target"):
            copy_store(source, Spoiling(MemoryStore()))
        copy_store(source, Spoiling(MemoryStore()), verify=False)

    def test_what_was_there_already_is_compared_if_asked_to(self, source: BaseStore[Any]):
        target = MemoryStore()
        copy_store(source, Spoiling(target), verify=False)
        copy_store(source, target)
        with pytest.raises(StoreCorruptError, match="run-0000"):
            copy_store(source, target, verify="all")

    def test_a_target_that_drops_what_is_written_is_an_error(self, source: BaseStore[Any]):
        with pytest.raises(StoreWriteError, match=r"'run-0000' was copied and is gone"):
            copy_store(source, MemoryStore(max_items=5))


def test_a_target_with_items_is_refused_if_asked_to(source: BaseStore[Any], target: BaseStore[Any]):
    copy_store(source, target, resume=False)
    with pytest.raises(StoreConflictError, match="holds 10 results, and resume is off"):
        copy_store(source, target, resume=False)


def test_a_small_source_does_not_list_a_large_target(target: BaseStore[Any], monkeypatch: pytest.MonkeyPatch):
    target.save_many(result(number) for number in range(100))
    with MemoryStore() as source:
        source.save(result(500))
        source.save(result(3))
        asked: list[Any] = []
        scan = MemoryStore.scan_revisions

        def watched(self: Any, query: StoreQuery, **options: Any) -> Any:
            asked.append((self, query.ids))
            return scan(self, query, **options)

        monkeypatch.setattr(MemoryStore, "scan_revisions", watched)
        copy_store(source, target, conflict="source")
        assert all(ids is not None for store, ids in asked if store is target)


def test_records_larger_than_a_batch_are_read_one_by_one(source: BaseStore[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("truthstore.copying.transfer.BATCH_BYTES", 100)
    seen: list[int] = []
    target = MemoryStore()
    monkeypatch.setattr(target, "put_records", lambda records, **_: seen.append(len(records)))
    copy_store(source, target, verify=False)
    assert seen == [1] * 10


def test_a_record_that_moves_between_stores_makes_no_version_and_no_tombstone():
    with VersionedStore(MemoryStore()) as store:
        store.save(result(1))
        record = store.get_record("run-0001", collection=RESULTS)
        assert store.delete_record("run-0001", collection=RESULTS, options=AS_STORED)
        assert store.list_versions("run-0001") == []
        store.put_record(record, collection=RESULTS, options=AS_STORED)
        assert store.get_record("run-0001", collection=RESULTS) == record
        with pytest.raises(TypeError, match="as_stored"):
            store.save(result(1), as_stored=True)
