"""Spans of OpenTelemetry around operations."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from truthstore.observability.audit.redaction import DataRedactor
    from truthstore.observability.config import TracingConfig

__all__ = ["Spans", "spans_of"]

R = TypeVar("R")


class Spans:
    """Makes the spans of one store.

    Args:
        config: the provider.
        redactor: what must not leave in a message.

    Raises:
        StoreConfigError: the package opentelemetry-api is not installed.
    """

    def __init__(self, config: TracingConfig, redactor: DataRedactor | None = None) -> None:
        try:
            from opentelemetry import context, trace
        except ImportError as error:
            raise StoreConfigError("traces need the extra 'tracing': pip install 'truthstore[tracing]'") from error
        self._tracer = trace.get_tracer("truthstore", tracer_provider=config.tracer_provider)
        self._context = context
        self._trace = trace
        self._redactor = redactor

    def start(self, name: str, attributes: Mapping[str, Any]) -> Any:
        """A span that is not current yet."""
        return self._tracer.start_span(name, kind=self._trace.SpanKind.CLIENT, attributes=attributes)

    def around(self, name: str, attributes: Mapping[str, Any], call: Callable[[Any], R]) -> R:
        """Calls with a new span, which is current meanwhile and tells of what was raised.

        The same as the API's `start_as_current_span`, whose two generators take a quarter of the time of a span.
        """
        span = self.start(name, attributes)
        token = self._context.attach(self._trace.set_span_in_context(span))
        try:
            return call(span)
        except BaseException as error:
            self.failed(span, error)
            raise
        finally:
            self._context.detach(token)
            span.end()

    def current(self, span: Any) -> AbstractContextManager[Any]:
        """Makes a span current for a while; it goes on afterwards."""
        # What is raised meanwhile is told once, at the end of the span.
        return self._trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def failed(self, span: Any, error: BaseException) -> None:
        """Tells of an error."""
        if not span.is_recording():
            return
        kind = type(error)
        message = str(error)
        if self._redactor is None:
            span.record_exception(error)
        else:
            message = self._redactor.redact_text(message)
            # As `record_exception` does, whose texts would tell everything.
            told = {
                "exception.type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
                "exception.message": message,
                "exception.stacktrace": self._redactor.redact_text("".join(traceback.format_exception(error))),
            }
            span.add_event("exception", told)
        span.set_attribute("error.type", kind.__name__)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, f"{kind.__name__}: {message}"))


def spans_of(config: TracingConfig, redactor: DataRedactor | None = None) -> Spans | None:
    """The spans that a configuration wants."""
    return Spans(config, redactor) if config.enabled else None
