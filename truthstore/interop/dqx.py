"""DQX of Databricks Labs: its table of summary metrics, or rows with its result columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import ParquetRows, column_names, opened
from truthstore.items.checks import ResultStatistics, ValidatorResult
from truthstore.items.conversion import (
    ImportOptions,
    given,
    installed_version,
    result_fields,
    shares_failing,
    shortened,
)
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import sample, storable, text_of

__all__ = ["IMPORTER", "from_dqx"]

ERRORS, WARNINGS = "_errors", "_warnings"
OF_TABLES: Final = ("is_aggr_", "has_valid_schema", "is_data_fresh_per_time_window")
"""Functions that look at the table as a whole, and whose one outcome DQX repeats in every row."""


def from_dqx(
    outcome: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    functions: Mapping[str, str] | None = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert results of DQX, run by run.

    DQX has no word for a status: a check with errors has failed, one with warnings alone warns, and one that has looked at no
    row is ``not_evaluated``, although DQX counts an error for every row where a column is missing. A check of the table as a
    whole is repeated in every row, so no rows are counted for it. The summary does not say which checks these are: where all
    rows fail and `functions` does not tell, the number of rows counts as unknown.

    Args:
        outcome: the table of summary metrics, or rows with the columns ``_errors`` and ``_warnings``, which do not tell what
            passed: a DataFrame of Spark, pandas or polars, a list of dicts, or the path of a file of JSON or Parquet.
        data_asset: name of the data checked; if None, the summary's `input_location`, or its `run_name`.
        tags: for queries.
        metadata: added to the values kept of the run itself.
        functions: the function of each check, by the check's name.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: the summary has no metrics of single checks, or nothing names the data asset.
    """
    content, written = opened(outcome)
    if not _recognises(content):
        raise TypeError(f"expected summary metrics or checked rows of DQX, not {type(content).__name__}")
    more: dict[str, Any] = {"tags": tags, "raw": content, **options}
    rows = _rows_of(content)
    if not rows:
        raise ValueError("this table has no rows, so that nothing is known")
    if "metric_name" not in rows[0]:
        entries = [(row, entry, kind) for row in rows for kind in (ERRORS, WARNINGS) for entry in row.get(kind) or ()]
        first = entries[0][1] if entries else {}
        results = [_of_entries(found, functions or {}) for found in _grouped(entries)]
        results = results or [ValidatorResult("no errors", success=True, checked=len(rows))]
        fields = result_fields(
            results,
            tool="dqx",
            tool_version=installed_version("databricks-labs-dqx"),
            tool_run=(text_of(first["run_id"]),) if first.get("run_id") else (),
            data_asset=data_asset or "",
            own_time=time_of(first.get("run_time")) or written,
            metadata=metadata,
            **more,
        )
        return [ValidationResult(**fields)]
    runs: dict[tuple[Any, Any], dict[str, Any]] = {}
    for row in rows:
        key = row.get("run_id"), row.get("input_location")
        runs.setdefault(key, {**row, "metrics": {}})["metrics"][row["metric_name"]] = row.get("metric_value")
    made = []
    for run in runs.values():
        metrics = run["metrics"]
        if not (by_check := metrics.get("check_metrics")):
            raise ValueError(
                "this summary has no check_metrics, so that nothing is known of single checks: DQX has them from 0.14 on"
            )
        total = int(metrics.get("input_row_count") or 0)
        results = [_of_summary(check, total, functions or {}) for check in json.loads(by_check)]
        name = run.get("run_name")
        fields = result_fields(
            results,
            tool="dqx",
            tool_version=installed_version("databricks-labs-dqx"),
            tool_run=(text_of(run["run_id"]),) if run.get("run_id") else (),
            tool_metadata=given(
                run_name=name,
                rule_set_fingerprint=run.get("rule_set_fingerprint"),
                user_metadata=run.get("user_metadata"),
                **{metric: int(metrics[metric]) for metric in _TOTALS if str(metrics.get(metric)).isdigit()},
            ),
            statistics=ResultStatistics.from_results(results, total_rows=total),
            data_asset=data_asset or text_of(run.get("input_location") or ("" if name in {None, "dqx"} else name)),
            own_time=time_of(run.get("run_time")) or written,
            metadata=metadata,
            **more,
        )
        made.append(ValidationResult(**fields))
    return made


