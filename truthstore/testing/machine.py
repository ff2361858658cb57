"""A state machine that drives a store against a dict: any operations, writers, restarts, faults, crashes, emptied places.

The clock jumps, too. What a failed operation left behind is looked up once and must be wholly the old state or wholly the new one; from then on
every view of the store must agree with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
)
from truthstore.model.aggregate import Aggregation
from truthstore.model.record import ABSENT, ANY
from truthstore.testing.faults import SimulatedCrashError
from truthstore.testing.oracle import IDS, Faults, StoreModel
from truthstore.testing.sample import SAMPLES, Sample
from truthstore.testing.strategies import queries, samples

if TYPE_CHECKING:
    import unittest
    from collections.abc import Callable, Container

    from truthstore.model.query import StoreQuery
    from truthstore.store.store import BaseStore
    from truthstore.testing.faults import FaultKind

__all__ = ["Faults", "StoreMachine", "store_machine"]

FAIL_AT = (1, 1, 1, 2, 2, 3, 4, 5, 7, 10)
TIMES = (1, 1, 2, 5)
JUMPS = (-400 * 86_400, -3_600, -1, 1, 3_600, 400 * 86_400)
"""Seconds: a year is more than any age by which something is cleared away."""
ADVICE = re.compile("restore|open|again")
"""What an error of a place that was emptied tells its reader to do."""
METRICS = ("count", "min:name", "max:count", "sum:count", "min:moment", "max:ratio")


class StoreMachine(StoreModel):
    """Drives stores of samples at one place; override `make_store`, or use `store_machine`."""

    @initialize()
    def open(self) -> None:
        """Open the writers."""
        self._handles = [self._open() for _ in range(self.writers)]

    @rule(writer=st.integers(0, 3), tidy=st.booleans())
    def reopen(self, writer: int, tidy: bool) -> None:  # noqa: FBT001
        """Close a store, or just forgets it, and opens another one."""
        index = writer % len(self._handles)
        if tidy or not self.independent:
            self._handles[index].store.close()
        self._handles[index] = self._open()

    @rule(seconds=st.sampled_from(JUMPS))
    def clock_jumps(self, seconds: int) -> None:
        """Set the clock back or forward: neither a revision nor what is kept may rest on it."""
        self._clock.jump(seconds)

    @precondition(lambda self: self.can_empty)
    @rule(way=st.integers(0, 7), data=st.data())
    def emptied(self, way: int, data: st.DataObject) -> None:
        """Empty the place under the open stores: nothing of before is seen again, and what is saved afterwards is kept.

        A store goes on in the empty place, or raises an error that says what to do, and is opened again. Some use the place
        at once, others only after these.
        """
        waiting = {id for handle in self._handles for id in self.waiting_ids(handle.store)}
        self.empty_location(self._location, way)
        self._forget([id for id in self._model if id not in waiting])
        first = st.sampled_from(["save", "get", "list_ids", "query", "delete"])
        for index in range(len(self._handles)):
            use = data.draw(first if index == 0 else first | st.none())
            if use is not None:
                self._use_emptied(index, use, data)

    def _use_emptied(self, index: int, use: str, data: st.DataObject) -> None:
        store, id = self._handles[index].store, data.draw(st.sampled_from(self.ids))
        sample = data.draw(samples(st.just(id)))
        written: dict[str, Sample | None] = {}
        uses: dict[str, Callable[[], bool]] = {
            "save": lambda: store.save(sample) == id,
            "get": lambda: self._holds(store, id, self._model[id][0] if id in self._model else None),
            "list_ids": lambda: sorted(store.list_ids()) == sorted(self._model),
            "query": lambda: len(store.query()) == len(self._model),
            "delete": lambda: store.delete(id) is (id in self._model),
        }
        if use in {"save", "delete"}:
            written[id] = sample if use == "save" else None
        done = False
        try:
            assert uses[use]()
            done = True
            store.count()
        except StoreError as error:
            is_told = not isinstance(error, StoreNotFoundError) and ADVICE.search(str(error))
            if not is_told:
                raise
            store.close()
            self._handles[index] = self._open()
        store = self._handles[index].store
        store.count()  # what waits in a layer reaches the place, and the place is in use
        self._adopt(store, written, set(written) if done else set())

    @rule(writer=st.integers(0, 3), data=st.data())
    def save(self, writer: int, data: st.DataObject) -> None:
        """Save, with or without an old item."""
        store, sample = self._store(writer), data.draw(samples(st.sampled_from(self.ids)))
        assert store.save(sample) == sample.id
        self._learn(store, sample)

    @rule(writer=st.integers(0, 3), data=st.data())
    def create(self, writer: int, data: st.DataObject) -> None:
        """Save put-if-absent."""
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
        """Save by the revision that is there, or by one that was."""
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
        """Delete an item that may be missing, at times by a revision."""
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
        """Save many, at times one id twice."""
        store = self._store(writer)
        many = data.draw(st.lists(samples(st.sampled_from(self.ids)), max_size=5))
        assert store.save_many(many) == [sample.id for sample in many]
        for sample in {sample.id: sample for sample in many}.values():
            self._learn(store, sample)

    @rule(writer=st.integers(0, 3), data=st.data())
    def delete_many(self, writer: int, data: st.DataObject) -> None:
        """Delete many."""
        ids = data.draw(st.lists(st.sampled_from(self.ids), max_size=3))
        assert self._store(writer).delete_many(ids) == len(set(ids) & self._model.keys())
        self._forget(ids)

    @rule(writer=st.integers(0, 3), query=queries(SAMPLES, known=IDS))
    def clear(self, writer: int, query: StoreQuery) -> None:
        """Delete exactly the items that a query finds."""
        found = self._found(query)
        assert self._store(writer).clear(query) == len(found)
        self._forget(found)

    @rule(writer=st.integers(0, 3), query=queries(SAMPLES, known=IDS), page=st.integers(1, 3))
    def query(self, writer: int, query: StoreQuery, page: int) -> None:
        """Ask one query in every way."""
        store, found = self._store(writer), self._found(query)
        assert store.list_ids(query) == found
        assert [SAMPLES.encode(sample).body for sample in store.query(query)] == [
            self._model[id][1].body for id in found
        ]
        assert [sample.id for sample in store.iter_query(query, batch_size=page)] == found
        assert store.count(query) == len(self._found(query.replace(limit=None, offset=0)))

    @rule(writer=st.integers(0, 3), query=queries(SAMPLES, known=IDS), data=st.data())
    def aggregate(self, writer: int, query: StoreQuery, data: st.DataObject) -> None:
        """Ask for figures."""
        by = data.draw(st.lists(st.sampled_from(["data_asset", "status", "passed", "seen"]), max_size=2, unique=True))
        bucket = data.draw(st.sampled_from([None, "hour", "day", "week", "month", "year"]))
        matching = query.replace(limit=None, offset=0).bind(SAMPLES).select(self._records())
        expected = Aggregation.of(SAMPLES, by, bucket, METRICS).over(matching)
        assert self._store(writer).aggregate(query, by=by, bucket=bucket, metrics=METRICS) == expected

    @rule(writer=st.integers(0, 3))
    def look_after(self, writer: int) -> None:
        """Maintain, verify and rebuild; nothing that is kept may change."""
        store = self._store(writer)
        store.maintain()
        verification = store.verify()
        assert verification.ok, verification
        assert verification.checked == len(self._model)
        assert store.rebuild_index() in self.rebuilt()

    def rebuilt(self) -> Container[int]:
        """Return the numbers that rebuilding may say: override this for a store of several places."""
        return {0, len(self._model)}

    @invariant()
    def every_view_agrees(self) -> None:
        """Compare get, exists, head, list, count and query, in each store in turn and in an independent one."""
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

    @precondition(lambda self: self.can_fail)
    @rule(
        writer=st.integers(0, 3),
        fail_at=st.sampled_from(FAIL_AT),
        kind=st.sampled_from(["before", "after", "crash-before", "crash-after"]),
        times=st.sampled_from(TIMES),
        data=st.data(),
    )
    def write_with_fault(self, writer: int, fail_at: int, kind: FaultKind, times: int, data: st.DataObject) -> None:
        """Write while the storage fails: an error, or the death of the writer."""
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
        may_conflict = not wanted and choice == "create"
        self._fail(writer, operation, wanted, fault=(fail_at, kind, times), may_conflict=may_conflict)

    def _fail(
        self,
        writer: int,
        operation: Callable[[BaseStore[Sample]], object],
        wanted: dict[str, Sample | None],
        *,
        fault: tuple[int, FaultKind, int],
        may_conflict: bool,
    ) -> None:
        index = writer % len(self._handles)
        store, faults = self._handles[index]
        assert faults is not None
        fail_at, kind, times = fault
        faults.arm(fail_at, kind, times=times)
        done: set[str] = set()
        crashed = False
        try:
            operation(store)
            assert not may_conflict, "put-if-absent of an id that is there went through"
            done = set(wanted)
        except SimulatedCrashError:
            crashed = True
        except StoreConflictError:
            assert may_conflict, "a conflict with no other writer: the operation met its own write"
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

    @precondition(lambda self: self.can_fail)
    @rule(
        writer=st.integers(0, 3),
        fail_at=st.sampled_from(FAIL_AT),
        kind=st.sampled_from(["before", "after"]),
        query=queries(SAMPLES, known=IDS),
        data=st.data(),
    )
    def read_with_fault(
        self, writer: int, fail_at: int, kind: FaultKind, query: StoreQuery, data: st.DataObject
    ) -> None:
        """Read while the storage fails: an error, or the right answer."""
        store, faults = self._handles[writer % len(self._handles)]
        id = data.draw(st.sampled_from(self.ids))
        reads: list[Callable[[], bool]] = [
            lambda: store.list_ids(query) == self._found(query),
            lambda: [sample.id for sample in store.query(query)] == self._found(query),
            lambda: store.count() == len(self._model),
            lambda: store.exists(id) is (id in self._model),
            lambda: self._holds(store, id, self._model[id][0] if id in self._model else None),
            lambda: set(store.get_many(self.ids, missing="skip")) == self._model.keys(),
            lambda: store.rebuild_index() in self.rebuilt(),
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


def _require(held: bool) -> None:  # noqa: FBT001
    assert held


def store_machine(
    make_store: Callable[[Any], BaseStore[Any]],
    *,
    make_location: Callable[[], Any] | None = None,
    make_faulty: Callable[[Any], tuple[BaseStore[Any], Faults]] | None = None,
    empty_location: Callable[[Any, int], object] | None = None,
    writers: int = 1,
    independent: bool = True,
    steps: int = 30,
    effort: float = 0.5,
) -> type[unittest.TestCase]:
    """Return a test case that drives a store of `SAMPLES`: bind it to a name that starts with ``Test``.

    Args:
        make_store: opens a store at a place.
        make_location: makes an empty place; by default a folder that does not exist yet.
        make_faulty: opens a store and says what makes its storage fail; without it nothing fails.
        empty_location: empties a place under its open stores, as other programs may, in one of several ways; without it
            no place is emptied.
        writers: how many stores are open at the same time.
        independent: whether a store opened later, beside those that are open, sees all that was acknowledged.
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

        def empty_location(self, location: Any, way: int) -> None:
            assert empty_location is not None
            empty_location(location, way)

    Machine.writers = writers
    Machine.independent = independent
    Machine.can_fail = make_faulty is not None
    Machine.can_empty = empty_location is not None
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
