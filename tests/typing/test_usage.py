"""The public interface as a type checker sees it: mypy and pyright check this file, and it is run as a test too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, assert_type

from truthstore import (
    ABSENT,
    ANY,
    RESULTS,
    SUITES,
    BaseStore,
    Change,
    Collection,
    ExpectationSuite,
    Field,
    Health,
    Record,
    ResultStatus,
    StoreQuery,
    ValidationResult,
    ValidationStore,
    Verification,
    WrapperStore,
    get_store,
    open_store,
    stack,
)
from truthstore.backends.filesystem import FileSystemConfig, FileSystemExpectationStore, FileSystemStore
from truthstore.backends.gcs import GCSConfig, GCSStore
from truthstore.backends.memory import MemoryConfig, MemoryExpectationStore, MemoryStore
from truthstore.checks import Check, CheckQuery, Comparison


@dataclass
class Measurement:
    name: str
    value: float
    taken_at: datetime
    labels: dict[str, str] = field(default_factory=dict)


MEASUREMENTS = Collection.of(
    Measurement, id="name", index={"value": float, "big": Field(bool, "value")}, time="taken_at", tags="labels"
)


class Passing(WrapperStore[ValidationResult]):
    """A wrapper of results that changes nothing."""


def stores(folder: str) -> None:
    assert_type(get_store("memory"), BaseStore[ValidationResult])
    assert_type(get_store("filesystem", base_path=folder), BaseStore[ValidationResult])
    assert_type(get_store("memory", collection=SUITES), BaseStore[ExpectationSuite])
    assert_type(get_store("memory", collection=MEASUREMENTS), BaseStore[Measurement])
    assert_type(MemoryStore(), MemoryStore[ValidationResult])
    assert_type(MemoryStore(MemoryConfig(max_items=3)), MemoryStore[ValidationResult])
    assert_type(MemoryStore(collection=MEASUREMENTS), MemoryStore[Measurement])
    assert_type(FileSystemStore(base_path=folder), FileSystemStore[ValidationResult])
    assert_type(GCSStore(bucket="b"), GCSStore[ValidationResult])
    assert_type(GCSStore(GCSConfig(bucket="b"), collection=MEASUREMENTS), GCSStore[Measurement])
    assert_type(FileSystemStore(FileSystemConfig(base_path=folder)), FileSystemStore[ValidationResult])
    suites: BaseStore[ExpectationSuite] = MemoryExpectationStore()
    assert_type(suites.query(), list[ExpectationSuite])
    files: BaseStore[ExpectationSuite] = FileSystemExpectationStore(base_path=folder)
    assert_type(files.list_ids(), list[str])
    assert_type(open_store("memory://"), BaseStore[Any])
    assert_type(stack(MemoryStore(), Passing), BaseStore[ValidationResult])
    assert_type(Passing(MemoryStore()).base, BaseStore[Any])
    assert_type(MemoryStore().collection(MEASUREMENTS), BaseStore[Measurement])
    assert_type(Passing(MemoryStore()).layer(MemoryStore), MemoryStore[Any])


def operations(store: ValidationStore[ValidationResult], result: ValidationResult) -> None:
    assert_type(store.save(result, expect=ABSENT), str)
    assert_type(store.get(result.run_id), ValidationResult)
    head = store.head(result.run_id)
    assert_type(head, Record)
    assert_type(store.save(result, expect=head.revision), str)
    assert_type(store.exists(result.run_id), bool)
    assert_type(store.save_many([result], expect=ANY), list[str])
    assert_type(store.get_many([result.run_id], missing="skip"), dict[str, ValidationResult])
    query = StoreQuery(data_asset="a", status=ResultStatus.FAILURE, where={"total_issues": (">", 0)}, limit=5)
    assert_type(store.query(query), list[ValidationResult])
    assert_type(store.iter_query(query, batch_size=2), Iterator[ValidationResult])
    assert_type(store.entries(query), Iterator[Record])
    assert_type(store.count(query), int)
    assert_type(store.get_latest("a"), ValidationResult | None)
    assert_type(store.list_assets(), list[str])
    assert_type(store.aggregate(by="status", bucket="day", metrics=("count", "avg:pass_rate")), list[dict[str, Any]])
    assert_type(store.verify(), Verification)
    assert_type(store.health_check(), Health)
    assert_type(store.delete(result.run_id), bool)
    assert_type(store.clear(everything=True), int)

    def told(changes: Sequence[Change]) -> None:
        for change in changes:
            assert_type(change.revision, str | None)

    store.subscribe(told)


def test_the_interface_works_as_it_is_typed(tmp_path: Any) -> None:
    stores(str(tmp_path))
    result = ValidationResult(
        run_id="r", run_time=datetime(2026, 1, 1, tzinfo=UTC), data_asset="a", status=ResultStatus.SUCCESS
    )
    typed: ValidationStore[ValidationResult] = MemoryStore(collection=RESULTS)
    operations(typed, result)
    assert typed.count() == 0


def test_questions_about_checks():
    def ask(store: ValidationStore[ValidationResult]) -> Comparison:
        assert_type(store.checks.latest(query=CheckQuery(status="failure")), list[Check])
        return store.compare_latest("orders")

    assert callable(ask)
