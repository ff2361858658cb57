"""The index follows when a collection declares other fields: in place, whoever wrote the items, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from truthstore import Collection, Field, StoreConfigError, StoreQuery
from truthstore.backends.filesystem import FileSystemStore
from truthstore.storage.catalog import catalog

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Sensor:
    id: str
    value: int
    unit: str | None = None
    at: datetime = START


OLD = Collection.of(Sensor, name="sensors", index={"value": int}, time="at")
NEW = Collection.of(Sensor, name="sensors", index={"value": int, "unit": str}, time="at", text=("unit",))


def sensor(number: int, unit: str | None = "metre") -> Sensor:
    return Sensor(f"s{number}", number, unit, START + timedelta(seconds=number))


@pytest.fixture
def open_with(tmp_path: Path):
    stores = []

    def make(collection: Collection[Sensor], **options) -> FileSystemStore[Sensor]:
        stores.append(FileSystemStore(base_path=tmp_path, collection=collection, durability="os", **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.mark.parametrize("serialization", ["json", "msgpack", "yaml"])
def test_a_new_field_finds_old_items(open_with, serialization: str):
    with open_with(OLD, serialization_format=serialization) as old:
        old.save_many(sensor(n, "metre" if n % 2 else "inch") for n in range(10))
    new = open_with(NEW, serialization_format=serialization)
    assert new.list_ids(StoreQuery(where={"unit": "inch"})) == ["s8", "s6", "s4", "s2", "s0"]
    assert new.distinct("unit") == ["inch", "metre"]
    assert new.count(StoreQuery(text="METRE")) == 5


def test_old_and_new_processes_run_together(open_with):
    old, new = open_with(OLD), open_with(NEW)
    for number in range(6):
        (old if number % 2 else new).save(sensor(number))
        assert new.count(StoreQuery(where={"unit": "metre"})) == number + 1
        assert old.count(StoreQuery(where={"value": (">=", 0)})) == number + 1
    old.save(sensor(3, "mile"))
    assert new.list_ids(StoreQuery(where={"unit": "mile"})) == ["s3"]
    new.save(sensor(4, None))
    assert new.list_ids(StoreQuery(where={"unit": None})) == ["s4"]
    assert old.count() == 6


def test_a_field_of_another_path_is_another_field(open_with):
    with open_with(OLD) as old:
        old.save(Sensor("a", 3, "metre"))
    other = Collection.of(Sensor, name="sensors", index={"value": Field(str, "unit")}, time="at")
    assert open_with(other).list_ids(StoreQuery(where={"value": "metre"})) == ["a"]
    assert open_with(OLD).list_ids(StoreQuery(where={"value": 3})) == ["a"]


def test_many_items_are_not_read_by_surprise(open_with, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalog, "BACKFILL_LIMIT", 5)
    with open_with(OLD) as old:
        old.save_many(sensor(n) for n in range(8))
    new = open_with(NEW)
    with pytest.raises(StoreConfigError, match=r"8 items .*rebuild_index\(\)"):
        new.query(StoreQuery(where={"unit": "metre"}))
    assert new.get("s3") == sensor(3)
    assert new.rebuild_index() == 8
    assert new.count(StoreQuery(where={"unit": "metre"})) == 8
