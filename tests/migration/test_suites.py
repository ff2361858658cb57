"""A migrating store passes the suites of all stores: where every document is of an earlier version, and where none is."""

from __future__ import annotations

from typing import Any

from tests.smoke import SMOKE
from truthstore import BaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.migration import MigratingStore, MigrationRegistry
from truthstore.model.record import Record
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample, WrapperSuite, store_machine


def unchanged(document: dict[str, Any]) -> dict[str, Any]:
    return document


REGISTRY = MigrationRegistry()
REGISTRY.register("1.0", "2.0", collection="samples")(unchanged)


class TestNothingToDo(WrapperSuite):
    def wrap(self, base: BaseStore[Any]) -> MigratingStore[Any]:
        return MigratingStore(base, REGISTRY)

    def test_annotations_are_kept(self, store: BaseStore[Sample]):
        """And the version of the document is beside them."""
        record = SAMPLES.encode(Sample("a"))
        meta = record.meta.replace(annotations={"layer": {"version": 3}})
        stored = store.put_record(Record(meta, record.body), collection=SAMPLES)
        for head in (stored, store.get_record("a", collection=SAMPLES), store.head_record("a", collection=SAMPLES)):
            assert dict(head.meta.annotations) == {"layer": {"version": 3}, "schema": "2.0.0"}


class _Old(MigratingStore[Any]):
    """Saves documents as a program of the first version would."""

    def _stamped(self, record: Any, collection: Any) -> Any:
        return record


class TestEverythingIsOld(WrapperSuite):
    """Heads and bytes are as they were saved, so the tests that compare them with what is read are not among these."""

    smoke = SMOKE

    def wrap(self, base: BaseStore[Any]) -> MigratingStore[Any]:
        return _Old(base, REGISTRY)


def make_store(location: Any) -> MigratingStore[Sample]:
    return _Old(FileSystemStore(base_path=location, collection=SAMPLES, durability="os"), REGISTRY)


def make_faulty(location: Any) -> tuple[MigratingStore[Sample], FaultPlan]:
    faulty = FaultyStore(FileSystemStore(base_path=location, collection=SAMPLES, durability="os"))
    return _Old(faulty, REGISTRY), faulty.plan


TestFaultsBelow = store_machine(make_store, make_faulty=make_faulty, steps=20, effort=0.3)
