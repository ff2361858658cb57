"""Fixtures of the tests of observability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from truthstore.observability import TracingConfig


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test has a working folder: the local queue lies there by default."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def spans() -> Iterator[Any]:
    """An exporter that keeps spans, with the configuration that sends them there."""
    exporter: Any = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    exporter.config = TracingConfig(tracer_provider=provider)
    yield exporter
    provider.shutdown()
