"""A state machine that drives a store against a dict: any order of operations, several writers, restarts, faults, crashes.

What a failed operation left behind is looked up once and must be wholly the old state or wholly the new one; from then on
every view of the store must agree with it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from truthstore.aggregate import Aggregation
from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
)
from truthstore.query import StoreQuery
from truthstore.record import ABSENT, ANY, Record
from truthstore.testing.faults import SimulatedCrashError
from truthstore.testing.sample import SAMPLES, Sample
from truthstore.testing.strategies import queries, samples

if TYPE_CHECKING:
    import unittest
    from collections.abc import Callable, Iterable, Sequence

    from truthstore.store import BaseStore
    from truthstore.testing.faults import FaultKind

__all__ = ["Faults", "StoreMachine", "store_machine"]

IDS = ("a", "A", "a/b", "..", "caf\u00e9", "cafe\u0301", "_index", "x" * 300)
EVERYTHING = StoreQuery(order_by="id", ascending=True)
METRICS = ("count", "min:name", "max:count", "sum:count", "min:moment", "max:ratio")


class Faults(Protocol):
    """What makes the storage under one store fail; `FaultyBlobs` is one."""

    def arm(self, fail_at: int, kind: FaultKind = "before") -> None:
        """Fails the call with this number, counted from 1 from now on."""
        ...

    def disarm(self) -> bool:
        """Fails no further call."""
        ...


class Handle(NamedTuple):
    """An open store, and what makes it fail."""

    store: BaseStore[Sample]
    faults: Faults | None


class StoreMachine(RuleBasedStateMachine):
    """Drives stores of samples at one place; override `make_store`, or use `store_machine`.

    Attributes:
        writers: how many stores are open at the place at the same time.
        independent: whether a store opened anew, beside those that are open, sees all that was acknowledged.
        can_fail: whether `make_faulty` is there.
        ids: the ids that are used.
    """

    writers: ClassVar[int] = 1
    independent: ClassVar[bool] = True
    can_fail: ClassVar[bool] = False
    ids: ClassVar[Sequence[str]] = IDS
    _folder: Path | None = None

    def make_location(self) -> Any:
        """An empty place, by default a folder that goes when the run ends."""
        folder = Path(tempfile.mkdtemp(prefix="truthstore-"))
        self._folder = folder
        return folder / "store"

    def make_store(self, location: Any) -> BaseStore[Sample]:
        """Opens a store of `SAMPLES` at a place."""
        raise NotImplementedError("write make_store()")

    def make_faulty(self, location: Any) -> tuple[BaseStore[Sample], Faults]:
        """Opens a store whose storage can be made to fail."""
        raise NotImplementedError("write make_faulty(), or leave can_fail alone")

    def __init__(self) -> None:
        super().__init__()
        self._model: dict[str, tuple[Sample, Record]] = {}
        self._stale: set[str] = set()
        self._handles: list[Handle] = []
        self._location = self.make_location()
        self._turn = 0

    def _open(self) -> Handle:
        if self.can_fail:
            return Handle(*self.make_faulty(self._location))
        return Handle(self.make_store(self._location), None)

    def _store(self, writer: int) -> BaseStore[Sample]:
        return self._handles[writer % len(self._handles)].store

    # What the model knows.

    def _learn(self, store: BaseStore[Sample], sample: Sample) -> None:
        """Takes over what a store says it holds for an item that must be there."""
        wanted = SAMPLES.encode(sample)
        head = store.head(sample.id)
        assert dict(head.meta.fields) == dict(wanted.meta.fields)
        assert dict(head.meta.tags) == dict(wanted.meta.tags)
        if sample.id in self._model:
            self._stale.add(self._model[sample.id][1].revision)
        assert head.revision not in self._stale
        meta = wanted.meta.replace(size=head.meta.size, stored_at=head.meta.stored_at)
        self._model[sample.id] = (sample, Record(meta, wanted.body, head.revision))

    def _forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            if id in self._model:
                self._stale.add(self._model.pop(id)[1].revision)

    def _records(self) -> list[Record]:
        return [record for _, record in self._model.values()]

    def _found(self, query: StoreQuery) -> list[str]:
        return [record.id for record in query.bind(SAMPLES).select(self._records())]

    def _holds(self, store: BaseStore[Sample], id: str, sample: Sample | None) -> bool:
        try:
            got = store.get(id)
        except StoreNotFoundError:
            return sample is None
        return sample is not None and SAMPLES.encode(got).body == SAMPLES.encode(sample).body

    # Opening.

    @initialize()
    def open(self) -> None:
        """Opens the writers."""
        self._handles = [self._open() for _ in range(self.writers)]

    @rule(writer=st.integers(0, 3), tidy=st.booleans())
    def reopen(self, writer: int, tidy: bool) -> None:  # noqa: FBT001
        """Closes a store, or just forgets it, and opens another one."""
        index = writer % len(self._handles)
        if tidy or not self.independent:
            self._handles[index].store.close()
        self._handles[index] = self._open()

    # Writing.

    @rule(writer=st.integers(0, 3), data=st.data())
    def save(self, writer: int, data: st.DataObject) -> None:
        """Saves, whatever is there."""
        store, sample = self._store(writer), data.draw(samples(st.sampled_from(self.ids)))
        assert store.save(sample) == sample.id
        self._learn(store, sample)

    @rule(writer=st.integers(0, 3), data=st.data())
    def create(self, writer: int, data: st.DataObject) -> None:
        """Saves put-if-absent."""
        store, sample = self._store(writer), data.draw(samples(st.sampled_from(self.ids)))
        if sample.id in self._model:
            with pytest.raises(StoreConflictError):
                store.save(sample, expect=ABSENT)
        else:
            store.save(sample, expect=ABSENT)
            self._learn(store, sample)

    @precondition(lambda self: self._model)
    @rule(writer=st.integers(0, 3), data=st.data())
    def replace(self, writer: int, data: st.DataObject) -> None:
        """Saves by the revision that is there, or by one that was."""
        store = self._store(writer)
        id = data.draw(st.sampled_from(sorted(self._model)))
        sample = data.draw(samples(st.just(id)))
        if data.draw(st.booleans()) and self._stale:
            with pytest.raises(StoreConflictError):
                store.save(sample, expect=data.draw(st.sampled_from(sorted(self._stale))))
        else:
            store.save(sample, expect=store.head(id).revision)
            self._learn(store, sample)

    @rule(writer=st.integers(0, 3), data=st.data())
    def delete(self, writer: int, data: st.DataObject) -> None:
        """Deletes, whether it is there or not, and at times by a revision."""
        store, id = self._store(writer), data.draw(st.sampled_from(self.ids))
        how = data.draw(st.sampled_from(["any", "stale", "current"]))
        if how == "stale" and self._stale:
            with pytest.raises(StoreConflictError):
                store.delete(id, expect=data.draw(st.sampled_from(sorted(self._stale))))
            return
        expect = store.head(id).revision if how == "current" and id in self._model else ANY
        assert store.delete(id, expect=expect) is (id in self._model)
        self._forget([id])

    @rule(writer=st.integers(0, 3), data=st.data())
    def save_many(self, writer: int, data: st.DataObject) -> None:
        """Saves many, at times one id twice."""
        store = self._store(writer)
        many = data.draw(st.lists(samples(st.sampled_from(self.ids)), max_size=5))
        assert store.save_many(many) == [sample.id for sample in many]
        for sample in {sample.id: sample for sample in many}.values():
            self._learn(store, sample)

    @rule(writer=st.integers(0, 3), data=st.data())
    def delete_many(self, writer: int, data: st.DataObject) -> None:
        """Deletes many."""
        ids = data.draw(st.lists(st.sampled_from(self.ids), max_size=3))
        assert self._store(writer).delete_many(ids) == len(set(ids) & self._model.keys())
        self._forget(ids)

    @rule(writer=st.integers(0, 3), query=queries(SAMPLES, known=IDS))
    def clear(self, writer: int, query: StoreQuery) -> None:
        """Deletes exactly what a query finds."""
        found = self._found(query)
        assert self._store(writer).clear(query) == len(found)
        self._forget(found)

    # Reading.

    @rule(writer=st.integers(0, 3), query=queries(SAMPLES, known=IDS), page=st.integers(1, 3))
    def query(self, writer: int, query: StoreQuery, page: int) -> None:
        """Asks one query in every way."""
        store, found = self._store(writer), self._found(query)
        assert store.list_ids(query) == found
        assert [SAMPLES.encode(sample).body for sample in store.query(query)] == [
            self._model[id][1].body for id in found
        ]
        assert [sample.id for sample in store.iter_query(query, batch_size=page)] == found
        assert store.count(query) == len(self._found(query.replace(limit=None, offset=0)))

    @rule(writer=st.integers(0, 3), query=queries(SAMPLES, known=IDS), data=st.data())
    def aggregate(self, writer: int, query: StoreQuery, data: st.DataObject) -> None:
        """Asks for figures."""
        by = data.draw(st.lists(st.sampled_from(["data_asset", "status", "passed", "seen"]), max_size=2, unique=True))
        bucket = data.draw(st.sampled_from([None, "hour", "day", "week", "month", "year"]))
        matching = query.replace(limit=None, offset=0).bind(SAMPLES).select(self._records())
        expected = Aggregation.of(SAMPLES, by, bucket, METRICS).over(matching)
        assert self._store(writer).aggregate(query, by=by, bucket=bucket, metrics=METRICS) == expected

    @rule(writer=st.integers(0, 3))
    def look_after(self, writer: int) -> None:
        """Maintains, verifies and rebuilds; nothing that is kept may change."""
        store = self._store(writer)
        store.maintain()
        verification = store.verify()
        assert verification.ok, verification
        assert verification.checked == len(self._model)
        assert store.rebuild_index() in {0, len(self._model)}

    @invariant()
    def every_view_agrees(self) -> None:
        """get, exists, head, list, count and query say the same, in each store in turn and in an independent one."""
        if not self._handles:
            return
        self._turn += 1
        self._check(self._store(self._turn))
        if self.independent and self._turn % 5 == 0:
            reader = self.make_store(self._location)
            try:
                self._check(reader)
            finally:
                reader.close()

    def _check(self, store: BaseStore[Sample]) -> None:
        ids = sorted(self._model)
        assert store.list_ids(EVERYTHING) == ids
        assert store.count() == len(ids)
        entries = list(store.entries(EVERYTHING))
        assert [(entry.id, entry.revision) for entry in entries] == [(id, self._model[id][1].revision) for id in ids]
        assert [SAMPLES.encode(sample).body for sample in store.query(EVERYTHING)] == [
            self._model[id][1].body for id in ids
        ]
        found = store.get_many(self.ids, missing="skip")
        assert set(found) == set(ids)
        for id in self.ids:
            there = id in self._model
            assert store.exists(id) is there
            assert self._holds(store, id, self._model[id][0] if there else None)
            if there:
                assert SAMPLES.encode(found[id]).body == self._model[id][1].body
                assert store.head(id).revision == self._model[id][1].revision

    # Failing.

    @precondition(lambda self: self.can_fail)
    @rule(
        writer=st.integers(0, 3),
        fail_at=st.integers(1, 12),
        kind=st.sampled_from(["before", "after", "crash-before", "crash-after"]),
        data=st.data(),
    )
    def write_with_fault(self, writer: int, fail_at: int, kind: FaultKind, data: st.DataObject) -> None:
        """Writes while the storage fails: an error, or the death of the writer."""
        wanted: dict[str, Sample | None]
        operation: Callable[[BaseStore[Sample]], object]
        choice = data.draw(st.sampled_from(["save", "create", "replace", "delete", "save_many", "clear"]))
        if choice == "delete":
            id = data.draw(st.sampled_from(self.ids))
            wanted = {id: None}
            existed = id in self._model
            operation = lambda store: _require(store.delete(id) is existed)  # noqa: E731
        elif choice == "clear":
            query = data.draw(queries(SAMPLES, known=IDS))
            wanted = dict.fromkeys(self._found(query))
            operation = lambda store: _require(store.clear(query) == len(wanted))  # noqa: E731
        elif choice == "save_many":
            many = data.draw(st.lists(samples(st.sampled_from(self.ids)), max_size=4, unique_by=lambda s: s.id))
            wanted = {sample.id: sample for sample in many}
            operation = lambda store: store.save_many(many)  # noqa: E731
        else:
            sample = data.draw(samples(st.sampled_from(self.ids)))
            wanted = {sample.id: sample}
            expect: Any = ABSENT if choice == "create" else ANY
            if choice == "replace" and sample.id in self._model:
                expect = self._model[sample.id][1].revision
            operation = lambda store: store.save(sample, expect=expect)  # noqa: E731
            if choice == "create" and sample.id in self._model:
                wanted = {}
        self._fail(writer, fail_at, kind, operation, wanted, may_conflict=not wanted and choice == "create")

    def _fail(
        self,
        writer: int,
        fail_at: int,
        kind: FaultKind,
        operation: Callable[[BaseStore[Sample]], object],
        wanted: dict[str, Sample | None],
        *,
        may_conflict: bool,
    ) -> None:
        index = writer % len(self._handles)
        store, faults = self._handles[index]
        assert faults is not None
        faults.arm(fail_at, kind)
        done: set[str] = set()
        crashed = False
        try:
            operation(store)
            assert not may_conflict, "put-if-absent of an id that is there went through"
            done = set(wanted)
        except SimulatedCrashError:
            crashed = True
        except StoreConflictError:
            assert may_conflict, "a conflict with nobody: the operation met its own write"
        except (StoreConfigError, StoreCorruptError, StoreNotFoundError):
            raise  # a failing storage is none of these
        except StoreBulkError as error:
            done = set(error.stored) & wanted.keys()
        except StoreError:
            pass
        finally:
            faults.disarm()
        if crashed:
            self._handles[index] = self._open()
        self._adopt(self._handles[index].store, wanted, done)

    def _adopt(self, store: BaseStore[Sample], wanted: dict[str, Sample | None], done: set[str]) -> None:
        """Old or new, nothing between; what was acknowledged is new."""
        for id, sample in wanted.items():
            old = self._model.get(id)
            if id in done:
                assert self._holds(store, id, sample), f"{id!r} was acknowledged and is not there"
                is_new = True
            elif self._holds(store, id, sample):
                is_new = old is None or sample is None or store.head(id).revision != old[1].revision
            else:
                assert self._holds(store, id, old[0] if old else None), f"{id!r} is neither old nor new"
                is_new = False
            if is_new and sample is not None:
                self._learn(store, sample)
            elif is_new:
                self._forget([id])

    @precondition(lambda self: self.can_fail)
    @rule(
        writer=st.integers(0, 3),
        fail_at=st.integers(1, 8),
        kind=st.sampled_from(["before", "after"]),
        query=queries(SAMPLES, known=IDS),
        data=st.data(),
    )
    def read_with_fault(
        self, writer: int, fail_at: int, kind: FaultKind, query: StoreQuery, data: st.DataObject
    ) -> None:
        """Reads while the storage fails: an error, or the right answer."""
        store, faults = self._handles[writer % len(self._handles)]
        id = data.draw(st.sampled_from(self.ids))
        reads: list[Callable[[], bool]] = [
            lambda: store.list_ids(query) == self._found(query),
            lambda: [sample.id for sample in store.query(query)] == self._found(query),
            lambda: store.count() == len(self._model),
            lambda: store.exists(id) is (id in self._model),
            lambda: self._holds(store, id, self._model[id][0] if id in self._model else None),
            lambda: set(store.get_many(self.ids, missing="skip")) == self._model.keys(),
            lambda: store.rebuild_index() in {0, len(self._model)},
        ]
        assert faults is not None
        faults.arm(fail_at, kind)
        try:
            right = data.draw(st.sampled_from(reads))()
        except StoreError as error:
            assert not isinstance(error, StoreNotFoundError | StoreCorruptError)  # noqa: PT017  # others are in order
        else:
            assert right
        finally:
            faults.disarm()

    def teardown(self) -> None:
        """Closes what is open and removes the place."""
        for handle in self._handles:
            handle.store.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)


def _require(held: bool) -> None:  # noqa: FBT001
    assert held


def store_machine(
    make_store: Callable[[Any], BaseStore[Any]],
    *,
    make_location: Callable[[], Any] | None = None,
    make_faulty: Callable[[Any], tuple[BaseStore[Any], Faults]] | None = None,
    writers: int = 1,
    independent: bool = True,
    steps: int = 30,
    effort: float = 0.5,
) -> type[unittest.TestCase]:
    """A test case that drives a store of `SAMPLES`: bind it to a name that starts with ``Test``.

    Args:
        make_store: opens a store at a place.
        make_location: makes an empty place; by default a folder that does not exist yet.
        make_faulty: opens a store and says what makes its storage fail; without it nothing fails.
        writers: how many stores are open at the same time.
        independent: whether a store opened anew, beside those that are open, sees all that was acknowledged.
        steps: length of one run.
        effort: number of runs, as a share of the `max_examples` of the Hypothesis profile.
    """

    class Machine(StoreMachine):
        def make_location(self) -> Any:
            return super().make_location() if make_location is None else make_location()

        def make_store(self, location: Any) -> BaseStore[Any]:
            return make_store(location)

        def make_faulty(self, location: Any) -> tuple[BaseStore[Any], Faults]:
            assert make_faulty is not None
            return make_faulty(location)

    Machine.writers = writers
    Machine.independent = independent
    Machine.can_fail = make_faulty is not None
    case = Machine.TestCase
    profile = settings()
    case.settings = settings(
        max_examples=max(1, round(profile.max_examples * effort)),
        stateful_step_count=steps,
        deadline=None,
        phases=[phase for phase in profile.phases if phase is not Phase.explain],  # it takes long, and says little
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    return case
