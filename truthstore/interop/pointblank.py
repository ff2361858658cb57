"""Pointblank: interrogated `Validate` objects and their JSON reports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import column_names, made_by, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, installed_version, read, result_fields, shares_failing
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import SAMPLE_SIZE, sample, storable, text_of

__all__ = ["IMPORTER", "from_pointblank"]

LEVELS: Final = {"critical": "critical", "error": "high", "warning": "medium"}
"""Levels of a threshold, the gravest first, as severities."""

MEASURED: Final = (
    "row_count_",
    "col_count_",
    "col_pct_",
    "col_avg_",
    "col_sum_",
    "col_sd_",
    "data_freshness",
    "tbl_match",
)
"""Steps that measure once. Their values are thresholds, and among them is what was measured: no part of the identity."""


def from_pointblank(
    outcome: object,
    data_asset: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert a validation of Pointblank: every step is a check, and every segment of a step.

    A step fails at the gravest level whose threshold it exceeds: critical stays, error becomes high, warning medium. One that
    has thresholds and exceeds none has passed, and `count` says what it tolerates. A step that could not be evaluated is an
    error, one that is not active is skipped. Where a step looks at the table as a whole, no rows are counted.

    Args:
        outcome: a `Validate` after `interrogate()`, its `get_json_report()`, the list in it, or the path of a file with it.
            Only the `Validate` knows the table's name and has failing values, 20 of each step.
        data_asset: name of the data checked; the table's name in Pointblank if None.
        run_id: the id to store it under; if None it is derived from the report.
        tags: for queries.
        metadata: added to the values kept of the validation itself.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: it does not name its table, and `data_asset` is not given, or was never interrogated.
    """
    content: Any = outcome if _is_text(outcome) else opened(outcome)[0]
    report = content.get_json_report() if callable(getattr(content, "get_json_report", None)) else content
    steps = json.loads(report) if isinstance(report, str) else report
    if not _are_steps(steps):
        raise TypeError(f"expected a Validate of Pointblank or its JSON report, not {type(content).__name__}")
    times = [time for step in steps if (time := time_of(step.get("time_processed"))) is not None]
    if not times:
        raise ValueError("this validation was never interrogated, so that nothing is known: call interrogate() first")
    known = {read(step, "i"): step for step in read(content, "validation_info", ())}
    owner = read(content, "owner")
    results = [_step(step, known.get(step["i"]), owner) for step in steps]
    fields = result_fields(
        results,
        tool="pointblank",
        tool_version=installed_version("pointblank"),
        tool_metadata=given(consumers=read(content, "consumers"), data_version=read(content, "version")),
        statistics=ResultStatistics.from_results(
            results,
            total_rows=max((result.checked or 0 for result in results), default=0),
            total_columns=len(column_names(read(content, "data"))),
        ),
        data_asset=data_asset or text_of(read(content, "tbl_name", "")),
        suite_name=read(content, "label"),
        run_id=run_id,
        own_time=min(times),
        tags=tags,
        metadata=metadata,
        raw=steps,
        **options,
    )
    return ValidationResult(**fields)