_TOTALS: Final = ("error_row_count", "warning_row_count", "valid_row_count")


def _of_summary(check: Mapping[str, Any], total: int, functions: Mapping[str, str]) -> ValidatorResult:
    name, checked = text_of(check["check_name"]), check.get("checked_count")
    errors, warnings = int(check.get("error_count") or 0), int(check.get("warning_count") or 0)
    function = functions.get(name)
    bad = errors or warnings
    of_table = function.startswith(OF_TABLES) if function else bool(bad) and bad == checked == total
    result = ValidatorResult(
        name,
        success=not bad and checked != 0,
        count=0 if of_table else bad,
        checked=checked,
        owner=(check.get("user_metadata") or {}).get("owner"),
        details=given(
            function=function,
            fingerprint=check.get("rule_fingerprint"),
            user_metadata=check.get("user_metadata"),
            error_count=errors or None,
            warning_count=warnings or None,
        ),
    )
    if checked == 0:
        result.status, result.count, result.checked, result.message = "not_evaluated", None, None, "looked at no row"
    elif bad:
        result.status, result.issue_type = None if errors else "warning", function or name
        result.message = shares_failing(result.count or 0, checked or 0, ()) if result.count else "failed"
    return result


def _grouped(entries: Iterable[tuple[Any, Any, str]]) -> Iterator[list[tuple[Any, Any, str]]]:
    found: dict[Any, list[tuple[Any, Any, str]]] = {}
    for part in entries:
        found.setdefault((part[1].get("rule_fingerprint") or part[1].get("name"), part[2]), []).append(part)
    yield from found.values()


def _of_entries(found: list[tuple[Any, Any, str]], functions: Mapping[str, str]) -> ValidatorResult:
    """Convert what rows say of one check."""
    _, entry, kind = found[0]
    name, function = text_of(entry.get("name")), entry.get("function")
    columns = tuple(text_of(column) for column in entry.get("columns") or () if column != "*")
    of_table = text_of(function or functions.get(name) or "").startswith(OF_TABLES)
    values = [{column: row[column] for column in columns if column in row} for row, _, _ in found[:100]]
    result = ValidatorResult(
        name,
        success=False,
        column=", ".join(columns) or None,
        columns=columns if len(columns) > 1 else None,
        issue_type=function,
        count=0 if of_table else len(found),
        status="warning" if kind == WARNINGS else None,
        owner=(entry.get("user_metadata") or {}).get("owner"),
        details=given(
            parameters=given(filter=entry.get("filter")),
            function=function,
            fingerprint=entry.get("rule_fingerprint"),
            user_metadata=entry.get("user_metadata"),
            sample_message=shortened(text_of(entry.get("message") or ""), 1_000),
        ),
    )
    if entry.get("skipped"):
        result.status, result.count, result.issue_type = "not_evaluated", None, None
        result.message = "not evaluated"
        return result
    result.message = "failed" if of_table else shares_failing(len(found), 0, ())
    if not of_table:
        only = columns[0] if len(columns) == 1 else None
        result.details |= given(sample_values=sample([value.get(only) for value in values] if only else values))
    return result


def _rows_of(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, ParquetRows):
        content = content.rows()
    elif hasattr(content, "collect") and not hasattr(content, "to_dicts"):
        content = [row.asDict(recursive=True) for row in content.collect()]  # Spark
    rows: list[dict[str, Any]] = storable(content)
    return rows


def _recognises(thing: Any) -> bool:
    names = frozenset(thing.columns) if isinstance(thing, ParquetRows) else column_names(thing)
    return {"metric_name", "metric_value", "run_name"} <= names or {ERRORS, WARNINGS} <= names


IMPORTER: Final = Importer(
    name="dqx",
    convert=from_dqx,
    recognises=_recognises,
    wants="the table of summary metrics, or rows with the columns _errors and _warnings",
)
