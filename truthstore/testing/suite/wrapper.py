"""The conformance suite of wrappers: all of `StoreSuite` on the stack, and the calls that reach the store below."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.errors import StoreClosedError, StoreError
from truthstore.items.results import RESULTS
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY
from truthstore.testing.faults import FaultyStore
from truthstore.testing.sample import SAMPLES, Sample, make_samples
from truthstore.testing.suite.store import StoreSuite

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Expect, Record
    from truthstore.store.store import BaseStore
    from truthstore.store.wrapper import WrapperStore
    from truthstore.testing.faults import FaultKind

__all__ = ["WrapperSuite"]


class WrapperSuite(StoreSuite):
    """The duties of every wrapper: write `wrap`. The store below is a `MemoryStore`, unless `make_base` is overridden."""

    concurrent = False
    shared_between_processes = False

    @abstractmethod
    def wrap(self, base: BaseStore[Any]) -> WrapperStore[Any]:
        """Put the wrapper under test on top of a store."""

    def make_base(self, location: Any, *, collection: Collection[Any] = RESULTS, **options: Any) -> BaseStore[Any]:
        """Open the store below."""
        return MemoryStore(collection=collection, data=location, **options)

    def make_store(self, location: Any, *, collection: Collection[Any] = RESULTS, **options: Any) -> BaseStore[Any]:
        """Open the stack."""
        return self.wrap(self.make_base(location, collection=collection, **options))

    @pytest.fixture
    def location(self) -> Any:
        """Return an empty place."""
        return MemoryData()

    def test_layers_can_be_found(self, store: BaseStore[Sample]):
        outermost, *below = store.layers()
        assert outermost is store
        assert below
        assert store.layer(type(store)) is store
        assert store.layer(type(below[-1])) in below
        assert type(store).__name__ in repr(store)

    def test_it_wraps_stores_only(self):
        wrong: Any = {}
        with pytest.raises(TypeError):
            self.wrap(wrong)

    def test_closing_closes_what_is_below(self, store: BaseStore[Sample]):
        store.close()
        for layer in store.layers():
            with pytest.raises(StoreClosedError):
                layer.list_ids()

    def test_many_pass_down_as_one_by_one_do(self):
        """The wrapper treats each of many records as it treats one: seen from the store below."""
        one_by_one = self.wrap(MemoryStore(collection=SAMPLES))
        at_once = self.wrap(MemoryStore(collection=SAMPLES))
        samples = make_samples(12)
        for sample in samples:
            one_by_one.save(sample)
        at_once.save_many(samples)
        assert self._below(one_by_one) == self._below(at_once)
        ids = [sample.id for sample in samples]
        assert [at_once.get(id).details for id in ids] == [sample.details for sample in at_once.get_many(ids).values()]
        for id in ids[::2]:
            one_by_one.delete(id)
        at_once.delete_many(ids[::2])
        assert self._below(one_by_one) == self._below(at_once)
        one_by_one.close()
        at_once.close()

    def test_every_way_to_read_passes_the_wrapper(self, filled: BaseStore[Sample]):
        """get, get_many, query and a scan of bodies give the same bytes, and head, exists and count agree with them."""
        everything = StoreQuery(order_by="id", ascending=True)
        scanned = {record.id: record for record in filled.scan(everything, collection=SAMPLES, bodies=True)}
        ids = list(scanned)
        assert filled.list_ids(everything) == ids
        assert filled.count() == len(ids)
        many = filled.get_records(ids, collection=SAMPLES)
        heads = {head.id: head for head in filled.entries(everything)}
        for id in ids:
            record = filled.get_record(id, collection=SAMPLES)
            assert scanned[id] == many[id] == record
            assert heads[id] == filled.head_record(id, collection=SAMPLES) == record.head()
            assert filled.exists(id)

    @pytest.mark.parametrize("kind", ["before", "after"])
    @pytest.mark.parametrize("condition", ["new", "any", "revision"])
    def test_a_write_is_sent_again_after_a_fault_between_any_two_steps(self, condition: str, kind: FaultKind):
        """However far the first attempt came, the second one completes it, and the item is there once."""
        for fail_at in range(1, 30):
            faulty = FaultyStore(MemoryStore(collection=SAMPLES))
            store = self.wrap(faulty)
            expect: Expect = ABSENT if condition == "new" else ANY
            if condition != "new":
                store.save(Sample("a", count=1))
            if condition == "revision":
                expect = store.head("a").revision
            record = SAMPLES.encode(Sample("a", count=2))
            faulty.plan.arm(fail_at, kind)
            with suppress(StoreError):
                store.put_record(record, collection=SAMPLES, expect=expect)
            failed = not faulty.plan.disarm()
            head = store.put_record(record, collection=SAMPLES, expect=expect)
            assert head.revision == record.revision
            assert store.get("a").count == 2
            assert [entry.revision for entry in store.entries()] == [record.revision]
            assert store.put_record(record, collection=SAMPLES, expect=expect).meta == head.meta
            store.close()
            if not failed:
                return
        pytest.fail("a single write takes more than thirty calls")

    @staticmethod
    def _below(store: BaseStore[Any]) -> list[tuple[Any, ...]]:
        """Return the records in the store below, without the parts that differ from write to write."""
        *_, base = store.layers()

        def parts(record: Record) -> tuple[Any, ...]:
            meta = record.meta
            encodings = [name.partition(":")[0] for name in meta.encodings]  # behind the colon: a key, a dictionary
            return (meta.id, meta.encoding, encodings, meta.deleted, sorted(meta.annotations), dict(meta.fields))

        query = StoreQuery(order_by="id", ascending=True, include_deleted=True)
        return [parts(record) for record in base.scan(query, collection=SAMPLES, bodies=True)]