def _step(step: Mapping[str, Any], known: Any, owner: str | None) -> ValidatorResult:
    kind, columns = text_of(step["assertion_type"]), step.get("column")
    several = tuple(map(text_of, columns)) if isinstance(columns, list) else ()
    by_rows = kind.startswith(("col_vals_", "rows_")) or kind in {"conjointly", "prompt"}
    levels = {level: step.get(level) for level in LEVELS}
    exceeded = next((level for level, value in levels.items() if value), None)
    tolerated = exceeded is None and any(value is False for value in levels.values())
    demand = text_of(step.get("brief") or read(known, "autobrief") or "")
    measured = dict(values) if kind.startswith(MEASURED) and isinstance(values := step.get("values"), Mapping) else None
    given_by = ("inclusive", "na_pass", "segments") if measured else ("values", "inclusive", "na_pass", "segments")
    result = ValidatorResult(
        validator_name=kind,
        success=bool(step.get("all_passed")) or (step.get("all_passed") is False and tolerated),
        column=", ".join(several) or (None if columns is None else text_of(columns)),
        columns=several if len(several) > 1 else None,
        count=(step.get("n_failed") or 0) if by_rows else 0,
        checked=step.get("n") if by_rows else None,
        observed=measured.pop("age", None) if measured else None,
        expected=demand or None,
        owner=owner,
        execution_time_ms=(step.get("proc_duration_s") or 0.0) * 1_000,
        details=given(
            parameters=given(**{name: _stable(step.get(name)) for name in given_by}),
            limits=None if kind == "tbl_match" else measured,
            step=step.get("i"),
            pre=step.get("pre"),
            thresholds=step.get("thresholds"),
            dimension=step.get("dimension"),
            units=None if by_rows else step.get("n"),
            units_failed=None if by_rows else step.get("n_failed"),
            level=exceeded,
        ),
    )
    if result.success:
        return result
    if step.get("all_passed") is None:
        return _without_outcome(result, step, known)
    result.issue_type, result.severity = kind, LEVELS[exceeded] if exceeded else None
    samples = _samples(known, several or (() if columns is None else (text_of(columns),)))
    result.details |= given(**samples)
    shown = samples.get("sample_values", ())
    counted = (result.count or 0, result.checked or 0) if by_rows else (0, 0)
    for name, values in (("message", ()), ("sample_message", shown)):
        found = shares_failing(*counted, values) if by_rows else "failed"
        text = f"{demand.rstrip('.')}: {found}" if demand else found
        if name == "message":
            result.message = text
        else:
            result.details[name] = text
    return result


def _without_outcome(result: ValidatorResult, step: Mapping[str, Any], known: Any) -> ValidatorResult:
    """Say why a step has no outcome. The report of one that broke says that it is not active, but has its rows."""
    result.checked = None
    if read(known, "eval_error") or (step.get("active") is False and step.get("n") is not None):
        result.issue_type, result.message = VALIDATOR_ERROR, "could not be evaluated"
    else:
        result.count = None
        result.status = "skipped" if step.get("active") is False else "not_evaluated"
    return result


def _stable(value: Any) -> Any:
    """Return a parameter without the addresses that functions have in one process."""
    if isinstance(value, str):
        return re.sub(r" at 0x[0-9a-fA-F]+", "", value)
    if isinstance(value, Mapping):
        return {name: _stable(inner) for name, inner in value.items()}
    return [_stable(inner) for inner in value] if isinstance(value, list) else value


def _samples(known: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Return failing values of the columns that the step is about, and the numbers of their rows."""
    extract = read(known, "extract")
    if not callable(getattr(extract, "head", None)):
        return {}
    rows = storable(extract.head(SAMPLE_SIZE))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return {}
    numbers = [row.pop("_row_num_", None) for row in rows]
    kept = [{name: row[name] for name in columns if name in row} or row for row in rows]
    values = [row[columns[0]] for row in kept] if len(columns) == 1 and columns[0] in column_names(rows) else kept
    return {"sample_values": sample(values), "sample_indexes": [n for n in numbers if n is not None]}


def _is_text(outcome: Any) -> bool:
    return isinstance(outcome, str) and outcome.lstrip()[:1] == "["


def _are_steps(found: Any) -> bool:
    keys = {"i", "assertion_type", "all_passed"}
    return isinstance(found, list) and bool(found) and all(isinstance(s, Mapping) and keys <= s.keys() for s in found)


def _recognises(thing: Any) -> bool:
    return made_by(thing, "pointblank") or _are_steps(thing)


IMPORTER: Final = Importer(
    name="pointblank",
    convert=from_pointblank,
    recognises=_recognises,
    wants="an interrogated Validate, or its JSON report",
)
