"""An observed operation, and the hooks that receive it when it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from truthstore.errors import StoreBulkError, StoreError, StoreNotFoundError
from truthstore.observability.audit.event import AuditEvent, AuditEventType, AuditStatus
from truthstore.observability.context import current_actor, current_correlation_id, system_user

if TYPE_CHECKING:
    from truthstore.observability.audit.logger import AuditLogger
    from truthstore.observability.config import ObservabilityConfig

__all__ = ["AuditHook", "Hook", "Operation"]


class Hook:
    """Receives the operations of a store. One that may raise comes last."""

    __slots__ = ()

    def enter(self, operation: Operation) -> None:
        """Act before the store below works: once for an operation, again and again for a query."""

    def leave(self, operation: Operation) -> None:
        """Act when the store below has worked."""

    def end(self, operation: Operation) -> None:
        """Act when the operation has ended."""


@dataclass(slots=True)
class Operation:
    """One operation of a store, as a context manager around the work of the store below.

    It ends when the context is left. A query ends later, by `end`: its context is entered for every record, so that
    neither its duration nor its span includes the work of the reader.

    Attributes:
        name: such as ``save``.
        collection: name of the collection.
        hooks: receive it.
        kind: the kind of its audit event.
        item: id of the item, if it is one.
        items: ids of the items, if they are many.
        is_query: True if it ends by `end`.
        seconds: the duration.
        error: the exception, if it failed.
        read: bytes of items read.
        written: bytes of items written.
        count: number of records that a query found.
        span: the span of OpenTelemetry, if it is traced.
        token: for a hook, between `enter` and `leave`.
    """

    name: str
    collection: str
    hooks: Sequence[Hook]
    kind: AuditEventType = AuditEventType.QUERY
    item: str | None = None
    items: Sequence[str] = ()
    is_query: bool = False
    seconds: float = 0.0
    error: BaseException | None = None
    read: int = 0
    written: int = 0
    count: int = 0
    span: Any = None
    token: Any = None
    _began: float = 0.0
    _has_ended: bool = False

    @property
    def error_type(self) -> str | None:
        """The class of the error; None for a success, and for the answer of `head` that nothing is there."""
        if self.error is None or (self.name == "head" and isinstance(self.error, StoreNotFoundError)):
            return None
        return type(self.error).__name__

    def __enter__(self) -> Self:
        for hook in self.hooks:
            hook.enter(self)
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += perf_counter() - self._began
        self.error = error
        for hook in self.hooks:
            hook.leave(self)
        if not self.is_query or error is not None:
            self.end()

    def end(self) -> None:
        """Hand the operation to the hooks, once."""
        if self._has_ended:
            return
        self._has_ended = True
        for hook in self.hooks:
            hook.end(self)


class AuditHook(Hook):
    """Adds operations to the audit trail.

    Args:
        store: name of the backend.
        config: actor, metadata and environment.
        logger: the audit trail.
    """

    def __init__(self, store: str, config: ObservabilityConfig, logger: AuditLogger) -> None:
        self._store = store
        self._environment = config.environment
        self._actor = config.audit.actor
        self._metadata = dict(config.audit.extra_context)
        self._logger = logger

    def end(self, operation: Operation) -> None:
        """Add an event, if the level asks for it.

        Raises:
            StoreError: by the policy ``raise``; where the operation failed itself, a note on its error instead.
        """
        error, error_type = operation.error, operation.error_type
        status = AuditStatus.SUCCESS if error_type is None else AuditStatus.FAILURE
        if isinstance(error, StoreBulkError) and error.stored:
            status = AuditStatus.PARTIAL
        if not self._logger.wants(operation.kind, status):
            return
        span = operation.span
        event = AuditEvent(
            event_type=operation.kind,
            operation=operation.name,
            timestamp=datetime.now(UTC),
            status=status,
            store=self._store,
            collection=operation.collection,
            item=operation.item,
            items=tuple(operation.items),
            count=operation.count or len(operation.items) or int(operation.item is not None),
            actor=current_actor() or self._actor or system_user(),
            correlation_id=current_correlation_id(),
            trace_id=None if span is None else format(span.get_span_context().trace_id, "032x"),
            duration_ms=round(operation.seconds * 1_000, 3),
            error_type=error_type,
            error_message=None if error_type is None else str(error),
            environment=self._environment,
            metadata=self._metadata,
        )
        try:
            self._logger.add(event)
        except StoreError as failure:  # the operation's own error is the one that its caller must see
            if error is None:
                raise
            error.add_note(f"its audit event could not be written: {failure}")
