"""Truthound: the run result of `truthound.check()`, and the `Report` of older versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from truthstore.items.report import report_fields
from truthstore.items.results import ValidationResult

__all__ = ["from_truthound"]


def from_truthound(
    report: object,
    data_asset: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    run_time: datetime | None = None,
    execution_time_ms: float | None = None,
) -> ValidationResult:
    """Convert a Truthound run result or report.

    A run result lists its checks: they are counted as validators, and those that found nothing are kept as passed. A
    `Report` lists issues only. Every issue becomes an entry with its column, severity, count and samples.

    Args:
        report: the run result of `truthound.check()`, a `truthound.report.Report`, or the `to_dict()` of either.
        data_asset: name of the data checked; the report's own source if None.
        run_id: the id to store it under. If None, it is derived from Truthound's run id and the asset; a `Report`
            has none and gets a new one.
        tags: for queries.
        metadata: added to the values kept of the report itself.
        run_time: time of the checks; if None, that of Truthound, or now.
        execution_time_ms: how long the run took, in milliseconds; Truthound does not say.

    Raises:
        TypeError: `report` is neither.
        ValueError: it does not name its source, and `data_asset` is not given.
    """
    fields = report_fields(
        report, data_asset, run_id, tags, metadata, run_time=run_time, execution_time_ms=execution_time_ms
    )
    return ValidationResult(**fields)
