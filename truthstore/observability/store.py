"""A store whose every operation is observed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from truthstore.caching.store import CachedStore
from truthstore.errors import StoreConfigError
from truthstore.model.record import ABSENT, ANY, NONE, Condition, Expect, Options, Record
from truthstore.observability.audit.event import AuditEventType
from truthstore.observability.audit.logger import AuditLogger
from truthstore.observability.audit.redaction import redactor_of
from truthstore.observability.audit.sinks import AuditBackend, FileAuditBackend, InMemoryAuditBackend
from truthstore.observability.audit.store import StoreAuditBackend
from truthstore.observability.config import ObservabilityConfig
from truthstore.observability.context import correlation
from truthstore.observability.hooks import Observer
from truthstore.observability.metrics import metrics_of
from truthstore.observability.tracing import spans_of
from truthstore.store.store import BaseStore
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery

__all__ = ["ObservableStore"]

T = TypeVar("T")


class ObservableStore(WrapperStore[T], Generic[T]):
    """Observes what passes: an audit trail, metrics, traces, each as its part of the configuration says.

    Operations on the library's own collections are not observed.

    Args:
        base: the store below.
        config: what is observed; by default an audit trail in the store itself.
    """

    name: ClassVar[str] = "observable"

    def __init__(self, base: BaseStore[T], config: ObservabilityConfig | None = None) -> None:
        super().__init__(base)
        self._settings = ObservabilityConfig() if config is None else config
        if not isinstance(self._settings, ObservabilityConfig):
            raise TypeError(f"config is an ObservabilityConfig, not {type(config).__name__}")
        settings = self._settings
        *_, backend = base.layers()
        label = settings.metrics.store_name or backend.name
        caches = [layer for layer in base.layers() if isinstance(layer, CachedStore)]
        metrics = metrics_of(label, settings.metrics, caches)
        spans = spans_of(settings.tracing, redactor_of(settings.audit))
        self._audit = AuditLogger(self._sink(base), settings.audit) if settings.audit.enabled else None
        is_on = metrics or spans is not None or self._audit is not None
        self._observer = Observer(backend.name, settings, metrics, spans, self._audit) if is_on else None
        for one in metrics:
            one.opened(1)
        # Shared by all views, as a view closes the store for all of them.
        self._to_end: list[Callable[[], object]] = [partial(one.opened, -1) for one in metrics]
        self._is_sink_below = False
        if self._audit is not None:
            self._to_end.append(self._audit.close)
            if not isinstance(settings.audit.backend, AuditBackend):  # a sink of the user's may serve others too
                self._to_end.append(self._audit.backend.close)
                self._is_sink_below = isinstance(self._audit.backend, StoreAuditBackend)

    def _sink(self, base: BaseStore[Any]) -> AuditBackend:
        audit = self._settings.audit
        if isinstance(audit.backend, AuditBackend):
            return audit.backend
        kind = audit.backend or ("store" if audit.file_path is None else "json")
        if kind == "memory":
            return InMemoryAuditBackend()
        if kind == "store":
            return StoreAuditBackend(base)
        assert audit.file_path is not None
        return FileAuditBackend(audit.file_path)

    @property
    def config(self) -> ObservabilityConfig:
        """What is observed."""
        return self._settings

    @property
    def audit(self) -> AuditLogger:
        """The audit trail: `query`, `verify_chain`, `flush`, `stats`.

        Raises:
            StoreConfigError: it is off.
        """
        if self._audit is None:
            raise StoreConfigError("the audit trail is off: AuditConfig(enabled=True)")
        return self._audit

    @contextlib.contextmanager
    def correlate(self, headers: Mapping[str, str] | None = None) -> Generator[str]:
        """Everything inside carries the correlation id that headers of a request name, or a new one."""
        name = self._settings.correlation_id_header.lower()
        given = next((value for key, value in (headers or {}).items() if key.lower() == name), None)
        with correlation(given) as id:
            yield id

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Saves, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.put_record(record, collection=collection, expect=expect, options=options)
        id, kind = record.meta.id, _kind(expect)
        if observer.is_traced:
            return observer.run(
                "save",
                collection.name,
                lambda: self._base.put_record(record, collection=collection, expect=expect, options=options),
                item=id,
                written=_size(record),
                kind=kind,
            )
        start = perf_counter()  # the shortest way
        try:
            head = self._base.put_record(record, collection=collection, expect=expect, options=options)
        except BaseException as error:
            observer.failed("save", collection.name, id, perf_counter() - start, error, kind)
            raise
        observer.saved(collection.name, id, perf_counter() - start, _size(record), kind)
        return head

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Gets, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.get_record(id, collection=collection, options=options)
        if observer.is_plain:
            start = perf_counter()  # the shortest way
            try:
                record = self._base.get_record(id, collection=collection, options=options)
            except BaseException as error:
                observer.failed("get", collection.name, id, perf_counter() - start, error)
                raise
            observer.counted("get", perf_counter() - start, _size(record))
            return record
        return observer.run(
            "get",
            collection.name,
            lambda: self._base.get_record(id, collection=collection, options=options),
            item=id,
            read=_size,
        )

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Deletes, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.delete_record(id, collection=collection, expect=expect, options=options)
        return observer.run(
            "delete",
            collection.name,
            lambda: self._base.delete_record(id, collection=collection, expect=expect, options=options),
            item=id,
        )

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Queries, observed until the reader has what it wants."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.scan(query, collection=collection, bodies=bodies, options=options)
        return observer.found(
            "query" if bodies else "entries",
            collection.name,
            lambda: self._base.scan(query, collection=collection, bodies=bodies, options=options),
        )

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Gets a head, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.head_record(id, collection=collection, options=options)
        return observer.run(
            "head",
            collection.name,
            lambda: self._base.head_record(id, collection=collection, options=options),
            item=id,
        )

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Saves many, observed as one operation."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.put_records(records, collection=collection, expect=expect, options=options)
        return observer.run(
            "save_many",
            collection.name,
            lambda: self._base.put_records(records, collection=collection, expect=expect, options=options),
            items=[record.meta.id for record in records],
            written=sum(len(record.body or b"") for record in records),
            kind=_kind(expect),
        )

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Gets many, observed as one operation."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.get_records(ids, collection=collection, options=options)
        return observer.run(
            "get_many",
            collection.name,
            lambda: self._base.get_records(ids, collection=collection, options=options),
            items=ids,
            read=lambda found: sum(map(_size, found.values())),
        )

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Deletes many, observed as one operation."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.delete_records(ids, collection=collection, options=options)
        return observer.run(
            "delete_many",
            collection.name,
            lambda: self._base.delete_records(ids, collection=collection, options=options),
            items=ids,
        )

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Lists ids, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.scan_ids(query, collection=collection, options=options)
        return observer.run(
            "list_ids",
            collection.name,
            lambda: self._base.scan_ids(query, collection=collection, options=options),
        )

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Counts, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.count_records(query, collection=collection, options=options)
        return observer.run(
            "count",
            collection.name,
            lambda: self._base.count_records(query, collection=collection, options=options),
        )

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Computes figures, observed."""
        observer = self._observer
        if observer is None or "." in collection.name:
            return self._base.aggregate_records(query, aggregation, collection=collection, options=options)
        return observer.run(
            "aggregate",
            collection.name,
            lambda: self._base.aggregate_records(query, aggregation, collection=collection, options=options),
        )

    def stats(self) -> dict[str, Any]:
        """Figures about the store below, and how the audit trail fares."""
        figures = super().stats()
        return figures if self._audit is None else {**figures, "audit": self._audit.stats}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Writes audit events that wait, here and in the local queue, then maintains the store below."""
        done: dict[str, int] = {}
        if self._audit is not None and not self._lifecycle.closed:
            self._audit.flush()
            done["audit_events_recovered"] = self._audit.recover()
        return {**super().maintain(budget), **done}

    def close(self) -> None:
        """Ends the audit trail and closes the whole stack. What fails is tried again when it is closed again."""
        try:
            while self._to_end:
                self._to_end[0]()
                del self._to_end[0]
        except BaseException:
            if self._is_sink_below:
                BaseStore.close(self)  # the store below stays open: what its audit trail lacks is yet to be written
            else:
                super().close()
            raise
        super().close()


def _kind(expect: Expect) -> AuditEventType:
    if expect is ANY:
        return AuditEventType.SAVE
    if expect is ABSENT:
        return AuditEventType.CREATE
    assert not isinstance(expect, Condition)
    return AuditEventType.UPDATE


def _size(record: Record) -> int:
    return 0 if record.body is None else len(record.body)
