"""Policies of one's own: what a subclass says holds, and what a plan did not show them does not go."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.retention.doubles import NOW, result
from truthstore import Collection
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.results import ValidationResult
from truthstore.retention import (
    CompositePolicy,
    CountBasedPolicy,
    CustomPolicy,
    ItemMetadata,
    RetentionPolicy,
    RetentionStore,
    SizeBasedPolicy,
    StatusBasedPolicy,
    TagBasedPolicy,
    TimeBasedPolicy,
)
from truthstore.versioning import VersionedStore


def left(policy: RetentionPolicy, *results: ValidationResult, **options: Any) -> list[str]:
    store = RetentionStore(MemoryStore(), policy, **options)
    store.save_many(results)
    store.run_cleanup()
    return sorted(store.list_ids())


BUILT_IN: dict[Any, tuple[Any, ...]] = {
    TimeBasedPolicy: (30,),
    CountBasedPolicy: (1,),
    SizeBasedPolicy: (1,),
    StatusBasedPolicy: ("success", 30),
    TagBasedPolicy: ({"env": "production"},),
    CustomPolicy: (lambda item: item.item_id == "new",),
    CompositePolicy: ([TimeBasedPolicy(30)],),
}


@pytest.mark.parametrize("built_in", BUILT_IN)
@pytest.mark.parametrize("inside", ["alone", "in a composite", "in two", "with another"])
def test_what_a_subclass_keeps_stays(built_in: Any, inside):
    class Keep(built_in):  # type: ignore[misc]  # each in turn
        def should_retain(self, item: ItemMetadata) -> bool:
            return item.tags.get("keep") == "yes" or super().should_retain(item)

    class KeepMore(Keep):
        """Says nothing itself."""

    items = [result("new", env="production"), result("old", 100), result("old but kept", 100, keep="yes")]
    assert left(built_in(*BUILT_IN[built_in]), *items) == ["new"]
    policy: RetentionPolicy = KeepMore(*BUILT_IN[built_in])
    if inside != "alone":
        policy = CompositePolicy([policy])
    if inside == "in two":
        policy = CompositePolicy([policy, TimeBasedPolicy(1)], mode="any")  # type: ignore[arg-type]
    if inside == "with another":
        policy = CompositePolicy([CustomPolicy(lambda _: True), policy])
    assert left(policy, *items) == ["new", "old but kept"]


@pytest.mark.parametrize("built_in", BUILT_IN)
def test_what_a_subclass_lets_go_goes(built_in: Any):
    class Stricter(built_in):  # type: ignore[misc]  # each in turn
        def should_retain(self, item: ItemMetadata) -> bool:
            return item.tags.get("drop") != "yes" and super().should_retain(item)

    items = [result("new", env="production"), result("old", 100), result("dropped", -1, env="production", drop="yes")]
    assert left(Stricter(*BUILT_IN[built_in]), *items, preserve_latest=False) in (["new"], [])
    assert "dropped" not in left(CompositePolicy([Stricter(*BUILT_IN[built_in])]), *items, preserve_latest=False)


def test_a_preparation_of_ones_own_is_asked_for():
    seen: list[str] = []

    class Looking(CountBasedPolicy):
        def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
            seen.extend(item.item_id for item in items)
            super().prepare_batch(items)

    items = [result("new"), result("old", 100), result("older", 101)]
    assert left(CompositePolicy([Looking(2), CustomPolicy(lambda _: True)]), *items) == ["new", "old"]
    assert seen == ["new", "old", "older"]


def test_one_object_may_have_a_rule_of_its_own():
    policy: Any = TimeBasedPolicy(30)
    policy.should_retain = lambda item: item.item_id == "old"
    assert left(policy, result("new"), result("old", 100), preserve_latest=False) == ["old"]


@pytest.mark.parametrize("composite", [False, True])
def test_a_policy_may_judge_two_collections_at_once(composite):
    """Another plan is made while the items of the first one are judged."""
    count: RetentionPolicy = CountBasedPolicy(2)
    other = RetentionStore(MemoryStore(), CompositePolicy([count]) if composite else count)
    other.save_many([result("x"), result("y"), result("z")])

    def meddle(item: ItemMetadata) -> bool:
        with other.plan() as plan:
            assert len(plan) == 1
        return True

    assert left(CompositePolicy([count, CustomPolicy(meddle)]), result("a", 5), result("b", 6)) == ["a", "b"]


@dataclass
class Document:
    id: str
    when: datetime | None = None
    data_asset: str = "a"


DOCUMENTS = Collection.of(Document, id="id", time="when", index={"data_asset": str}, name="documents")


@pytest.fixture(params=["memory", "files", "database", "versioned"])
def documents(request, tmp_path) -> Any:
    store: Any = MemoryStore(collection=DOCUMENTS)
    if request.param == "files":
        store = FileSystemStore(base_path=tmp_path, durability="os", collection=DOCUMENTS)
    if request.param == "database":
        store = DatabaseStore(connection_url="sqlite://", collection=DOCUMENTS)
    if request.param == "versioned":
        store = VersionedStore(store)
    yield store
    store.close()


def dated(id: str, year: int) -> Document:
    return Document(id, datetime(year, 1, 1, tzinfo=UTC))


def test_items_without_a_time_go_by_when_they_were_saved(documents):
    documents.save_many([dated("2020", 2020), dated("2019", 2019), dated("2099", 2099)])
    for id in ("first", "second"):
        documents.save(Document(id))
    store = RetentionStore(documents, CountBasedPolicy(3), preserve_latest=False)
    with store.plan() as plan:
        assert [item.item_id for item in plan] == ["2020", "2019"]
    with RetentionStore(documents, CountBasedPolicy(1), preserve_latest=False).plan() as plan:
        assert [item.item_id for item in plan] == ["second", "first", "2020", "2019"], "newest first"
        assert plan.items_scanned == 5
    # The newest is not the newest of those that have a time.
    documents.delete("2099")
    with RetentionStore(documents, CustomPolicy(lambda _: False)).plan() as plan:
        assert [item.item_id for item in plan] == ["first", "2020", "2019"]


def test_many_items_with_and_without_a_time_come_in_one_order(documents):
    documents.save_many([Document(f"u{n:04}") if n % 2 else dated(f"d{n:04}", 1990 + n % 30) for n in range(2_400)])
    seen: list[ItemMetadata] = []

    def look(item: ItemMetadata) -> bool:
        seen.append(item)
        return True

    RetentionStore(documents, CustomPolicy(look)).run_cleanup()
    assert len({item.item_id for item in seen}) == len(seen) == 2_400
    assert [item.age_key for item in seen] == sorted((item.age_key for item in seen), reverse=True)


@pytest.mark.parametrize("others", [0, 2])
def test_an_item_without_a_time_that_is_saved_meanwhile_stays(others):
    class Busy(MemoryStore[Document]):
        """Another process saves between two queries."""

        queries = 0

        def scan(self, *args: Any, **options: Any) -> Any:
            found = super().scan(*args, **options)
            self.queries += 1
            if self.queries == 1:
                first = list(found)
                self.save(Document("just saved"))
                return iter(first)
            return found

    base = Busy(collection=DOCUMENTS)
    base.save_many([dated("2020", 2020), dated("2019", 2019), *(Document(f"u{n}") for n in range(others))])
    RetentionStore(base, CountBasedPolicy(2 + others)).run_cleanup()
    assert base.exists("just saved")
    assert base.exists("2020")


class KeepsWhatItSaw(RetentionPolicy):
    """Saves between its look and its judgement."""

    def __init__(self, save: Any) -> None:
        self.save = save
        self.passes: list[list[str]] = []

    def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
        self.passes.append([item.item_id for item in items])
        self.save()
        self.passes.append([item.item_id for item in items])

    def should_retain(self, item: ItemMetadata) -> bool:
        return item.item_id in self.passes[0] and item.tags.get("drop") != "yes"


@pytest.mark.parametrize("kind", ["alone", "composite", "beside a count", "subclass of a count"])
def test_what_is_saved_while_a_plan_is_made_is_not_judged_unseen(kind):
    base = MemoryStore()
    base.save_many([result("a", 1), result("b", 2, drop="yes"), result("c", 3), result("d", 4, drop="yes")])
    policy = KeepsWhatItSaw(lambda: base.save_many([result("just saved"), result("d", 4, later="yes")]))
    policies: list[RetentionPolicy] = [policy]
    if kind == "composite":
        policies = [CompositePolicy([CompositePolicy([policy])])]
    if kind == "beside a count":
        policies = [CountBasedPolicy(4), policy]
    if kind == "subclass of a count":

        class Mine(CountBasedPolicy):
            def should_retain(self, item: ItemMetadata) -> bool:
                return super().should_retain(item) and policy.should_retain(item)

            def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
                super().prepare_batch(items)
                policy.prepare_batch(items)

        policies = [Mine(4)]
    done = RetentionStore(base, policies).run_cleanup()
    assert policy.passes == [["a", "b", "c", "d"]] * 2
    assert (done.items_scanned, done.items_deleted, done.items_changed) == (4, 1, 1)
    assert sorted(base.list_ids()) == ["a", "c", "d", "just saved"]


def test_what_a_policy_has_seen_needs_no_memory():
    class Look(RetentionPolicy):
        def prepare_batch(self, items: Iterable[ItemMetadata]) -> None:
            self.count = sum(1 for _ in items)

        def should_retain(self, item: ItemMetadata) -> bool:
            return item.item_id != "r1234"

    base = MemoryStore()
    base.save_many(result(f"r{n:04}", n / 100) for n in range(6_000))
    store = RetentionStore(base, Look())
    store.count()
    tracemalloc.start()
    try:
        with store.plan() as plan:
            assert [item.item_id for item in plan] == ["r1234"]
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


@dataclass
class KeepsDays(RetentionPolicy):
    days: float
    notes: list[str] = field(default_factory=list)

    def should_retain(self, item: ItemMetadata) -> bool:
        return NOW - item.created_at < timedelta(days=self.days)


def test_a_policy_may_be_a_dataclass():
    assert left(KeepsDays(2), result("a", 1), result("b", 3)) == ["a"]
    assert left(CompositePolicy([KeepsDays(2), KeepsDays(2)]), result("a", 1), result("b", 3)) == ["a"]
