"""Documents of earlier versions are read as the program needs them, and written anew when it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.migration.conftest import V1, V3, OrderV1, OrderV3
from truthstore import BaseStore, StoreQuery, open_store
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.caching import CachedStore
from truthstore.errors import StoreConflictError, StoreCorruptError
from truthstore.migration import (
    MigratingStore,
    MigrationError,
    MigrationRegistry,
    NewerSchemaError,
    SchemaVersion,
)
from truthstore.testing import FaultyStore, SimulatedCrashError
from truthstore.versioning import VersionedStore

OLD = {id: OrderV1(id, f"{name} Lee", amount) for id, name, amount in [("a", "Ann", "1.50"), ("b", "Bo", "20")]}
NEW = {"a": OrderV3("a", "Ann", "Lee", 150), "b": OrderV3("b", "Bo", "Lee", 2_000)}


@pytest.fixture(params=["memory", "filesystem", "msgpack", "sqlite"])
def open_base(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Opens stores at one place, which holds two orders of the first version."""
    data = MemoryData()

    def open_base(collection: Any = V3) -> BaseStore[Any]:
        if request.param == "memory":
            return MemoryStore(collection=collection, data=data)
        if request.param == "sqlite":
            return DatabaseStore(connection_url=f"sqlite:///{tmp_path}/store.db", collection=collection)
        encoding: Any = "msgpack" if request.param == "msgpack" else "json"
        return FileSystemStore(
            base_path=tmp_path / "store", collection=collection, durability="os", serialization_format=encoding
        )

    with open_base(V1) as store:
        store.save_many(OLD.values())
    return open_base


@pytest.fixture
def base(open_base: Any) -> Any:
    with open_base() as base:
        yield base


