"""Spans of OpenTelemetry around operations."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError
from truthstore.observability.context import current_correlation_id
from truthstore.observability.operation import Operation, full_name

if TYPE_CHECKING:
    from truthstore.observability.config import ObservabilityConfig

__all__ = ["Tracing"]

SIGNAL: Final = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
"""Whether exceptions are logs (``logs``), or logs and events of spans (``logs/dup``), or events only:
https://opentelemetry.io/docs/specs/semconv/exceptions/
"""


class Tracing:
    """Makes the spans of one store.

    Args:
        store: name of the backend.
        config: provider, attributes, environment and redaction.

    Raises:
        StoreConfigError: the package opentelemetry-api is not installed.
    """

    def __init__(self, store: str, config: ObservabilityConfig) -> None:
        try:
            from opentelemetry import _logs, context, trace
        except ImportError as error:
            raise StoreConfigError("traces need the extra 'tracing': pip install 'truthstore[tracing]'") from error
        self._tracer = trace.get_tracer("truthstore", tracer_provider=config.tracing.tracer_provider)
        self._trace, self._logs = trace, _logs
        self._signal = os.environ.get(SIGNAL, "")
        self._attach = context.attach
        self.leave = context.detach  # makes the former span current again
        self._redactor = config.audit.make_redactor()
        self._attributes = {
            "db.system.name": f"truthstore.{store}",
            "deployment.environment.name": config.environment,
            **config.tracing.attributes,
        }

    def _redacted(self, text: str) -> str:
        return text if self._redactor is None else self._redactor.redact_text(text)

    def enter(self, operation: Operation) -> Any:
        """Make the span of an operation current, at its beginning a new one; return what `leave` takes."""
        if operation.span is None:
            operation.span = self._start(operation)
        return self._attach(self._trace.set_span_in_context(operation.span))

    def _start(self, operation: Operation) -> Any:
        attributes: dict[str, Any] = {
            **self._attributes,
            "db.operation.name": operation.name,
            "db.collection.name": operation.collection,
        }
        if operation.item is not None:
            attributes["truthstore.item.id"] = self._redacted(operation.item)
        if len(operation.items) > 1:
            attributes["db.operation.batch.size"] = len(operation.items)
        if correlation := current_correlation_id():
            attributes["truthstore.correlation_id"] = self._redacted(correlation)
        return self._tracer.start_span(
            f"{operation.name} {operation.collection}", kind=self._trace.SpanKind.CLIENT, attributes=attributes
        )

    def end(self, operation: Operation) -> None:
        """End the span of an operation."""
        span, error = operation.span, operation.error
        if span.is_recording():
            if operation.is_query:
                span.set_attribute("db.response.returned_rows", operation.count)
            if error is not None and operation.error_type is not None:
                self._record(span, error)
        span.end()

    def _record(self, span: Any, error: BaseException) -> None:
        """Record an error as `record_exception` does, whose texts would hold everything."""
        name, message = full_name(type(error)), self._redacted(str(error))
        span.set_attribute("error.type", name)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, f"{name}: {message}"))
        details = {
            "exception.type": name,
            "exception.message": message,
            "exception.stacktrace": self._redacted("".join(traceback.format_exception(error))),
        }
        if self._signal != "logs":
            span.add_event("exception", details)
        if self._signal in {"logs", "logs/dup"}:
            record = self._logs.LogRecord(
                context=self._trace.set_span_in_context(span),
                severity_number=self._logs.SeverityNumber.ERROR,
                severity_text="ERROR",
                body=message,
                attributes=details,
            )
            self._logs.get_logger("truthstore").emit(record)
