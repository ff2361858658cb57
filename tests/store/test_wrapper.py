"""Wrappers: the suite over one that changes nothing and over a codec, and the fall-backs that let nothing slip past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.smoke import SMOKE
from truthstore import (
    RESULTS,
    BaseStore,
    Collection,
    Record,
    StoreConfigError,
    StoreCorruptError,
    StoreQuery,
    WrapperStore,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore
from truthstore.compression import CompressedStore
from truthstore.encryption import EncryptedStore
from truthstore.migration import MigratingStore
from truthstore.model.record import ANY, NONE, Expect, Meta, Options
from truthstore.observability import ObservableStore
from truthstore.retention import RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES, FaultPlan, FaultyStore, Sample, WrapperSuite, make_samples, store_machine
from truthstore.versioning import VersionedStore


class PassingStore(WrapperStore[Any]):
    """Changes nothing."""


class XorStore(WrapperStore[Any]):
    """Encodes bodies on their way down and decodes them on their way up: only two methods."""

    name = "xor"

    def __init__(self, base: BaseStore[Any], key: int = 0x5A) -> None:
        super().__init__(base)
        self._key = key

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        encoded = Record(
            record.meta.replace(encodings=(*record.meta.encodings, "xor"), text=record.meta.text),
            self._flip(record.body or b""),
            record.revision,
        )
        stored = self._base.put_record(encoded, collection=collection, expect=expect, options=options)
        return Record(self._shown(stored), None, stored.revision)

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        record = self._base.get_record(id, collection=collection, options=options)
        return Record(self._shown(record), self._flip(record.body or b""), record.revision)

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        for record in self._base.scan(query, collection=collection, bodies=bodies, options=options):
            body = None if record.body is None else self._flip(record.body)
            yield Record(self._shown(record), body, record.revision)

    def _shown(self, record: Record) -> Any:
        *others, last = record.meta.encodings or ("none",)
        if last != "xor":
            raise StoreCorruptError(f"{record.id} was not encoded by this layer")
        return record.meta.replace(encodings=tuple(others))

    def _flip(self, body: bytes) -> bytes:
        return bytes(byte ^ self._key for byte in body)


class TestPassingStore(WrapperSuite):
    def wrap(self, base):
        return PassingStore(base)


class TestPassingStoreOnFiles(WrapperSuite):
    smoke = SMOKE

    concurrent = True
    shared_between_processes = True

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def wrap(self, base):
        return PassingStore(base)

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)


class TestXorStore(WrapperSuite):
    namespaces = False

    def wrap(self, base):
        return XorStore(base)


class TestTwoCodecs(TestXorStore):
    smoke = SMOKE

    def wrap(self, base):
        return XorStore(XorStore(base, key=0x0F), key=0xF0)


def make_xor(location: MemoryData) -> XorStore:
    return XorStore(MemoryStore(collection=SAMPLES, data=location))


def make_faulty_xor(location: MemoryData) -> tuple[XorStore, FaultPlan]:
    faulty = FaultyStore(MemoryStore(collection=SAMPLES, data=location))
    return XorStore(faulty), faulty.plan


TestXorMachine = store_machine(make_xor, make_location=MemoryData, make_faulty=make_faulty_xor, effort=0.1)


def test_what_lies_below_is_encoded():
    base = MemoryStore(collection=SAMPLES)
    store = XorStore(base)
    store.save_many([Sample("a", note="secret"), Sample("b")])
    below = base.get_record("a", collection=SAMPLES)
    assert below.meta.encodings == ("xor",)
    assert b"secret" not in (below.body or b"")
    with pytest.raises(StoreCorruptError, match="xor"):
        base.get("a")
    base.save(Sample("bare"))
    with pytest.raises(StoreCorruptError):
        store.get("bare")


ALL = {
    "put_record": {"put_records"},
    "get_record": {"head_record", "get_records", "scan", "scan_ids", "count_records", "aggregate_records"},
    "delete_record": {"delete_records"},
    "scan": {"scan_ids", "count_records", "aggregate_records"},
}


class Seen(BaseException):
    """An override was reached."""


@pytest.mark.parametrize("operation", ALL)
def test_where_one_form_is_overridden_the_others_are_built_on_it(operation: str):
    def override(self: Any, *args: Any, **options: Any) -> Any:
        raise Seen(operation)

    kind: Any = type("Overriding", (PassingStore,), {operation: override})
    store = kind(MemoryStore(collection=SAMPLES))
    store.base.save_many(make_samples(3))
    id = make_samples(1)[0].id
    ways: dict[str, list[Any]] = {
        "put_record": [lambda: store.save(Sample("a")), lambda: store.save_many([Sample("a")])],
        "get_record": [
            lambda: store.get(id),
            lambda: store.head(id),
            lambda: store.exists(id),
            lambda: store.get_many([id]),
            store.query,
            lambda: list(store.iter_query()),
        ],
        "delete_record": [
            lambda: store.delete(id),
            lambda: store.delete_many([id]),
            lambda: store.clear(everything=True),
        ],
        "scan": [
            store.query,
            store.list_ids,
            store.count,
            store.aggregate,
            lambda: store.clear(everything=True),
            lambda: store.get_latest("orders"),
            lambda: list(store.entries()),
            lambda: store.distinct("name"),
        ],
    }
    for way in ways[operation]:
        with pytest.raises(Seen):
            way()


def test_what_is_not_overridden_is_forwarded():
    """Each operation of a wrapper that changes nothing reaches the same operation of its base, not a loop over another."""
    reached: list[str] = []

    class Watched(MemoryStore[Sample]):
        def __getattribute__(self, name: str) -> Any:
            if name.endswith(("_record", "_records")) or name in {"scan", "scan_ids"}:
                reached.append(name)
            return super().__getattribute__(name)

    store = PassingStore(Watched(collection=SAMPLES))
    store.save_many(make_samples(3))
    for call, expected in (
        (lambda: store.save_many([Sample("a")]), "put_records"),
        (lambda: store.get_many(["a"]), "get_records"),
        (lambda: store.head("a"), "head_record"),
        (store.count, "count_records"),
        (store.aggregate, "aggregate_records"),
        (store.list_ids, "scan_ids"),
        (store.query, "scan"),
        (lambda: store.delete_many(["a"]), "delete_records"),
    ):
        reached.clear()
        call()
        assert reached[0] == expected


def test_an_override_of_both_forms_is_left_alone():
    class Both(PassingStore):
        def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
            raise Seen("get_record")

        def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
            return self._base.head_record(id, collection=collection, options=options)

    class Further(Both):
        pass

    for kind in (Both, Further):
        store = kind(MemoryStore(collection=SAMPLES))
        store.base.save(Sample("a"))
        assert store.exists("a")
        with pytest.raises(Seen):
            store.get("a")


def test_options_reach_the_layer_that_declares_them():
    class Greeting(PassingStore):
        OPTIONS = {"save": frozenset({"greeting"})}

        def put_record(
            self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
        ) -> Record:
            seen.append(options.get("greeting"))
            rest = {name: value for name, value in options.items() if name != "greeting"}
            return self._base.put_record(record, collection=collection, expect=expect, options=rest)

    seen: list[Any] = []
    store = PassingStore(Greeting(MemoryStore(collection=SAMPLES)))
    store.save(Sample("a"), greeting="hello")
    store.save_many([Sample("b"), Sample("c")], greeting="hi")
    assert seen == ["hello", "hi", "hi"]
    with pytest.raises(TypeError, match="greeting"):
        store.save(Sample("d"), greting="hello")
    with pytest.raises(TypeError):
        store.get("a", greeting="hello")
    assert not store.exists("d")


BUILT: dict[str, type[WrapperStore[Any]]] = {
    layer.name: layer
    for layer in (
        VersionedStore,
        RetentionStore,
        CachedStore,
        BatchedStore,
        ObservableStore,
        CompressedStore,
        EncryptedStore,
    )
}


def test_orders_are_refused_by_the_names_that_layers_have():
    for layer in BUILT.values():
        assert set(layer.CANNOT_COVER) <= {*BUILT, MigratingStore.name}
    with pytest.raises(StoreConfigError, match=r"VersionedStore cannot stand above CachedStore: .*put it above"):
        VersionedStore(CachedStore(MemoryStore()))
    with pytest.raises(StoreConfigError, match="VersionedStore cannot stand above RetentionStore"):
        VersionedStore(RetentionStore(MemoryStore(), TimeBasedPolicy(1)))
    with pytest.raises(StoreConfigError, match="VersionedStore cannot stand above BatchedStore"):
        VersionedStore(BatchedStore(MemoryStore()))


def test_a_head_with_changes_has_just_these():
    meta = Meta("a", fields={"count": 1}, tags={"x": "y"}, text="words", size=3, stored_at=5)
    changed = meta.replace(id="b", size=4)
    assert (changed.id, changed.size, changed.fields, changed.text, changed.stored_at) == (
        "b",
        4,
        {"count": 1},
        "words",
        5,
    )
    with pytest.raises(AttributeError, match="sise"):
        meta.replace(sise=4)