def test_old_documents_are_read_as_new_ones(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    assert store.get("a") == NEW["a"]
    assert store.get_many(["a", "b"]) == NEW
    assert store.query(StoreQuery(order_by="id", ascending=True)) == list(NEW.values())
    assert [order.id for order in store.iter_query(batch_size=1)] == ["b", "a"]
    assert store.count() == 2
    assert store.verify().ok


def test_what_is_read_says_its_version_and_is_stored_as_it_was(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    before = base.get_record("a", collection=V3)
    read = store.get_record("a", collection=V3)
    assert read.meta.annotations["schema"] == "3.0.0"
    assert read.meta.size == len(read.body or b"")
    assert dict(read.meta.fields) == {"last_name": "Lee", "cents": 150}
    assert base.get_record("a", collection=V3).body == before.body


def test_queries_find_the_new_fields_once_the_documents_are_written_anew(
    base: BaseStore[Any], registry: MigrationRegistry
):
    store = MigratingStore(base, registry)
    wanted = StoreQuery(where={"cents": (">", 1_000)})
    assert store.list_ids(wanted) == []
    seen: list[tuple[int, int]] = []
    report = store.migrate(progress=lambda done, total: seen.append((done, total)))
    assert (report.total, report.migrated, report.current, report.failed) == (2, 2, 0, {})
    assert seen == [(1, 2), (2, 2)]
    assert store.list_ids(wanted) == ["b"]
    assert base.query(StoreQuery(order_by="id", ascending=True)) == list(NEW.values())
    again = store.migrate()
    assert (again.migrated, again.current) == (0, 2)
    assert store.verify().ok


def test_a_dry_run_writes_nothing(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    before = [base.head(id).revision for id in OLD]
    assert store.migrate(dry_run=True).migrated == 2
    assert [base.head(id).revision for id in OLD] == before
    assert store.discard_originals() == 0


def test_a_migration_can_be_taken_back_but_for_what_was_saved_since(open_base: Any, registry: MigrationRegistry):
    with open_base() as base:
        store = MigratingStore(base, registry)
        before = base.head("a")
        store.migrate()
        store.save(msgspec.structs.replace(NEW["b"], cents=7))
        report = store.restore_originals()
        assert (report.migrated, report.changed) == (1, 1)
        assert base.head("a").revision != before.revision
        assert base.head("a").meta.stored_at == before.meta.stored_at
        assert store.restore_originals().total == 0
    with open_base(V1) as base:
        assert base.get("a") == OLD["a"]
        assert base.list_ids(StoreQuery(where={"customer": "Ann Lee"})) == ["a"]


def test_originals_can_be_given_up_or_not_kept(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    store.migrate(StoreQuery(ids=["a"]), keep_originals=False)
    assert store.migrate().migrated == 1
    assert store.discard_originals() == 1
    assert store.restore_originals().total == 0
    assert store.get_many(["a", "b"]) == NEW


def test_the_document_of_a_newer_program_is_refused(open_base: Any, registry: MigrationRegistry):
    with open_base() as base:
        MigratingStore(base, registry).save(NEW["a"])
    older = MigrationRegistry()
    older.register("1", "2", collection="orders")(dict)
    with open_base() as base:
        store = MigratingStore(base, older)
        with pytest.raises(
            NewerSchemaError, match=r"orders 'a' has version 3\.0\.0, and this program needs 2\.0\.0"
        ) as told:
            store.get("a")
        assert told.value.identifier == "a"
        report = store.migrate(StoreQuery(ids=["a"]))
        assert isinstance(report.failed["a"], NewerSchemaError)
        assert store.count() == 2


def test_an_older_program_reads_newer_documents_where_the_way_back_is_registered(
    open_base: Any, registry: MigrationRegistry
):
    with open_base() as base:
        MigratingStore(base, registry).save(NEW["a"])
    with open_base(V1) as base:
        store = MigratingStore(base, registry, versions={"orders": "1"})
        assert store.version("orders") == SchemaVersion(1)
        assert store.get("a") == OrderV1("a", "Ann Lee", "1.5")
        store.save(OrderV1("c", "Cy Lee", "3"))
    with open_base() as base:
        assert MigratingStore(base, registry).get("c") == OrderV3("c", "Cy", "Lee", 300)


def test_unknown_fields_are_kept(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    assert "note" not in OrderV3.__struct_fields__
    with open_v1(base) as old:
        old.save(OrderV1("c", "Cy Lee", "3", note="call back"))
    store.migrate()
    assert b"call back" in (base.get_record("c", collection=V3).body or b"")
    assert store.get("c") == OrderV3("c", "Cy", "Lee", 300)


class open_v1:  # noqa: N801
    """The same store as a program of the first version sees it."""

    def __init__(self, base: BaseStore[Any]) -> None:
        self.store = base.collection(V1)

    def __enter__(self) -> Any:
        return self.store

    def __exit__(self, *_: object) -> None:
        """Stay open, as the store that it belongs to."""


def test_one_document_that_cannot_be_migrated_costs_one_document(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    base.collection(V1).save(OrderV1("broken", "Di Lee", "much"))
    with pytest.raises(
        MigrationError, match=r"'broken': the migration of orders from 2\.0\.0 to 3\.0\.0 raised ValueError"
    ):
        store.get("broken")
    report = store.migrate()
    assert (report.migrated, list(report.failed)) == (2, ["broken"])
    assert base.collection(V1).get("broken").amount == "much"


def test_a_migration_that_changes_an_id_or_does_not_fit_is_refused(base: BaseStore[Any]):
    registry = MigrationRegistry()
    registry.register("1", "2", collection="orders")(
        lambda order: {**msgspec.to_builtins(NEW["b"]), "id": order["id"] + "!"}
    )
    assert "change its id" in str(MigratingStore(base, registry).migrate().failed["a"])
    lacking = MigrationRegistry()
    lacking.register("1", "2", collection="orders")(lambda order: {"id": order["id"]})
    report = MigratingStore(base, lacking).migrate()
    assert set(report.failed) == {"a", "b"}
    assert all(isinstance(error, StoreCorruptError) for error in report.failed.values())


def test_older_versions_are_migrated_when_they_are_read(open_base: Any, registry: MigrationRegistry):
    with open_base(V1) as base:
        before = VersionedStore(base)
        before.save(OrderV1("c", "Cy Lee", "1"))
        before.save(OrderV1("c", "Cy Lee", "2"))
    with open_base() as base:
        store = VersionedStore(MigratingStore(base, registry))
        store.save(OrderV3("c", "Cy", "Lee", 300))
        assert [store.get("c", version=number).cents for number in (1, 2, 3)] == [100, 200, 300]
        store.layer(MigratingStore).migrate()
        assert store.rollback("c", 1) == "c"
        assert store.get("c") == OrderV3("c", "Cy", "Lee", 100)
        assert len(store.list_versions("c")) == 4


def test_a_cache_above_it_sees_what_a_migration_wrote(base: BaseStore[Any], registry: MigrationRegistry):
    store = CachedStore(MigratingStore(base, registry))
    assert store.get("a") == NEW["a"]
    store.layer(MigratingStore).migrate()
    assert store.get("a") == NEW["a"]
    store.save(OrderV3("a", "Ann", "Lee", 1))
    with pytest.raises(StoreConflictError):
        store.save(NEW["a"], expect="0" * 24)
    assert store.get("a").cents == 1


def test_what_is_saved_meanwhile_is_left_alone(base: BaseStore[Any], registry: MigrationRegistry):
    store = MigratingStore(base, registry)
    saved: list[str] = []

    def save_in_between(done: int, total: int) -> None:
        if not saved:
            saved.append(store.save(OrderV3("b", "Bo", "Lee", 5)))

    report = store.migrate(progress=save_in_between)
    assert (report.migrated, report.current + report.changed) == (1, 1)
    assert store.get("b").cents == 5


@pytest.mark.parametrize("keep", [True, False])
def test_a_crash_at_any_call_leaves_each_document_in_one_version_and_the_next_run_ends_it(
    keep: bool, registry: MigrationRegistry
):
    crashes = 0
    for step in range(1, 40):
        for kind in ("crash-before", "crash-after"):
            data = MemoryData()
            MemoryStore(collection=V1, data=data).save_many(OLD.values())
            faulty = FaultyStore(MemoryStore(collection=V3, data=data))
            faulty.plan.arm(step, kind)
            try:
                MigratingStore(faulty, registry).migrate(keep_originals=keep)
            except SimulatedCrashError:
                crashes += 1
            store = MigratingStore(MemoryStore(collection=V3, data=data), registry)
            assert store.get_many(["a", "b"]) == NEW
            store.migrate(keep_originals=keep)
            assert store.list_ids(StoreQuery(where={"last_name": "Lee"}, order_by="id")) == ["b", "a"]
            if keep:
                assert store.restore_originals().migrated == 2
                assert MemoryStore(collection=V1, data=data).get_many(["a", "b"]) == OLD
    assert crashes > 10


def test_results_of_validations_can_be_migrated_too(tmp_path: Path):
    registry = MigrationRegistry()

    @registry.register("1", "1.1")
    def name_the_team(result: dict[str, Any]) -> dict[str, Any]:
        return {**result, "tags": {**result.get("tags", {}), "team": "data"}}

    from truthstore.results import ValidationResult, ValidatorResult

    old = ValidationResult.from_dict(
        {"run_id": "r", "run_time": "2026-05-01T12:00:00Z", "data_asset": "orders", "status": "success"}
    )
    old.results = [ValidatorResult("null", success=True, column="id")]
    with open_store(f"file://{tmp_path}/store") as base:
        base.save(old)
        store = MigratingStore(base, registry)
        assert store.get("r").tags == {"team": "data"}
        store.migrate()
        assert base.list_ids(StoreQuery(tags={"team": "data"})) == ["r"]
        assert [check.tags for check in store.checks.query()] == [{"team": "data"}]
        assert store.verify().ok


def test_what_is_no_registry_is_refused():
    with pytest.raises(TypeError, match="registry is a MigrationRegistry, not dict"):
        MigratingStore(MemoryStore(), {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a version is one to three numbers"):
        MigratingStore(MemoryStore(), MigrationRegistry(), versions={"results": "new"})
