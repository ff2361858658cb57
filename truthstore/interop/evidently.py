"""Evidently: the tests of a report's run, or its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, installed_version, read, result_fields, shares_failing
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import storable, text_of

__all__ = ["IMPORTER", "from_evidently"]

STATUSES: Final = {"FAIL": None, "WARNING": "warning", "SKIPPED": "skipped"}
"""What a status other than success becomes; any that is not here is none."""
COUNTS_ROWS: Final = (
    "MissingValueCount",
    "OutRangeValueCount",
    "OutListValueCount",
    "DuplicatedRowCount",
    "EmptyRowsCount",
)
"""Metrics of values or rows that are bad; others count good ones, or something else."""

LIMITS: Final = ("tests", "share_tests", "mean_tests", "threshold", "drift_share", "method")
"""Parameters of a metric that are no part of what is checked. The method of drift is chosen by the size of the data."""


def from_evidently(
    outcome: object,
    data_asset: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert the tests of a report of Evidently.

    A test is a check; what was observed is the metric to which its fingerprint leads. Evidently's own ids are not unique, and
    its fingerprints change with the limits, so a check is known by metric, parameters and operator. Its JSON has neither a time
    nor the name of the table.

    Args:
        outcome: the result of `Report.run()`, its `dict()` or `json()`, or the path of a file with it.
        data_asset: name of the data checked.
        run_id: the id to store it under; if None it is derived from a document, or else new.
        tags: for queries.
        metadata: added to the result's own.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: the report has no tests.
    """
    content, written = opened(outcome)
    found = content if isinstance(content, Mapping) else content.dict() if _is_snapshot(content) else {}
    if not _is_report(found):
        raise TypeError(f"expected the result of a Report of Evidently, not {type(content).__name__}")
    if not found["tests"]:
        raise ValueError(
            "this report has no tests, so that nothing was checked: give its metrics tests, or include_tests=True"
        )
    metrics = {text_of(read(metric, "id")): metric for metric in found["metrics"]}
    results = [_test(test, metrics) for test in found["tests"]]
    rows = next((read(m, "value") for m in metrics.values() if read(m, "metric_name") == "RowCount()"), 0)
    fields = result_fields(
        results,
        tool="evidently",
        tool_version=installed_version("evidently"),
        statistics=ResultStatistics.from_results(results, total_rows=int(rows) if isinstance(rows, int | float) else 0),
        data_asset=data_asset,
        run_id=run_id,
        own_time=time_of(read(content, "_timestamp")) or written,
        tags=tags,
        metadata=metadata,
        raw=found,
        **options,
    )
    return ValidationResult(**fields)


def _test(test: Any, metrics: Mapping[str, Any]) -> ValidatorResult:
    bound, config = read(test, "bound_test", {}), read(test, "metric_config", {})
    fingerprint = text_of(read(bound, "metric_fingerprint") or read(config, "metric_id", ""))
    metric = metrics.get(fingerprint, {})
    parameters = storable(read(config, "params", {}))
    kind = text_of(parameters.pop("type", "")).rpartition(":")[2] or text_of(read(metric, "metric_name", "test"))
    column = parameters.pop("column", None)
    limits = {name: parameters.pop(name, None) for name in LIMITS}
    counted, value, label = read(bound, "is_count"), read(metric, "value"), read(bound, "label")
    if (slot := read(bound, "slot")) is not None:
        counted = slot == "count"
    bad = value.get("count") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and counted is not None:
        value = value.get("count" if counted else "share") if label is None else _of_label(value, label, counted)
    name, _, expected = text_of(read(test, "name", "")).rpartition(": ")
    if not name:
        name, expected = expected, ""  # it names no limit
    status = text_of(getattr(word := read(test, "status", ""), "value", word)).upper()
    result = ValidatorResult(
        validator_name=f"{kind} {text_of(read(test, 'id', ''))}".strip(),
        success=status == "SUCCESS",
        column=None if column is None else text_of(column),
        count=int(bad) if kind in COUNTS_ROWS and isinstance(bad, int | float) else None,
        observed=value if value is None or isinstance(value, str | int | float) else text_of(storable(value)),
        expected=expected or None,
        details=given(
            parameters=given(**parameters, share=True if counted is False else None, label=label),
            title=name,
            method=limits["method"],
            fingerprint=fingerprint,
            critical=read(read(test, "test_config", {}), "is_critical"),
            limits=limits["tests"] or limits["threshold"] or limits["drift_share"],
        ),
    )
    if result.success:
        result.count = result.count or 0
        return result
    result.status = STATUSES.get(status, "not_evaluated")
    if status == "ERROR":
        result.issue_type, result.status, result.count = VALIDATOR_ERROR, None, 0
        result.message = "could not run"
        result.details |= given(sample_message=read(test, "description"))
    elif result.status in {"skipped", "not_evaluated"}:
        result.count = result.observed = None
    else:
        result.issue_type = kind
        # Evidently's own description has the sign the wrong way round: "Actual value 1.000 >= 0.000".
        shown = shares_failing(result.count, 0, ()) if result.count else f"observed {result.observed}"
        result.message = f"{name}: {shown}" + (f", expected {expected}" if expected else "")
        result.count = result.count or 0
    return result


def _of_label(value: Mapping[str, Any], label: Any, counted: bool) -> Any:  # noqa: FBT001  # as Evidently calls it
    """Return the count or the share of one value of a column."""
    found = value.get("counts" if counted else "shares")
    return found.get(label) if isinstance(found, Mapping) else None


def _is_report(thing: Any) -> bool:
    return (
        isinstance(thing, Mapping)
        and isinstance(thing.get("metrics"), list)
        and isinstance(tests := thing.get("tests"), list)
        and all(isinstance(read(test, "metric_config"), Mapping) for test in tests)
    )


def _is_snapshot(thing: Any) -> bool:
    return made_by(thing, "evidently") and callable(getattr(thing, "dict", None))


IMPORTER: Final = Importer(
    name="evidently",
    convert=from_evidently,
    recognises=lambda thing: _is_snapshot(thing) or _is_report(thing),
    wants="the result of Report.run(), or its JSON, with tests",
)
