"""A class may get attributes and lose time zones: what is stored already stays readable, or says what is missing."""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from truthstore import BaseStore, Collection, StoreCorruptError, StoreQuery, StoreQueryError, StoreWriteError, get_store
from truthstore.base import Field
from truthstore.errors import StoreError
from truthstore.results import ValidationResult

BACKENDS = ("filesystem", "database")


@dataclass
class Part:
    rows: int


@dataclass
class Load:
    id: str
    parts: list[Part] = field(default_factory=list)
    number: int = 0
    at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass
class LaterLoad:
    """The same with an attribute that has no default."""

    id: str
    owner: str
    number: int = 0
    at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""


FIRST = Collection.of(Load, name="loads", time="at", tags="tags", text=["note"])
LATER = Collection.of(LaterLoad, name="loads", time="at", tags="tags", text=["note"], index={"number": int})


def opened(backend: str, collection: Collection[Any], folder: Any) -> BaseStore[Any]:
    if backend == "filesystem":
        return get_store("filesystem", base_path=folder, collection=collection)
    return get_store("database", connection_url=f"sqlite:///{folder}/a.db", collection=collection)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_attribute_without_default_leaves_items_in_the_index(backend: str, tmp_path):
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    with opened(backend, FIRST, tmp_path) as store:
        store.save_many(
            [Load(str(n), number=n, at=noon + timedelta(n), tags={"a": "b"}, note="word") for n in range(3)]
        )
    with opened(backend, LATER, tmp_path) as store:
        assert store.count() == 3
        assert store.list_ids(StoreQuery(where={"number": (">", 0)}, tags={"a": "b"}, text="word")) == ["2", "1"]
        for ask in (lambda: store.get("1"), store.query):
            with pytest.raises(StoreCorruptError, match=r"loads '[012]'.*`owner`.*give it a default") as caught:
                ask()
            assert "restore" not in str(caught.value)
        assert store.verify().corrupt.keys() == {"0", "1", "2"}
        store.save(LaterLoad("3", "me", number=3))
        assert [item.id for item in store.query(damaged="skip")] == ["3"]
        assert store.stats()["skipped"] == 3


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class LaterMood(enum.Enum):
    GOOD = "good"


@pytest.mark.parametrize(
    ("before", "after", "value", "why"),
    [
        (int, str, 3, "Expected `str`, got `int` - at `$.value`"),
        (int | None, int, None, "Expected `int`, got `null`"),
        (Mood, LaterMood, Mood.BAD, "Invalid enum value 'bad'"),
        (Part, Load, Part(3), "missing required field `id`"),
    ],
    ids=["type", "None", "enum", "inner"],
)
@pytest.mark.parametrize("encoding", ["json", "msgpack", "yaml"])
def test_so_does_one_of_another_type(before: Any, after: Any, value: Any, why: str, encoding: str, tmp_path):
    def opened(value_type: Any) -> BaseStore[Any]:
        kind = make_dataclass("Item", [("id", str), ("value", value_type), ("number", int, 0)])
        collection: Collection[Any] = Collection.of(kind, index={"number": int})
        return get_store("filesystem", base_path=tmp_path, collection=collection, serialization_format=encoding)

    with opened(before) as store:
        store.save(store._collection.type("1", value, 7))
    with opened(after) as store:
        store.rebuild_index()
        assert store.list_ids(StoreQuery(where={"number": 7})) == ["1"]
        with pytest.raises(StoreCorruptError, match=rf"{re.escape(why)}.*if the class has changed since"):
            store.get("1")
        assert "restore" not in store.verify().corrupt["1"]


def test_a_path_through_a_list_names_the_field():
    loads = Collection.of(Load, index={"rows": Field(int, "parts.rows")})
    with (
        get_store("memory", collection=loads) as store,
        pytest.raises(StoreWriteError, match=r"load\.rows.*'parts\.rows'"),
    ):
        store.save(Load("1", [Part(3)]))


@pytest.mark.parametrize("status", ["failed", "FAILURE", ""])
@pytest.mark.parametrize("form", ["status", "where", "in", "!="])
def test_a_status_that_cannot_exist_raises_and_lists_those_that_can(status: str, form: str):
    query = {
        "status": StoreQuery(status=status),
        "where": StoreQuery(where={"status": status}),
        "in": StoreQuery(where={"status": ("in", ["failure", status])}),
        "!=": StoreQuery(where={"status": ("!=", status)}),
    }[form]
    with get_store("memory") as store, pytest.raises(StoreQueryError, match="error, failure, success, warning"):
        store.count(query)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def change(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("elsewhere", ["America/New_York", "Asia/Kolkata"])
def test_a_naive_time_that_is_copied_in_another_time_zone_stays_the_same_moment(
    backend: str, elsewhere: str, zone: Any, tmp_path
):
    naive = datetime(2026, 5, 4, 6, 30)  # noqa: DTZ001
    zone("Asia/Tokyo")
    with opened(backend, FIRST, tmp_path) as store:
        store.save(Load("a", at=naive))
        assert store.get("a").at == naive
        moment = store.head("a").meta.fields["at"]
    zone(elsewhere)
    with opened(backend, FIRST, tmp_path) as store, get_store("memory", collection=FIRST) as other:
        for item in store.iter_query():
            other.save(item)
        assert other.head("a").meta.fields["at"] == moment
        assert store.get("a").at == datetime(2026, 5, 4, 6, 30, tzinfo=UTC) - timedelta(hours=9)
        assert store.get("a").at.isoformat() == "2026-05-04T06:30:00+09:00"


@pytest.mark.parametrize("remove", [True, False], ids=["missing", "damaged"])
def test_one_missing_or_damaged_item_costs_a_query_that_item_alone(remove: bool, tmp_path):
    with get_store("filesystem", base_path=tmp_path) as store:
        store.save_many([ValidationResult(f"r{n}", datetime.now(UTC), "a", "success") for n in range(5)])  # type: ignore[arg-type]
        (path,) = tmp_path.rglob("r2.json")
        path.unlink() if remove else path.write_bytes(b"{")
        with pytest.raises(StoreError, match="r2"):
            store.query()
        assert [item.id for item in store.query(damaged="skip")] == ["r4", "r3", "r1", "r0"]
        assert [item.id for item in store.iter_query(batch_size=2, damaged="skip")] == ["r4", "r3", "r1", "r0"]
        assert store.stats()["skipped"] == 2
        with pytest.raises(ValueError, match="damaged is one of raise, skip, not '…'"):
            store.query(damaged="ignore")
