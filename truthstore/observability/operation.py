"""An observed operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from truthstore.errors import StoreNotFoundError

if TYPE_CHECKING:
    from truthstore.observability.audit.event import AuditEventType

__all__ = ["Hook", "Operation", "full_name"]


@dataclass(slots=True)
class Operation:
    """One operation of a store, as a context manager around the work of the store below.

    It ends when the context is left. A query ends later, by `end`: its context is entered for every record, so that
    neither its duration nor its span includes the work of the reader.

    Attributes:
        kind: the kind of its audit event.
        hooks: called when it has ended; one that may raise comes last.
        tracing: the `Tracing` that makes its span, or None.
        is_query: True if it ends by `end`.
        error_type: the class of the error; None for the answer of `head` that nothing is there, which is no failure.
        read: bytes of items read.
        written: bytes of items written.
        count: number of records that a query found.
    """

    name: str
    collection: str
    kind: AuditEventType
    hooks: Sequence[Hook]
    tracing: Any
    item: str | None = None
    items: Sequence[str] = ()
    is_query: bool = False
    seconds: float = 0.0
    error: BaseException | None = None
    error_type: str | None = None
    read: int = 0
    written: int = 0
    count: int = 0
    span: Any = None
    _token: Any = None
    _began: float = 0.0

    def __enter__(self) -> Self:
        if self.tracing is not None:
            self._token = self.tracing.enter(self)
        self._began = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.seconds += perf_counter() - self._began
        if self.tracing is not None:
            self.tracing.leave(self._token)
        if error is not None:
            self.error = error
            if self.name != "head" or not isinstance(error, StoreNotFoundError):
                self.error_type = type(error).__name__
        if error is not None or not self.is_query:
            self.end()

    def end(self) -> None:
        """Hand the operation to the hooks, once."""
        hooks, self.hooks = self.hooks, ()
        for hook in hooks:
            hook(self)


Hook = Callable[[Operation], None]


def full_name(kind: type[BaseException]) -> str:
    """Return the name of a class with its module, as OpenTelemetry's conventions name errors."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
