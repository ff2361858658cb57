"""A store whose every operation is observed."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

from truthstore.errors import StoreBulkError, StoreConfigError, StoreError
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Change, Options, Record
from truthstore.observability.audit.event import AuditEvent, AuditEventType, AuditStatus
from truthstore.observability.audit.file import FileAuditBackend
from truthstore.observability.audit.logger import AuditLogger
from truthstore.observability.audit.sinks import AuditBackend, InMemoryAuditBackend
from truthstore.observability.audit.store import StoreAuditBackend
from truthstore.observability.config import ObservabilityConfig
from truthstore.observability.context import correlation, current_actor, current_correlation_id, system_user
from truthstore.observability.metrics import metrics_of
from truthstore.observability.operation import Hook, Operation
from truthstore.observability.tracing import Tracing
from truthstore.store.changes import delivering
from truthstore.store.config import configure
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["ObservableStore"]

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")

_current: Final[ContextVar[Operation | None]] = ContextVar("truthstore_operation", default=None)


def _observing(name: str, kind: AuditEventType, forward: F) -> F:
    """Build the observed form of an operation that takes an id, a record, several of either, or a query."""

    @functools.wraps(forward)
    def observed(self: Any, subject: Any, *more: Any, collection: Collection[Any], **rest: Any) -> Any:
        operation = self._observe(name, collection, kind)
        if isinstance(subject, str):
            operation.item = subject
        elif isinstance(subject, Record):
            operation.item = subject.meta.id
        elif not isinstance(subject, StoreQuery):
            operation.items = [one.meta.id if isinstance(one, Record) else one for one in subject]
        if kind is AuditEventType.SAVE and (expect := rest.get("expect", ANY)) is not ANY:
            operation.kind = AuditEventType.CREATE if expect is ABSENT else AuditEventType.UPDATE
        token = _current.set(operation)
        try:
            with operation:
                result = forward(self, subject, *more, collection=collection, **rest)
                if kind is AuditEventType.SAVE:
                    operation.written = _size(subject)
                elif kind is AuditEventType.READ:
                    operation.read = _size(result)
        finally:
            _current.reset(token)
        return result

    return cast("F", observed)


class ObservableStore(WrapperStore[T], Generic[T]):
    """Observes every operation: an audit trail, metrics, traces, each as its part of the configuration says.

    Operations on the library's own collections are not observed.

    Args:
        base: the store below.
        config: the parts; by default an audit trail in the store itself, or
        options: the same as keywords.
    """

    name: ClassVar[str] = "observable"

    def __init__(self, base: BaseStore[T], config: ObservabilityConfig | None = None, **options: Any) -> None:
        super().__init__(base)
        self._settings = settings = configure(ObservabilityConfig, config, options, "ObservableStore")
        *_, self._backend = base.layers()
        self._metrics = metrics_of(self._backend.name, settings.metrics, base.layers())
        self._tracing = Tracing(self._backend.name, settings) if settings.tracing.enabled else None
        self._audit = AuditLogger(self._sink(), settings.audit) if settings.audit.enabled else None
        hooks: list[Hook] = [*self._metrics]
        if self._tracing is not None:
            hooks.append(self._tracing.end)
        if self._audit is not None:
            # None of these refers to this store, so that it is freed when it is dropped; and what waits is written soon.
            weakref.finalize(self, self._audit.end_soon).atexit = False
            add = functools.partial(_add_event, self._audit, settings, self._backend.name)
            hooks.append(add)
            # Held here, for a subscriber is held weakly.
            self._watch = functools.partial(_changed, add)
            self._backend.subscribe(self._watch)
        self._hooks = tuple(hooks)
        self._process = os.getpid()  # a forked child that closes what it inherited counts nothing
        for metrics in self._metrics:
            metrics.opened(1)

    def _sink(self) -> AuditBackend:
        audit = self._settings.audit
        if isinstance(audit.backend, AuditBackend):
            return audit.backend
        if audit.backend == "memory":
            return InMemoryAuditBackend()
        if audit.backend == "store" or audit.file_path is None:
            return StoreAuditBackend(self._base)
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

    def correlate(self, headers: Mapping[str, str] | None = None) -> AbstractContextManager[str]:
        """Give everything inside the correlation id that headers of a request name, or a new one."""
        name = self._settings.correlation_id_header.lower()
        return correlation(next((value for key, value in (headers or {}).items() if key.lower() == name), None))

    def _observe(self, name: str, collection: Collection[Any], kind: AuditEventType) -> Operation:
        if "." in collection.name:
            return Operation(name, collection.name, kind, (), None)
        return Operation(name, collection.name, kind, self._hooks, self._tracing)

    put_record = _observing("save", AuditEventType.SAVE, WrapperStore.put_record)
    put_records = _observing("save_many", AuditEventType.SAVE, WrapperStore.put_records)
    get_record = _observing("get", AuditEventType.READ, WrapperStore.get_record)
    get_records = _observing("get_many", AuditEventType.READ, WrapperStore.get_records)
    head_record = _observing("head", AuditEventType.READ, WrapperStore.head_record)
    delete_record = _observing("delete", AuditEventType.DELETE, WrapperStore.delete_record)
    delete_records = _observing("delete_many", AuditEventType.DELETE, WrapperStore.delete_records)
    scan_ids = _observing("list_ids", AuditEventType.QUERY, WrapperStore.scan_ids)
    count_records = _observing("count", AuditEventType.QUERY, WrapperStore.count_records)
    aggregate_records = _observing("aggregate", AuditEventType.QUERY, WrapperStore.aggregate_records)

    aggregate_rows = _observing("aggregate_rows", AuditEventType.QUERY, WrapperStore.aggregate_rows)
    latest_rows = _observing("latest_rows", AuditEventType.QUERY, WrapperStore.latest_rows)
    newest_rows = _observing("latest_rows", AuditEventType.QUERY, WrapperStore.newest_rows)

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Query rows, observed as `scan` is."""
        operation = self._observe("query_rows", collection, AuditEventType.QUERY)
        operation.is_query = True
        with operation:
            rows = self._base.scan_rows(query, collection=collection, options=options)
        return _observed(operation, rows)

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Query records, observed until the last one, or to where the reader stops."""
        operation = self._observe("query" if bodies else "entries", collection, AuditEventType.QUERY)
        operation.is_query = True
        with operation:  # many stores check a query at once, and some do all of its work
            records = self._base.scan(query, collection=collection, bodies=bodies, options=options)
        return _observed(operation, records)

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
            for metrics in self._metrics if self._process == os.getpid() else ():
                metrics.opened(-1)
        super().close()


def _add_event(audit: AuditLogger, settings: ObservabilityConfig, store: str, operation: Operation) -> None:
    """Add an operation to the audit trail, if the level asks for it.

    Raises:
        StoreError: by the policy ``raise``; where the operation failed itself, a note on its error instead.
    """
    error, error_type = operation.error, operation.error_type
    status = AuditStatus.SUCCESS if error_type is None else AuditStatus.FAILURE
    if isinstance(error, StoreBulkError) and error.stored:
        status = AuditStatus.PARTIAL
    if not audit.wants(operation.kind, status):
        return
    span = operation.span
    event = AuditEvent(
        event_type=operation.kind,
        operation=operation.name,
        timestamp=datetime.now(UTC),
        status=status,
        store=store,
        collection=operation.collection,
        item=operation.item,
        items=tuple(operation.items),
        count=operation.count or len(operation.items) or int(operation.item is not None),
        actor=current_actor() or settings.audit.actor or system_user(),
        correlation_id=current_correlation_id(),
        trace_id=None if span is None else format(span.get_span_context().trace_id, "032x"),
        duration_ms=round(operation.seconds * 1_000, 3),
        error_type=error_type,
        error_message=None if error_type is None else str(error),
        environment=settings.environment,
        metadata=dict(settings.audit.extra_context),
    )
    try:
        audit.add(event)
    except StoreError as failure:  # the operation's own error is the one that its caller must see
        if error is None:
            raise
        error.add_note(f"its audit event could not be written: {failure}")


def _changed(add: Hook, changes: Sequence[Change]) -> None:
    """Add events of what layers below do by themselves, such as a rollback or a removal by retention."""
    current = _current.get()
    own = () if current is None else (current.item, *current.items)
    found: dict[tuple[str, AuditEventType], list[str]] = {}
    for change in changes:
        if "." not in change.collection and change.id not in own:
            kind = AuditEventType.DELETE if change.revision is None else AuditEventType.SAVE
            if kind is AuditEventType.SAVE and delivering.get():
                continue  # what is in a queue is taken for saved
            found.setdefault((change.collection, kind), []).append(change.id)
    for (collection, kind), ids in found.items():
        operation = Operation(kind.value, collection, kind, (), None)
        if len(ids) == 1:
            operation.item = ids[0]
        else:
            operation.name, operation.items = f"{kind.value}_many", ids
        add(operation)


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


def _size(found: object) -> int:
    """Return the bytes of the body of a record, or of those of several; 0 for anything else."""
    if isinstance(found, Record):
        return len(found.body or b"")
    several = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    return sum(map(_size, several))
