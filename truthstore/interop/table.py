"""Tables of checks, made by hand or by any tool: a DataFrame, or a list of dicts, with one row for each check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import ParquetRows, column_names, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, read, result_fields, shares_failing, shortened
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.items.run_ids import derived_run_id
from truthstore.model.values import storable, text_of

__all__ = ["COLUMNS", "IMPORTER", "from_table"]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "name": ("validator_name", "check_name", "rule", "rule_name", "test_name", "test", "check", "name"),
    "column": ("column", "column_name", "columns", "field"),
    "success": ("success", "passed", "pass", "ok"),
    "status": ("status", "outcome", "result", "state"),
    "failed": (
        "failed",
        "failed_rows",
        "failed_count",
        "failures",
        "n_failed",
        "count",
        "violations",
        "unexpected_count",
    ),
    "checked": ("checked", "checked_rows", "checked_count", "rows", "n", "n_rows", "row_count", "total_rows", "total"),
    "observed": ("observed", "observed_value", "actual", "value"),
    "expected": ("expected", "threshold"),
    "severity": ("severity", "level", "criticality"),
    "owner": ("owner",),
    "message": ("message", "reason", "description"),
    "check_id": ("check_id",),
    "data_asset": ("data_asset", "asset", "table", "table_name", "dataset"),
    "run_id": ("run_id",),
    "run_time": ("run_time", "timestamp", "checked_at", "run_at", "executed_at", "time"),
    "suite": ("suite_name", "suite"),
    "duration": ("execution_time_ms", "duration_ms"),
}
"""What a column is called; the first name that a table has counts. Case, blanks and dashes do not."""

STATUSES: Final = {
    word: status
    for status, words in {
        "success": "success succeeded pass passed ok true yes valid 1",
        "failure": "failure failed fail false no invalid ko 0",
        "warning": "warning warn warned",
        "error": "error errored exception",
        "skipped": "skipped skip excluded disabled",
        "not_evaluated": "not_evaluated unknown none null",
    }.items()
    for word in words.split()
}
SEVERITIES: Final = {
    "fatal": "critical",
    "blocker": "critical",
    "error": "high",
    "warning": "medium",
    "warn": "medium",
    "info": "low",
}


def from_table(
    rows: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    tool: str = "table",
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert a table with one row for each check, into one result for each data asset and run.

    Columns are known by the names in `COLUMNS`; all others are kept in the details. A row needs a name, and a status, whether
    it passed, or at least how many rows failed. Where nothing of that is said, the check is ``not_evaluated``.

    Args:
        rows: a DataFrame of pandas or polars, a table of Arrow, a list of dicts, or the path of a file of JSON or Parquet.
        data_asset: name of the data checked; if None, the rows name it.
        tags: for queries.
        metadata: added to each result.
        tool: what ran the checks.
        **options: see `ImportOptions`.

    Raises:
        TypeError: it is no table of checks; the error says what is missing.
        ValueError: a row has a status that nobody knows, or one that contradicts the rest; or none names its data asset.
    """
    content, written = opened(rows)
    found = _rows_of(content)
    names = _names(found[0] if found else column_names(content))
    if "name" not in names or not names.keys() & {"status", "success", "failed"}:
        lacking = "name" if "name" not in names else "status"
        raise TypeError(f"a table of checks needs a column for the {lacking}, such as {', '.join(COLUMNS[lacking])}")
    if not found:
        raise ValueError("this table has no rows, so that nothing is known")
    runs: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for row in found:
        said = {what: row.get(name) for what, name in names.items()}
        said["rest"] = {name: value for name, value in row.items() if name not in names.values()}
        asset = data_asset or text_of("" if said.get("data_asset") is None else said["data_asset"])
        run = said.get("run_id")
        runs.setdefault((asset, None if run is None else text_of(run)), []).append(said)
    made = []
    for (asset, run), checks in runs.items():
        results = [_check(said) for said in checks]
        times = [time for said in checks if (time := time_of(said.get("run_time"), "run_time")) is not None]
        own_time: datetime | None = min(times, key=datetime.timestamp) if times else written
        suites = {suite for said in checks if (suite := said.get("suite")) is not None}
        fields = result_fields(
            results,
            tool=tool,
            data_asset=asset,
            run_id=None if run is None else derived_run_id(own_time if times else None, tool, asset, run),
            suite_name=suites.pop() if len(suites) == 1 else None,
            statistics=ResultStatistics.from_results(results),
            own_time=own_time,
            tags=tags,
            metadata=given(tool_run_id=run) | dict(metadata or {}),
            raw=checks if isinstance(content, list | ParquetRows) else content,
            **options,
        )
        made.append(ValidationResult(**fields))
    return made


