"""A store whose every operation is observed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from truthstore.errors import StoreConfigError
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Expect, Options, Record
from truthstore.observability.audit.event import AuditEventType
from truthstore.observability.audit.file import FileAuditBackend
from truthstore.observability.audit.logger import AuditLogger
from truthstore.observability.audit.sinks import AuditBackend, InMemoryAuditBackend
from truthstore.observability.audit.store import StoreAuditBackend
from truthstore.observability.config import ObservabilityConfig
from truthstore.observability.context import correlation
from truthstore.observability.hooks import AuditHook, Hook, Operation
from truthstore.observability.metrics import metrics_of
from truthstore.observability.tracing import Tracing
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["ObservableStore"]

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")


def _observing(name: str, kind: AuditEventType, forward: F) -> F:
    """Build the observed form of an operation that takes an id, ids or a query."""

    @functools.wraps(forward)
    def observed(self: Any, subject: Any, *more: Any, collection: Collection[Any], **rest: Any) -> Any:
        operation = self._observe(name, collection, kind)
        if isinstance(subject, str):
            operation.item = subject
        elif not isinstance(subject, StoreQuery):
            operation.items = subject
        with operation:
            result = forward(self, subject, *more, collection=collection, **rest)
            operation.read = _size(result)
        return result

    return cast("F", observed)


class ObservableStore(WrapperStore[T], Generic[T]):
    """Observes every operation: an audit trail, metrics, traces, each as its part of the configuration says.

    Operations on the library's own collections are not observed.

    Args:
        base: the store below.
        config: the parts; by default an audit trail in the store itself.
    """

    name: ClassVar[str] = "observable"

    def __init__(self, base: BaseStore[T], config: ObservabilityConfig | None = None) -> None:
        super().__init__(base)
        self._settings = settings = ObservabilityConfig() if config is None else config
        if not isinstance(settings, ObservabilityConfig):
            raise TypeError(f"config is an ObservabilityConfig, not {type(config).__name__}")
        *_, backend = base.layers()
        self._metrics = metrics_of(settings.metrics.store_name or backend.name, settings.metrics, base.layers())
        hooks: list[Hook] = [*self._metrics]
        if settings.tracing.enabled:
            hooks.append(Tracing(backend.name, settings))
        self._audit = AuditLogger(self._sink(base), settings.audit) if settings.audit.enabled else None
        if self._audit is not None:
            hooks.append(AuditHook(backend.name, settings, self._audit))
        self._hooks = tuple(hooks)
        for metrics in self._metrics:
            metrics.opened(1)

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
        """The configuration."""
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
        """Give everything inside the correlation id that headers of a request name, or a new one."""
        name = self._settings.correlation_id_header.lower()
        given = next((value for key, value in (headers or {}).items() if key.lower() == name), None)
        with correlation(given) as id:
            yield id

    def _observe(
        self, name: str, collection: Collection[Any], kind: AuditEventType = AuditEventType.QUERY, **details: Any
    ) -> Operation:
        return Operation(name, collection.name, () if "." in collection.name else self._hooks, kind, **details)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Save a record, observed."""
        with self._observe("save", collection, _kind(expect), item=record.meta.id) as operation:
            head = self._base.put_record(record, collection=collection, expect=expect, options=options)
            operation.written = _size(record)
        return head

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Query records, observed until the last one, or to where the reader stops."""
        operation = self._observe("query" if bodies else "entries", collection, is_query=True)
        with operation:  # many stores check a query at once, and some do all of its work
            records = self._base.scan(query, collection=collection, bodies=bodies, options=options)
        return _observed(operation, records)

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Save many records, observed as one operation."""
        ids = [record.meta.id for record in records]
        with self._observe("save_many", collection, _kind(expect), items=ids) as operation:
            heads = self._base.put_records(records, collection=collection, expect=expect, options=options)
            operation.written = sum(map(_size, records))
        return heads

    get_record = _observing("get", AuditEventType.READ, WrapperStore.get_record)
    get_records = _observing("get_many", AuditEventType.READ, WrapperStore.get_records)
    head_record = _observing("head", AuditEventType.READ, WrapperStore.head_record)
    delete_record = _observing("delete", AuditEventType.DELETE, WrapperStore.delete_record)
    delete_records = _observing("delete_many", AuditEventType.DELETE, WrapperStore.delete_records)
    scan_ids = _observing("list_ids", AuditEventType.QUERY, WrapperStore.scan_ids)
    count_records = _observing("count", AuditEventType.QUERY, WrapperStore.count_records)
    aggregate_records = _observing("aggregate", AuditEventType.QUERY, WrapperStore.aggregate_records)

    def stats(self) -> dict[str, Any]:
        """Return figures about the store below and the audit trail."""
        figures = super().stats()
        return figures if self._audit is None else {**figures, "audit": self._audit.stats}

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Write audit events that wait, here and in the local queue, then maintain the store below."""
        done: dict[str, int] = {}
        if self._audit is not None and not self._lifecycle.closed:
            self._audit.flush()
            done["audit_events_recovered"] = self._audit.recover()
        return {**super().maintain(budget), **done}

    def close(self) -> None:
        """End the audit trail and close the whole stack.

        Raises:
            StoreError: by the policy ``raise``, an event could not be written. The stack is still open: close it again.
        """
        if not self._lifecycle.closed:
            if self._audit is not None:
                self._audit.close()
                if not isinstance(self._settings.audit.backend, AuditBackend):  # a sink of the user may serve others
                    self._audit.backend.close()
            for metrics in self._metrics:
                metrics.opened(-1)
        super().close()


def _observed(operation: Operation, records: Iterator[Record]) -> Iterator[Record]:
    try:
        while True:
            with operation:
                record = next(records, None)
            if record is None:
                return
            operation.count += 1
            operation.read += _size(record)
            yield record
    finally:
        operation.end()


def _kind(expect: Expect) -> AuditEventType:
    if expect is ANY:
        return AuditEventType.SAVE
    if expect is ABSENT:
        return AuditEventType.CREATE
    return AuditEventType.UPDATE


def _size(found: object) -> int:
    """Return the bytes of the body of a record, or of those of several; 0 for anything else."""
    if isinstance(found, Record):
        return len(found.body or b"")
    return sum(map(_size, found.values())) if isinstance(found, dict) else 0
