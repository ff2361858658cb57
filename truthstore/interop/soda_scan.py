"""Soda 3: scans, and the file of their results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from truthstore.interop.soda_outcomes import PASSED, add_errors, duration_ms, judged, said, word_of
from truthstore.items.checks import ResultStatistics, ResultStatus, ValidatorResult
from truthstore.items.conversion import given, read, result_fields
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import text_of

__all__ = ["is_scan", "results_of_scan"]

FAILS_IF: Final = {"greaterThan": "<=", "greaterThanOrEqual": "<", "lessThan": ">=", "lessThanOrEqual": ">"}
"""How Soda 3 says when a check fails, and what the check asks for then."""
COUNTS_ROWS: Final = ("missing_count", "invalid_count", "duplicate_count", "failed rows", "reference")


def is_scan(thing: Any) -> bool:
    """Return whether this is a scan or its results."""
    is_results = isinstance(thing, Mapping) and {"checks", "hasErrors", "defaultDataSource"} <= thing.keys()
    return is_results or callable(getattr(thing, "get_scan_results", None))


def results_of_scan(
    scan: Any, data_asset: str | None, written: datetime | None, options: Mapping[str, Any]
) -> list[ValidationResult]:
    """Convert a scan or its results; see `from_soda`."""
    if isinstance(scan, Mapping):
        content: Mapping[str, Any] = scan
        silent = list(_named_in_log(scan))
    else:
        content = scan.get_scan_results() or scan.build_scan_results()
        silent = [_without_outcome(check) for check in read(scan, "_checks", ()) if check.outcome is None]
    logs: list[Any] = content.get("logs") or []
    errors = [said(log) for log in logs if read(log, "level") == "ERROR"]
    metrics = {metric["identity"]: metric for metric in content.get("metrics") or ()}
    source = text_of(content.get("defaultDataSource") or "")
    by_table: dict[tuple[str, str], list[Any]] = {}
    for check in (*content["checks"], *(content.get("automatedMonitoringChecks") or ()), *silent):
        key = text_of(check.get("dataSource") or source), text_of(check.get("table") or "")
        by_table.setdefault(key, []).append(check)
    found = {
        key: [_scan_check(check, metrics, errors) for check in checks]
        for key, checks in (by_table or {(source, ""): []}).items()
    }
    if ResultStatus.of(result for results in found.values() for result in results) in {"success", "warning"}:
        for results in found.values():
            add_errors("scan", results, errors)
    started, ended = time_of(content.get("scanStartTimestamp")), time_of(content.get("scanEndTimestamp"))
    name = content.get("definitionName")
    version = re.search(r"Soda Core (\S+)", said(logs[0])) if logs else None
    made = []
    for (source, table), results in found.items():
        # Two scans may start within a second, and have no name. Names, for the file knows what was not evaluated by nothing else.
        marks = sorted(
            f"{result.validator_name} {result.status} {result.success} {result.observed}" for result in results
        )
        rows = (
            metric.get("value")
            for identity, metric in metrics.items()
            if identity.endswith(f"-{source}-{table}-row_count")
        )
        fields = result_fields(
            results,
            tool="soda",
            tool_version=version and version[1],
            tool_run=() if started is None else (f"{name}/{started.isoformat()}", source, table, *marks),
            tool_metadata=given(data_source=source, data_timestamp=content.get("dataTimestamp")),
            statistics=ResultStatistics.from_results(
                results, total_rows=next(rows, None) or 0, execution_time_ms=duration_ms(started, ended)
            ),
            data_asset=data_asset or table or source,
            suite_name=name,
            own_time=started or written,
            raw=content,
            **options,
        )
        made.append(ValidationResult(**fields))
    return made


def _scan_check(check: Any, metrics: Mapping[str, Any], errors: list[str]) -> ValidatorResult:
    name, definition = text_of(check["name"]), text_of(check.get("definition") or "")
    outcome, diagnostics = word_of(check.get("outcome")), check.get("diagnostics") or {}
    measured: Any = metrics.get(next(iter(check.get("metrics") or ()), ""), {})
    counted: Any = measured
    if (metric := str(measured.get("metricName"))).endswith("_percent"):
        counted = metrics.get(measured["identity"].replace(metric, metric.replace("_percent", "_count")), {})
        if counted.get("value", 0) is None:
            outcome = ""  # Soda takes what it could not measure for 0 %
    value = diagnostics.get("value", diagnostics.get("valueLabel"))
    is_count = counted.get("metricName") in COUNTS_ROWS or "- failed rows" in definition
    fails, warns = (_fails_if(diagnostics.get(level) or {}) for level in ("fail", "warn"))
    attributes = {entry["name"]: entry["value"] for entry in check.get("resourceAttributes") or ()}
    several = re.search(r"\(([^()]+,[^()]+)\)", name if "\n" not in definition else definition.split("\n")[1])
    result = ValidatorResult(
        validator_name=name,
        success=outcome in PASSED,
        column=check.get("column"),
        count=(value if counted is measured else counted.get("value")) if is_count else None,
        check_id=check.get("source_identity") or check.get("identity"),
        observed=value,
        expected="; ".join(filter(None, (fails, warns and f"warn if not {warns}"))) or None,
        owner=attributes.get("owner"),
        details=given(
            parameters=given(filter=check.get("filter")),
            definition=definition or None,
            attributes=attributes,
            figures={name: part for name, part in diagnostics.items() if name not in {"blocks", "valueSeries"}},
        ),
    )
    columns = several[1].split(",") if several and result.column is None else ()
    return judged(result, outcome, text_of(measured.get("metricName") or "check"), errors, columns=columns)


def _fails_if(limits: Mapping[str, Any]) -> str:
    known = {name: limit for name, limit in limits.items() if name in FAILS_IF}
    parts = [f"{FAILS_IF[name]} {limit:g}" for name, limit in known.items() if limit is not None]
    same = len({*known.values()}) == 1 and {*known} == {"greaterThan", "lessThan"}
    return f"= {limits['lessThan']:g}" if same else " and ".join(parts)


def _without_outcome(check: Any) -> dict[str, Any]:
    """Return what a scan's results would say of a check that it did not evaluate."""
    partition, column = check.partition, check.column
    return {
        "name": check.name,
        "identity": check.create_identity(with_datasource=True, with_filename=True),
        "definition": check.create_definition(),
        "table": partition and partition.table.table_name,
        "filter": partition and partition.partition_name,
        "column": column and column.column_name,
        "dataSource": check.data_source_scan.data_source.data_source_name,
    }


def _named_in_log(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the checks that are listed as not evaluated at the end of the log, and nowhere else."""
    table: dict[str, Any] = {}
    listed = False
    for line in map(said, content.get("logs") or ()):
        if not line.startswith(" "):
            listed, table = line.endswith("NOT EVALUATED: "), {}
        elif listed and (check := re.fullmatch(r" +(.+) \[NOT EVALUATED\]", line)):
            yield {"name": check[1], **table}
        elif listed and (title := re.fullmatch(r" {4}(\S.*?)(?: \[(.+)\])? in (.+)", line)):
            table = {"table": title[1], "filter": title[2], "dataSource": title[3]}
