"""The public operations, written once over the record protocol."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreError, StoreNotFoundError, one_of
from truthstore.model.aggregate import Aggregation, Row
from truthstore.model.collection import Collection
from truthstore.model.fields import check_id
from truthstore.model.query import EVERYTHING, BoundQuery, StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Expect, Record
from truthstore.store.bulk import BulkOperations
from truthstore.store.health import Health, Verification
from truthstore.store.layer_names import why_missing
from truthstore.store.records import check_expect

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from types import TracebackType
    from typing import Self

    from truthstore.checks.compare import Comparison
    from truthstore.checks.forget import Trace
    from truthstore.checks.notes import CheckNote
    from truthstore.checks.view import Checks
    from truthstore.items.checks import ValidatorResult
    from truthstore.model.record import Change
    from truthstore.store.changes import Callback
    from truthstore.streaming import OpenRun

__all__ = ["BaseStore"]

T = TypeVar("T")
U = TypeVar("U")
L = TypeVar("L")

PAGE: Final = 1_000


class BaseStore(BulkOperations[T], Generic[T]):
    """Every operation of a store, over the five methods of `RecordStore`.

    A backend extends this and implements `put_record`, `get_record`, `delete_record`, `scan` and `close`; whatever else
    it can do faster it overrides. Attributes are set in `__init__` and never bound again, so that `collection()`, which
    makes a shallow copy, gives a view that shares everything.

    Args:
        collection: the collection that the public operations act on.
    """

    def layers(self) -> Iterator[BaseStore[Any]]:
        """Iterate over this layer and those below it, outermost first."""
        yield self

    @property
    def identity(self) -> str:
        """The permanent name of the place where the backend keeps its records, without secrets; empty if it has none."""
        return ""

    def layer(self, kind: type[L]) -> L:
        """Return the outermost layer of a class.

        Raises:
            StoreConfigError: there is none.
        """
        for layer in self.layers():
            if isinstance(layer, kind):
                return layer
        names = ", ".join(type(layer).__name__ for layer in self.layers())
        raise StoreConfigError(f"no {kind.__name__} in this stack: it has {names}")

    def collection(self, collection: Collection[U]) -> BaseStore[U]:
        """Return the same stack over another collection. Closing either closes both."""
        if not isinstance(collection, Collection):
            raise TypeError(f"collection is a Collection, not {type(collection).__name__}")
        view = copy.copy(self)
        view._collection = cast("Collection[Any]", collection)  # noqa: SLF001  # a view is made nowhere else
        return cast("BaseStore[U]", view)

    def initialize(self) -> None:
        """Open the store now instead of at the first operation, so that a wrong setting is found early.

        Raises:
            StoreConnectionError: it cannot be opened.
            StoreConfigError: it was made with other settings.
        """
        self._check()

    def save(self, item: T, *, expect: Expect = ANY, **options: Any) -> str:
        """Store an item, durably, and return its id.

        Args:
            item: the item.
            expect: `ANY` overwrites, `ABSENT` creates, a revision replaces just that.
            options: options of layers, such as ``message`` of versioning.

        Raises:
            StoreConflictError: `expect` did not hold.
            StoreKeyError: the item's id cannot be used.
            StoreWriteError: the item cannot be stored, or writing failed.
            TypeError: the item is not of the collection's type, or no layer takes an option.
        """
        if options or self._lifecycle.closed:
            self._check("save", options)
        collection = self._collection
        if expect is not ANY:
            check_expect(expect)
        record = collection.encode(item, self.encoding, indent=self.indent)
        return self.put_record(record, collection=collection, expect=expect, options=options or NONE).meta.id

    def get(self, id: str, **options: Any) -> T:
        """Return the item with this id.

        Raises:
            StoreNotFoundError: there is none.
            StoreCorruptError: it is damaged.
        """
        if options or self._lifecycle.closed:
            self._check("get", options)
        collection = self._collection
        record = self.get_record(check_id(id), collection=collection, options=options or NONE)
        if record.meta.deleted:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return collection.decode(record)

    def head(self, id: str, **options: Any) -> Record:
        """Return the item's head: fields, tags, size and revision, without its body.

        Raises:
            StoreNotFoundError: there is none.
        """
        self._check("get", options)
        record = self.head_record(check_id(id), collection=self._collection, options=options or NONE)
        if record.meta.deleted:
            raise StoreNotFoundError(self._collection.name, id, backend=self.name)
        return record

    def exists(self, id: str, **options: Any) -> bool:
        """Return whether there is an item with this id."""
        self._check("exists", options)
        try:
            record = self.head_record(check_id(id), collection=self._collection, options=options or NONE)
        except StoreNotFoundError:
            return False
        return not record.meta.deleted

    def delete(self, id: str, expect: Expect = ANY, **options: Any) -> bool:
        """Remove an item; return False if there was none.

        Raises:
            StoreConflictError: `expect` did not hold.
        """
        self._check("delete", options)
        if expect is ABSENT:
            raise ValueError("expect=ABSENT makes no sense for delete: use ANY or a revision")
        check_expect(expect)
        return self.delete_record(check_id(id), collection=self._collection, expect=expect, options=options or NONE)

    def list_ids(self, query: StoreQuery | None = None) -> list[str]:
        """Return the ids that a query finds; without one, all, newest first."""
        self._check()
        return self.scan_ids(_query(query), collection=self._collection)

    def query(self, query: StoreQuery | None = None, *, damaged: str = "raise") -> list[T]:
        """Return the items that a query finds, in its order.

        Args:
            query: which items.
            damaged: ``raise`` the error of an item that cannot be read, or ``skip`` such items: `stats` counts them.

        Raises:
            StoreQueryError: the query does not fit the collection.
            StoreCorruptError: an item is damaged.
        """
        if damaged != "raise":
            return list(self.iter_query(query, PAGE, damaged=damaged))
        self._check()
        collection = self._collection
        return [collection.decode(r) for r in self.scan(_query(query), collection=collection, bodies=True)]

    def iter_query(
        self, query: StoreQuery | None = None, batch_size: int = 100, *, damaged: str = "raise"
    ) -> Iterator[T]:
        """Iterate over the items that a query finds, lazily, `batch_size` at a time; nothing is held between two batches.

        `damaged` is that of `query`.
        """
        if damaged not in {"raise", "skip"}:
            raise ValueError(one_of("damaged", damaged, ("raise", "skip")))
        if batch_size < 1:
            raise ValueError("batch_size is at least 1")
        if damaged == "skip":
            return self._readable(self._pages(_query(query), batch_size, bodies=False), batch_size)
        return map(self._collection.decode, self._pages(_query(query), batch_size, bodies=True))

    def entries(self, query: StoreQuery | None = None) -> Iterator[Record]:
        """Iterate over the heads that a query finds, with their revisions, lazily."""
        return self._pages(_query(query), PAGE, bodies=False)

    def _pages(self, query: StoreQuery, size: int, *, bodies: bool) -> Iterator[Record]:
        self._check()
        # A wrong query raises here, not at the first item.
        return self._walk(query, query.bind(self._collection), size, bodies=bodies)

    def _walk(self, query: StoreQuery, bound: BoundQuery, size: int, *, bodies: bool) -> Iterator[Record]:
        left = query.limit
        while left is None or left > 0:
            self._check()
            wanted = size if left is None else min(size, left)
            query = query.replace(limit=wanted)
            page = list(self.scan(query, collection=self._collection, bodies=bodies))
            yield from page
            if not page:
                # What is removed while it is read leaves a page short, even empty: only no heads mean the end.
                heads = list(self.scan(query, collection=self._collection)) if bodies else []
                if not heads:
                    return
                found = self.get_records([head.id for head in heads], collection=self._collection)
                page = [found[head.id] for head in heads if head.id in found and bound.matches(found[head.id].meta)]
                yield from page
                last = heads[-1]
            else:
                last = page[-1]
                if not bodies and len(page) < wanted:
                    return
            left = None if left is None else left - len(page)
            query = query.replace(after=bound.cursor(last.meta), offset=0)

    def count(self, query: StoreQuery | None = None) -> int:
        """Return the number of items that fulfil the conditions of a query; its order, limit, offset and cursor play no part."""
        self._check()
        return self.count_records(_query(query), collection=self._collection)

    def clear(self, query: StoreQuery | None = None, *, everything: bool = False) -> int:
        """Remove exactly the items that `query(query)` finds, but for those under a legal hold, and return their number.

        Raises:
            TypeError: there is neither a query nor ``everything=True``, which removes all items.
        """
        self._check()
        if (query is not None) is everything:
            raise TypeError("clear() takes either a query or, to remove all items, everything=True")
        held = self.held_ids(_query(query), collection=self._collection)
        return self.delete_many([id for id in self.list_ids(query) if id not in held])

    def get_latest(self, data_asset: str) -> T | None:
        """Return the newest item of an asset, or None if it has none."""
        found = self.query(StoreQuery(data_asset=data_asset, limit=1))
        return found[0] if found else None

    def list_runs(self, data_asset: str) -> list[str]:
        """Return the ids of an asset's items, newest first."""
        return self.list_ids(StoreQuery(data_asset=data_asset))

    def asset_history(self, data_asset: str, limit: int = 10) -> list[T]:
        """Return an asset's newest items, newest first."""
        return self.query(StoreQuery(data_asset=data_asset, limit=limit))

    def get_history(self, data_asset: str, limit: int = 10) -> list[Any]:
        """Return the same as `asset_history`; stores with versions answer with the versions of an id instead."""
        return self.asset_history(data_asset, limit)

    def get_failures(self, data_asset: str | None = None, limit: int = 100) -> list[T]:
        """Return the newest items with status ``failure``, of one asset or of all."""
        return self.query(StoreQuery(data_asset=data_asset, status="failure", limit=limit))

    def list_assets(self) -> list[str]:
        """Return the names of all assets, sorted."""
        return self.distinct("data_asset")

    def distinct(self, field: str, query: StoreQuery | None = None) -> list[Any]:
        """Return the different values of a field, or of a tag (``tag:team``), among the items that fulfil a query, sorted, without None."""
        rows = self.aggregate(query, by=field, metrics=())
        return [value for row in rows for value in row.values() if value is not None]

    def aggregate(
        self,
        query: StoreQuery | None = None,
        *,
        by: str | Sequence[str] = (),
        bucket: str | None = None,
        metrics: str | Sequence[str] = ("count",),
        time_zone: str = "UTC",
    ) -> list[Row]:
        """Return figures over the items that fulfil a query, from the index, without reading one body.

        Args:
            query: which items.
            by: fields to group by, and tags: ``tag:team``.
            bucket: ``hour``, ``day``, ``week`` (from Monday), ``month`` or ``year`` of the time field.
            metrics: ``count``, ``sum:field``, ``avg:field``, ``min:field``, ``max:field``.
            time_zone: where the clock hangs by which buckets are cut, as an IANA name: ``Europe/Berlin``.

        Returns:
            A dict for each group, sorted: the fields, ``bucket`` (start of the period) and a value for each metric.
        """
        self._check()
        aggregation = Aggregation.of(self._collection, by, bucket, metrics, time_zone)
        return self.aggregate_records(_query(query), aggregation, collection=self._collection)

    @property
    def checks(self) -> Checks:
        """The questions about the checks of all runs.

        Raises:
            StoreQueryError: the items of this collection have no checks.
        """
        self._check()
        from truthstore.checks.view import Checks  # which a program that only saves never needs

        return Checks(self, self._collection, self._check)

    def open_run(
        self,
        run_id: str,
        data_asset: str,
        *,
        run_time: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        suite_name: str | None = None,
        interval_start: datetime | None = None,
        interval_end: datetime | None = None,
        **options: Any,
    ) -> OpenRun:
        """Return the block of a run that is larger than memory, and is stored check by check.

        ``with store.open_run("run_001", "large.csv") as run: run.add(check)``. Until the block ends without an error, the
        run is an error that says that it is not finished; a run that was not finished goes on where it is opened again.
        `iter_checks` reads it back.

        Args:
            run_id: the id of the run.
            data_asset: the data checked.
            run_time: when it began; now if None.
            tags: for queries.
            metadata: whatever else belongs to the run.
            suite_name: name of the suite, schema or contract that is checked.
            interval_start: start of the period of which the data are.
            interval_end: its end.
            **options: options of layers, as in `save`.

        Raises:
            StoreKeyError: the id cannot be used.
            StoreQueryError: the items of this collection have no checks, or checks with fields of their own.
            StoreConflictError: when the block is entered: there is a finished run of this id.
        """
        from truthstore.streaming import OpenRun  # as above

        self._check("save", options)
        return OpenRun(
            self,
            self._collection,
            run_id,
            data_asset,
            run_time=run_time,
            tags=tags,
            metadata=metadata,
            suite_name=suite_name,
            interval_start=interval_start,
            interval_end=interval_end,
            options=options or NONE,
        )

    def iter_checks(self, run_id: str) -> Iterator[ValidatorResult]:
        """Iterate over the checks of any run, also of one that `open_run` wrote, in constant memory.

        Raises:
            StoreNotFoundError: there is no such run.
            StoreCorruptError: something of it is damaged or missing.
            StoreQueryError: the items of this collection have no checks.
        """
        from truthstore.streaming import iter_checks  # as above

        self._check()
        return iter_checks(self, self._collection, run_id)

    def compare(self, run_a: str, run_b: str) -> Comparison:
        """Return what differs between two runs, as `Checks.compare` does."""
        return self.checks.compare(run_a, run_b)

    def compare_latest(self, data_asset: str) -> Comparison:
        """Compare the newest run of an asset with the one before it, as `Checks.compare_latest` does."""
        return self.checks.compare_latest(data_asset)

    def acknowledge(
        self, check_id: str, until: datetime | timedelta, by: str, reason: str, data_asset: str | None = None
    ) -> CheckNote:
        """Say that it is known that a check fails, as `Checks.acknowledge` does."""
        return self.checks.acknowledge(check_id, until, by, reason, data_asset)

    def protect(self, run_id: str, *, protected: bool = True) -> None:
        """Keep a run from retention, or no longer, as `Checks.protect` does."""
        self.checks.protect(run_id, protected=protected)

    def forget(self, value: object, replacement: str = "[forgotten]") -> list[Trace]:
        """Remove a personal value from all results and their copies, and say where it was, as `Checks.forget` does."""
        return self.checks.forget(value, replacement)

    def subscribe(self, callback: Callback) -> None:
        """Call back after every durable write, in the writer's thread, with a sequence of `Change`.

        The callback is held weakly: keep it alive. It must not raise; if it does, that is logged.

        Raises:
            TypeError: it is a method of a built-in object, which would be gone at once.
        """
        self._lifecycle.subscribe(callback)

    def _announce(self, changes: Sequence[Change]) -> None:
        self._lifecycle.announce(type(self).__name__, changes)

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Do bounded periodic work: safe to run twice and side by side.

        Args:
            budget: at most about so many seconds; None means until all is done.

        Returns:
            The amount of work done, by kind.
        """
        self._check()
        if budget is not None and budget < 0:
            raise ValueError("budget cannot be negative")
        # The outermost layer alone knows of which runs some layer keeps copies.
        if self._lifecycle.covered or not self._collection.is_users:
            return {}
        from truthstore.streaming import sweep

        removed = sweep(self, self._collection, budget)
        return {"parts_removed": removed} if removed else {}

    def verify_records(self, collection: Collection[Any]) -> Verification:
        """Read every record back and report damage; backends compare with their index too."""
        return self._read_all(collection, lambda record: record)

    def verify(self) -> Verification:
        """Read every item back and report damage. Changes nothing, and works while others write."""
        self._check()
        from truthstore.store.row_check import RowCheck  # as above
        from truthstore.streaming import damaged

        below = self.verify_records(self._collection)
        rows = RowCheck(self, self._collection)

        def read(record: Record) -> None:
            self._collection.decode(record)
            rows.add(record)

        corrupt = {**self._read_all(self._collection, read).corrupt, **below.corrupt}
        changed = dict.fromkeys((*below.changed, *rows.changed()))
        return replace(below, changed=tuple(changed), corrupt={**damaged(self, self._collection), **corrupt})

    def _read_all(self, collection: Collection[Any], decode: Callable[[Record], object]) -> Verification:
        checked = 0
        corrupt: dict[str, str] = {}
        for head in self.scan(EVERYTHING, collection=collection):
            checked += 1
            try:
                decode(self.get_record(head.id, collection=collection))
            except (StoreCorruptError, StoreConfigError) as error:
                corrupt[head.id] = str(error)
            except StoreNotFoundError:
                continue  # removed meanwhile
        return Verification(checked=checked, corrupt=corrupt)

    def rebuild_index(self) -> int:
        """Make derived data again from the bodies and return the number of items in it; 0 if nothing is derived."""
        self._check()
        return 0

    def health_check(self) -> Health:
        """Report whether the store can be used, and if not, why and what to do. Never raises a `StoreError`."""
        try:
            self._check()
            self.initialize()
            next(self.scan(StoreQuery(limit=1), collection=self._collection), None)
        except StoreError as error:
            return Health(healthy=False, backend=self.name, message=str(error))
        return Health(healthy=True, backend=self.name)

    def stats(self) -> dict[str, Any]:
        """Return figures about the store: backend, collection, number of items and their size in bytes, items that queries skipped."""
        (row,) = self.aggregate(metrics=("count", "sum:size")) or [{"count": 0, "sum:size": 0}]
        return {
            "backend": self.name,
            "collection": self._collection.name,
            "items": row["count"],
            "bytes": row["sum:size"] or 0,
            "skipped": self._lifecycle.skipped,
        }

    def close(self) -> None:
        """Give up connections and files. Closing twice is harmless; every later operation raises."""
        self._lifecycle.closed = True

    if not TYPE_CHECKING:  # where the layer is named, its methods have types: `store.layer(VersionedStore).rollback`

        def __getattr__(self, name: str) -> Any:
            """Say which layer has a method that this store lacks."""
            raise AttributeError(why_missing(self, name), name=name, obj=self)

    def __copy__(self) -> Self:
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        return view

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.identity:
            raise TypeError(
                f"a {type(self).__name__} stays in its process, for what it holds does: use one with a place"
            )
        return BaseStore._reopened, (*super().__reduce__(), self._collection, self.identity)

    @staticmethod
    def _reopened(
        make: Callable[..., BaseStore[Any]], made_with: tuple[Any, ...], collection: Collection[Any], identity: str
    ) -> BaseStore[Any]:
        store = make(*made_with)
        if store.identity != identity:
            raise StoreConfigError(f"{store.identity} was opened here instead of {identity}: give absolute paths")
        own = store._collection  # noqa: SLF001  # as in collection()
        is_view = (own.name, own.fingerprint) != (collection.name, collection.fingerprint)
        return store.collection(collection) if is_view else store

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._collection.name})"


def _query(query: StoreQuery | None) -> StoreQuery:
    # Anything else that is false, such as {}, is an error.
    if query is None:
        return EVERYTHING
    if not isinstance(query, StoreQuery):
        raise TypeError(f"query is a StoreQuery or None, not {type(query).__name__}")
    return query
