"""What is done around each operation: a span, figures, an audit event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from truthstore.errors import StoreBulkError, StoreError, StoreNotFoundError
from truthstore.observability.audit.event import AuditEvent, AuditEventType, AuditStatus
from truthstore.observability.audit.redaction import redactor_of
from truthstore.observability.context import current_actor, current_correlation_id, system_user

if TYPE_CHECKING:
    from truthstore.model.record import Record
    from truthstore.observability.audit.logger import AuditLogger
    from truthstore.observability.config import ObservabilityConfig
    from truthstore.observability.metrics import Metrics
    from truthstore.observability.tracing import Spans

__all__ = ["Observer"]

R = TypeVar("R")

TYPES: Final = {
    "save": AuditEventType.SAVE,
    "save_many": AuditEventType.SAVE,
    "delete": AuditEventType.DELETE,
    "delete_many": AuditEventType.DELETE,
    "get": AuditEventType.READ,
    "head": AuditEventType.READ,
    "get_many": AuditEventType.READ,
}


class Observer:
    """Observes the operations of one store.

    Args:
        store: name of the backend.
        config: labels and attributes.
        metrics: where figures are counted.
        spans: makes spans, or None.
        audit: the audit trail, or None.
    """

    def __init__(
        self,
        store: str,
        config: ObservabilityConfig,
        metrics: Sequence[Metrics],
        spans: Spans | None,
        audit: AuditLogger | None,
    ) -> None:
        self._store = store
        self._environment = config.environment
        self._metrics = tuple(metrics)
        self._spans = spans
        self._redactor = None if spans is None else redactor_of(config.audit)
        self._audit = audit
        self._is_plain = spans is None and not (
            audit is not None and audit.wants(AuditEventType.READ, AuditStatus.SUCCESS)
        )
        self._actor = config.audit.actor
        self._metadata = dict(config.audit.extra_context)
        self._attributes = {
            "db.system.name": f"truthstore.{store}",
            "deployment.environment.name": config.environment,
            **config.tracing.attributes,
        }

    @property
    def is_plain(self) -> bool:
        """Whether a read that succeeds is only counted: no span, no event."""
        return self._is_plain

    @property
    def is_traced(self) -> bool:
        """Whether operations have spans."""
        return self._spans is not None

    def counted(self, operation: str, seconds: float, read: int) -> None:
        """Counts a read that succeeded."""
        for metrics in self._metrics:
            metrics.count(operation, None, seconds, read, 0)

    def saved(self, collection: str, item: str, seconds: float, written: int, kind: AuditEventType) -> None:
        """Tells of a save that succeeded, where no span does."""
        self._ended("save", collection, seconds, item, (), kind, None, 0, written, None)

    def failed(
        self,
        operation: str,
        collection: str,
        item: str,
        seconds: float,
        error: BaseException,
        kind: AuditEventType | None = None,
    ) -> None:
        """Tells of an operation on one item that failed, where no span does."""
        self._ended(operation, collection, seconds, item, (), kind, error, 0, 0, None)

    def run(
        self,
        operation: str,
        collection: str,
        call: Callable[[], R],
        *,
        item: str | None = None,
        items: Sequence[str] = (),
        written: int = 0,
        kind: AuditEventType | None = None,
        read: Callable[[R], int] | None = None,
    ) -> R:
        """Runs an operation and observes it."""
        if self._spans is not None:
            return self._spans.around(
                f"{operation} {collection}",
                self._described(operation, collection, item, items),
                lambda span: self._run(operation, collection, call, item, items, written, kind, read, span),
            )
        return self._run(operation, collection, call, item, items, written, kind, read, None)

    def _described(
        self, operation: str, collection: str, item: str | None = None, items: Sequence[str] = ()
    ) -> dict[str, Any]:
        found: dict[str, Any] = {
            **self._attributes,
            "db.operation.name": operation,
            "db.collection.name": collection,
        }
        if item is not None:
            found["truthstore.item.id"] = item if self._redactor is None else self._redactor.redact_text(item)
        if len(items) > 1:
            found["db.operation.batch.size"] = len(items)
        if correlation := current_correlation_id():
            found["truthstore.correlation_id"] = (
                correlation if self._redactor is None else self._redactor.redact_text(correlation)
            )
        return found

    def _run(
        self,
        operation: str,
        collection: str,
        call: Callable[[], R],
        item: str | None,
        items: Sequence[str],
        written: int,
        kind: AuditEventType | None,
        read: Callable[[R], int] | None,
        span: Any,
    ) -> R:
        start = perf_counter()
        try:
            result = call()
        except BaseException as error:  # an interrupt may come when the store is done
            self._ended(operation, collection, perf_counter() - start, item, items, kind, error, 0, 0, span)
            raise
        seconds = perf_counter() - start
        self._ended(
            operation, collection, seconds, item, items, kind, None, 0 if read is None else read(result), written, span
        )
        return result

    def found(self, operation: str, collection: str, scan: Callable[[], Iterator[Record]]) -> Iterator[Record]:
        """Observes a query, from its beginning to its last record, or to where the reader stops."""
        span = None
        if self._spans is not None:
            span = self._spans.start(f"{operation} {collection}", self._described(operation, collection))
        start = perf_counter()
        try:
            # Many stores check a query at once, and some do all of its work.
            records = self._within(span, scan)
        except BaseException as error:
            self._told(operation, collection, perf_counter() - start, error, 0, 0, span)
            raise
        return self._found(operation, collection, records, span, perf_counter() - start)

    def _found(
        self, operation: str, collection: str, records: Iterator[Record], span: Any, seconds: float
    ) -> Iterator[Record]:
        count, read = 0, 0
        failed: BaseException | None = None

        def step() -> Record | None:
            return next(records, None)

        try:
            while True:
                start = perf_counter()
                try:
                    record = self._within(span, step)
                except BaseException as error:
                    failed = error
                    raise
                finally:
                    seconds += perf_counter() - start
                if record is None:
                    return
                count += 1
                read += len(record.body or b"")
                yield record
        finally:
            self._told(operation, collection, seconds, failed, read, count, span)

    def _told(
        self,
        operation: str,
        collection: str,
        seconds: float,
        failed: BaseException | None,
        read: int,
        count: int,
        span: Any,
    ) -> None:
        """Tells of a query that ended, and ends its span."""
        if span is not None:
            if failed is not None and self._spans is not None:
                self._spans.failed(span, failed)
            span.set_attribute("db.response.returned_rows", count)
        try:
            self._ended(operation, collection, seconds, None, (), None, failed, read, 0, span, count)
        finally:
            if span is not None:
                span.end()

    def _within(self, span: Any, work: Callable[[], R]) -> R:
        if self._spans is None:
            return work()
        # The span is current only while the store works, not while the reader does.
        with self._spans.current(span):
            return work()

    def _ended(
        self,
        operation: str,
        collection: str,
        seconds: float,
        item: str | None,
        items: Sequence[str],
        kind: AuditEventType | None,
        error: BaseException | None,
        read: int,
        written: int,
        span: Any,
        count: int = -1,
    ) -> None:
        # That nothing is there is an answer to the question whether it is.
        failed = error is not None and not (operation == "head" and isinstance(error, StoreNotFoundError))
        error_type = type(error).__name__ if failed else None
        for metrics in self._metrics:
            metrics.count(operation, error_type, seconds, read, written)
        audit = self._audit
        if audit is None:
            return
        kind = kind or TYPES.get(operation, AuditEventType.QUERY)
        status = AuditStatus.FAILURE if failed else AuditStatus.SUCCESS
        if isinstance(error, StoreBulkError) and error.stored:
            status = AuditStatus.PARTIAL
        if not audit.wants(kind, status):
            return
        event = AuditEvent(
            event_type=kind,
            operation=operation,
            timestamp=datetime.now(UTC),
            status=status,
            store=self._store,
            collection=collection,
            item=item,
            items=tuple(items),
            count=count if count >= 0 else (len(items) if item is None else 1),
            actor=current_actor() or self._actor or system_user(),
            correlation_id=current_correlation_id(),
            trace_id=None if span is None else format(span.get_span_context().trace_id, "032x"),
            duration_ms=round(seconds * 1_000, 3),
            error_type=error_type,
            error_message=str(error) if failed else None,
            environment=self._environment,
            metadata=self._metadata,
        )
        if error is None:
            audit.add(event)
            return
        try:
            audit.add(event)
        except StoreError as trouble:  # the operation's own error is what its caller must see
            error.add_note(f"its audit event could not be written: {trouble}")