def _check(said: Mapping[str, Any]) -> ValidatorResult:
    columns = _columns(said.get("column"))
    failed, checked = _whole(said.get("failed")), _whole(said.get("checked"))
    name, status = text_of(said["name"]), _status(said, failed)
    severity = None if said.get("severity") is None else text_of(said["severity"]).lower()
    result = ValidatorResult(
        validator_name=name,
        success=status == "success",
        column=", ".join(columns) or None,
        columns=tuple(columns) if len(columns) > 1 else None,
        count=failed,
        checked=checked,
        observed=_shown(said.get("observed")),
        expected=_shown(said.get("expected")),
        owner=_text(said.get("owner")),
        check_id=_text(said.get("check_id")),
        execution_time_ms=float(said.get("duration") or 0.0),
        details=given(**{str(key): value for key, value in said["rest"].items()}),
    )
    if result.success:
        return result
    result.status = status if status in {"warning", "skipped", "not_evaluated"} else None
    if status in {"failure", "warning", "error"}:
        result.issue_type = VALIDATOR_ERROR if status == "error" else name
        result.severity = None if severity is None else SEVERITIES.get(severity, severity)
        result.count = failed or 0
    message = _text(said.get("message"))
    result.message = shares_failing(failed, checked or 0, ()) if failed else status.replace("_", " ")
    if message is not None:
        result.details["sample_message"] = message
    return result


def _status(said: Mapping[str, Any], failed: int | None) -> str:
    """Return the status that a row says, or that follows from what passed or how many rows failed."""
    words = [said[what] for what in ("status", "success") if said.get(what) is not None]
    if not words:
        named = "status" in said or "success" in said
        return "not_evaluated" if named or failed is None else "failure" if failed else "success"
    found = []
    for word in words:
        plain = re.sub(r"[\W_]+", "_", text_of(int(word) if isinstance(word, float) else word).strip().lower())
        if plain not in STATUSES:
            known = ", ".join(sorted(STATUSES))
            raise ValueError(
                f"check {shortened(text_of(said['name']))!r}: {shortened(plain)!r} is no status of {known}"
            )
        found.append(STATUSES[plain])
    if len({status == "success" for status in found}) > 1:
        raise ValueError(f"check {shortened(text_of(said['name']))!r}: {found[0]} contradicts success={words[1]}")
    return found[0]


def _rows_of(content: Any) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts of storable values; what is not a number is missing."""
    if isinstance(content, ParquetRows):
        content = content.rows()
    elif callable(to_pylist := getattr(content, "to_pylist", None)):
        content = to_pylist()
    rows = storable(content)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise TypeError(f"expected a table or a list of dicts, not {type(content).__name__}")
    return [{name: None if value == "NaN" else value for name, value in row.items()} for row in rows]


def _names(columns: Any) -> dict[str, str]:
    """Return for each word of ours the name of the column that has it."""
    plain = {re.sub(r"[\W_]+", "_", str(name).strip().lower()): str(name) for name in columns}
    found = {what: next((plain[name] for name in names if name in plain), None) for what, names in COLUMNS.items()}
    if "pass_threshold" in plain and found["observed"] == plain.get("value"):
        found |= {"observed": None, "expected": plain["value"]}  # of cuallee, whose value is the one asked for
    return {what: name for what, name in found.items() if name is not None}


def _columns(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    is_several = isinstance(value, Sequence) and not isinstance(value, str)
    return [text_of(name) for name in value] if is_several else [text_of(value)]


def _whole(value: Any) -> int | None:
    """Return a number of rows; None if it is none, as 1.5 is not."""
    try:
        return (
            None if value is None or isinstance(value, bool) or float(value) != int(float(value)) else int(float(value))
        )
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(value: Any) -> str | float | None:
    return (
        value if value is None or (isinstance(value, int | float) and not isinstance(value, bool)) else text_of(value)
    )


def _text(value: Any) -> str | None:
    return None if value is None else text_of(value)


def _recognises(thing: Any) -> bool:
    columns = (
        thing.columns if isinstance(thing, ParquetRows) else column_names(thing) or read(thing, "column_names", ())
    )
    names = _names(columns) if not callable(columns) else {}
    return "name" in names and bool(names.keys() & {"status", "success", "failed"})


IMPORTER: Final = Importer(
    name="table",
    convert=from_table,
    recognises=_recognises,
    wants="a DataFrame or a list of dicts with the columns check and status, passed or failed",
    last=True,
)
