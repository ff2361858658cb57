"""Part of the store suite: one item, and many: save, get, delete, and what `expect` allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from truthstore.errors import (
    StoreBulkError,
    StoreConflictError,
    StoreNotFoundError,
    StoreWriteError,
)
from truthstore.items.checks import ResultStatus, ValidatorResult
from truthstore.items.expectations import SUITES, Expectation, ExpectationSuite
from truthstore.items.results import RESULTS, ValidationResult
from truthstore.model.collection import Collection
from truthstore.model.record import ABSENT, ANY
from truthstore.testing.sample import Sample, make_samples
from truthstore.testing.suite.case import StoreCase

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore
    from truthstore.testing.suite.case import OpenStore

__all__ = ["ItemTests", "Measurement", "a_result"]

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2)))


@dataclass
class Measurement:
    """A dataclass with an id of another name."""

    key: str
    value: float
    moment: datetime


MEASUREMENTS = Collection.of(Measurement, id="key", time="moment", index={"value": float})


def a_result(run_id: str = "run_1", **changes: Any) -> ValidationResult:
    """Return a validation result that holds something of everything."""
    values: dict[str, Any] = {
        "run_id": run_id,
        "run_time": NOW,
        "data_asset": "orders",
        "status": ResultStatus.FAILURE,
        "results": [
            ValidatorResult(
                "not_null",
                success=False,
                column="amount",
                issue_type="null",
                count=3,
                severity="high",
                message="3 nulls in amount",
                details={"sample": [1, None, 2.5, "é", {"deep": [True]}], "big": 2**63},
                execution_time_ms=1.5,
            ),
            ValidatorResult("unique", success=True, column="id"),
        ],
        "tags": {"environment": "production"},
        "metadata": {"rows": 10},
        "suite_name": "daily",
        "runtime_environment": {"python": "3.11"},
    }
    return ValidationResult(**{**values, **changes})


class ItemTests(StoreCase):
    """One item, and many."""

    def test_what_is_saved_is_what_one_gets(self, open_store: OpenStore):
        store = open_store(RESULTS)
        result = a_result()
        assert store.save(result) == "run_1"
        assert store.get("run_1") == result
        assert store.get("run_1") is not result

    def test_suites_come_back(self, open_store: OpenStore):
        store = open_store(SUITES)
        suite = ExpectationSuite.create("daily", "orders", tags={"owner": "data"})
        suite.add_expectation(Expectation("not_null", "amount", {"mostly": 0.9}, mostly=0.9))
        store.save(suite)
        assert store.get("daily") == suite

    def test_dataclasses_come_back(self, open_store: OpenStore):
        store = open_store(MEASUREMENTS)
        for value in (1.5, -0.0, 1e308, math.inf, -math.inf):
            store.save(Measurement("m", value, NOW))
            assert store.get("m") == Measurement("m", value, NOW)
        store.save(Measurement("m", math.nan, NOW))
        assert math.isnan(store.get("m").value)

    def test_attrs_classes_come_back(self, open_store: OpenStore):
        attrs = pytest.importorskip("attrs")
        column: Any = attrs.make_class("ColumnCheck", {"id": attrs.field(type=str), "passed": attrs.field(type=bool)})
        store = open_store(Collection.of(column, index={"passed": bool}))
        store.save(column("amount", passed=True))
        assert store.get("amount") == column("amount", passed=True)
        assert [item.id for item in store.query()] == ["amount"]

    def test_every_sample_comes_back(self, store: BaseStore[Sample]):
        for sample in make_samples():
            store.save(sample)
        for sample in make_samples():
            assert repr(store.get(sample.id)) == repr(sample)

    def test_large_items_come_back(self, store: BaseStore[Sample]):
        large = Sample("large", details={"text": "naïve 🦉" * 200_000, "list": list(range(50_000))})
        store.save(large)
        assert store.get("large") == large

    def test_a_naive_time_comes_back_naive_and_means_local_time(self, store: BaseStore[Sample]):
        naive = datetime(2026, 7, 1, 12)  # noqa: DTZ001  # the point of the test
        store.save(Sample("naive", moment=naive))
        assert store.get("naive").moment == naive
        assert store.head("naive").meta.fields["moment"] == round(naive.timestamp()) * 1_000_000

    def test_saving_again_overwrites(self, store: BaseStore[Sample]):
        store.save(Sample("a", name="old", tags={"old": "1"}, note="old words"))
        store.save(Sample("a", name="new", count=1))
        assert store.get("a") == Sample("a", name="new", count=1)
        assert store.count() == 1
        assert store.head("a").meta.fields["name"] == "new"
        assert dict(store.head("a").meta.tags) == {}

    def test_what_one_gets_is_one_s_own(self, store: BaseStore[Sample]):
        sample = Sample("a", details={"list": [1]})
        store.save(sample)
        sample.details["list"].append(2)
        got = store.get("a")
        got.details["list"].append(3)
        assert store.get("a").details == {"list": [1]}

    def test_what_is_missing_is_not_found(self, store: BaseStore[Sample]):
        with pytest.raises(StoreNotFoundError) as caught:
            store.get("nothing")
        assert caught.value.identifier == "nothing"
        assert caught.value.collection == "samples"
        with pytest.raises(StoreNotFoundError):
            store.head("nothing")
        assert not store.exists("nothing")
        assert store.delete("nothing") is False

    def test_delete_and_create_again(self, store: BaseStore[Sample]):
        for turn in range(3):
            store.save(Sample("a", count=turn), expect=ABSENT)
            assert store.delete("a") is True
            assert not store.exists("a")
            assert store.list_ids() == []
            assert store.count() == 0
            with pytest.raises(StoreNotFoundError):
                store.get("a")
            assert store.delete("a") is False
        store.save(Sample("a", count=9))
        assert store.get("a").count == 9
        assert store.list_ids() == ["a"]

    def test_head_exists_and_get_agree(self, filled: BaseStore[Sample]):
        for sample in make_samples():
            assert filled.exists(sample.id)
            head = filled.head(sample.id)
            assert head.body is None
            assert head.id == sample.id
            assert head.revision
            assert head.meta.fields["name"] == filled.get(sample.id).name
            assert dict(head.meta.tags) == sample.tags
            assert head.meta.size > 0
            assert head.meta.stored_at > 0

    def test_every_write_makes_a_new_revision(self, store: BaseStore[Sample]):
        seen: set[str] = set()
        for _ in range(3):
            store.save(Sample("a"))
            seen.add(store.head("a").revision)
        store.delete("a")
        store.save(Sample("a"))
        seen.add(store.head("a").revision)
        assert len(seen) == 4

    def test_absent_creates_and_never_overwrites(self, store: BaseStore[Sample]):
        store.save(Sample("a", count=1), expect=ABSENT)
        with pytest.raises(StoreConflictError) as caught:
            store.save(Sample("a", count=2), expect=ABSENT)
        assert caught.value.identifier == "a"
        assert store.get("a").count == 1

    def test_a_revision_replaces_just_that(self, store: BaseStore[Sample]):
        store.save(Sample("a", count=1))
        first = store.head("a").revision
        store.save(Sample("a", count=2), expect=first)
        for stale in (first, "0" * 24, "nonsense"):
            with pytest.raises(StoreConflictError):
                store.save(Sample("a", count=3), expect=stale)
        assert store.get("a").count == 2

    def test_a_revision_of_what_is_gone_does_not_create(self, store: BaseStore[Sample]):
        store.save(Sample("a"))
        revision = store.head("a").revision
        store.delete("a")
        with pytest.raises(StoreConflictError):
            store.save(Sample("a"), expect=revision)
        assert not store.exists("a")
        store.save(Sample("a"))
        with pytest.raises(StoreConflictError):
            store.save(Sample("a"), expect=revision)

    def test_delete_with_a_revision(self, store: BaseStore[Sample]):
        store.save(Sample("a", count=1))
        first = store.head("a").revision
        store.save(Sample("a", count=2))
        with pytest.raises(StoreConflictError):
            store.delete("a", expect=first)
        assert store.get("a").count == 2
        assert store.delete("a", expect=store.head("a").revision) is True
        assert not store.exists("a")

    def test_delete_with_a_revision_of_what_is_missing_conflicts(self, store: BaseStore[Sample]):
        with pytest.raises(StoreConflictError):
            store.delete("a", expect="0" * 24)

    def test_revisions_of_entries_serve_to_compare_and_set(self, filled: BaseStore[Sample]):
        for entry in list(filled.entries()):
            changed = filled.get(entry.id)
            changed.note = "changed"
            filled.save(changed, expect=entry.revision)
            with pytest.raises(StoreConflictError):
                filled.save(changed, expect=entry.revision)
        assert {sample.note for sample in filled.query()} == {"changed"}

    def test_many_are_as_good_as_one_by_one(self, open_store: OpenStore):
        results = [a_result(f"run_{i}", tags={"i": str(i)}) for i in range(25)]
        store = open_store(RESULTS)
        assert store.save_many(iter(results)) == [f"run_{i}" for i in range(25)]
        assert [store.get(f"run_{i}") for i in range(25)] == results
        found = store.get_many(iter(["run_7", "run_3", "run_7"]))
        assert list(found.items()) == [("run_7", results[7]), ("run_3", results[3])]
        with pytest.raises(StoreNotFoundError) as caught:
            store.get_many(["run_1", "missing"])
        assert caught.value.identifier == "missing"
        assert list(store.get_many(["missing", "run_2"], missing="skip")) == ["run_2"]
        assert store.delete_many(iter(["run_1", "run_1", "missing", "run_2"])) == 2
        assert store.count() == 23
        assert not store.exists("run_1")
        assert store.save_many([]) == []
        assert store.get_many([]) == {}
        assert store.delete_many([]) == 0

    def test_the_last_of_many_with_one_id_wins(self, store: BaseStore[Sample]):
        store.save_many([Sample("a", count=i) for i in range(5)])
        assert store.get("a").count == 4
        assert store.list_ids() == ["a"]

    def test_many_created_put_if_absent_say_what_was_there(self, store: BaseStore[Sample]):
        store.save_many([Sample("b", count=0), Sample("d", count=0)])
        with pytest.raises(StoreBulkError) as caught:
            store.save_many([Sample(id, count=1) for id in "abcde"], expect=ABSENT)
        assert set(caught.value.failed) == {"b", "d"}
        assert all(isinstance(error, StoreConflictError) for error in caught.value.failed.values())
        assert sorted(caught.value.stored) == ["a", "c", "e"]
        assert {sample.id: sample.count for sample in store.query()} == {"a": 1, "b": 0, "c": 1, "d": 0, "e": 1}

    def test_what_cannot_be_stored_changes_nothing(self, store: BaseStore[Sample]):
        store.save(Sample("a", count=1))
        impossible: list[Any] = [
            Sample("a", details={"object": object()}),
            Sample("a", count=2**63),
            Sample("a", name="nul \0"),
            Sample("a", name="x" * 4_097),
            Sample("a", tags={"": "empty key"}),
            Sample("a", tags={f"tag {i}": "" for i in range(101)}),
            Sample("a", tags={"k" * 257: ""}),
            Sample("a", tags={"key": "v" * 1_025}),
        ]
        for sample in impossible:
            with pytest.raises(StoreWriteError):
                store.save(sample)
        with pytest.raises(TypeError):
            store.save(a_result())  # type: ignore[arg-type]
        assert store.list_ids() == ["a"]
        assert store.get("a").count == 1

    def test_one_of_many_that_cannot_be_stored_costs_the_others_nothing(self, store: BaseStore[Sample]):
        with pytest.raises(StoreBulkError) as caught:
            store.save_many([Sample("a"), Sample("bad", details={"object": object()}), Sample("b")])
        assert [(id, type(error)) for id, error in caught.value.failed.items()] == [("bad", StoreWriteError)]
        assert caught.value.stored == ("a", "b")
        assert sorted(store.list_ids()) == ["a", "b"]

    def test_limits_are_within_reach(self, store: BaseStore[Sample]):
        full = Sample(
            "i" * 1_024,
            name="n" * 4_096,
            note="word " * 3_000,
            tags={f"{i:0256d}": "v" * 1_024 for i in range(100)},
        )
        store.save(full)
        assert store.get(full.id) == full
        head = store.head(full.id)
        assert dict(head.meta.tags) == full.tags
        assert head.meta.fields["name"] == full.name

    def test_misuse_is_a_type_or_value_error(self, store: BaseStore[Sample]):
        misused: Any = store
        for call in (
            lambda: misused.save(Sample("a"), expect=None),
            lambda: misused.save(Sample("a"), expect=""),
            lambda: misused.get(7),
            lambda: misused.get_many("abc"),
            lambda: misused.delete_many("abc"),
            lambda: misused.save(Sample("a"), no_such_option=1),
            lambda: misused.get("a", no_such_option=1),
            lambda: misused.delete("a", no_such_option=1),
            lambda: misused.save_many([Sample("a")], no_such_option=1),
        ):
            with pytest.raises(TypeError):
                call()
        for call in (
            lambda: misused.get_many(["a"], missing="ignore"),
            lambda: misused.delete("a", expect=ABSENT),
        ):
            with pytest.raises(ValueError):
                call()
        assert store.list_ids() == []
        store.save(Sample("a"), expect=ANY)
