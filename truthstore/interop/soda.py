"""Soda: verifications of contracts (Soda 4), and scans or the file of their results (Soda 3)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.interop.soda_outcomes import PASSED, add_errors, duration_ms, judged, said, word_of
from truthstore.interop.soda_scan import is_scan, results_of_scan
from truthstore.items.artefacts import opened
from truthstore.items.checks import ResultStatistics, ValidatorResult
from truthstore.items.conversion import (
    ImportOptions,
    given,
    installed_version,
    read,
    result_fields,
)
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import text_of

__all__ = ["IMPORTER", "from_soda"]

SIGNS: Final = {
    "must_be": "=",
    "must_not_be": "!=",
    "must_be_greater_than": ">",
    "must_be_greater_than_or_equal": ">=",
    "must_be_less_than": "<",
    "must_be_less_than_or_equal": "<=",
}
ERROR_LEVEL: Final = 40


def from_soda(
    outcome: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert what Soda found, table by table.

    The verdict follows from the outcomes of the checks, never from Soda's own flags, which hang on its log. A check without
    an outcome is ``not_evaluated``; one that failed without a value could not run; one that is left out is ``skipped``.
    Errors that belong to no check make an entry of their own where all the others passed.

    Args:
        outcome: of Soda 4 the result of `verify_contract_locally()` or one of its `results`; of Soda 3 the `Scan`, its
            `get_scan_results()`, or the path of the file with these. The file leaves out the checks that could not be
            evaluated: they are found by name in its log.
        data_asset: name of the data checked, for all tables; if None, each has its own.
        tags: for queries.
        metadata: added to the values kept of Soda's own.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
    """
    content, written = opened(outcome)
    more: dict[str, Any] = {"tags": tags, "metadata": metadata, **options}
    if _is_contract(content):
        return [_contract(content, data_asset, more)]
    if _is_session(content):
        return [_contract(found, data_asset, more) for found in read(content, "results")]
    if is_scan(content):
        return results_of_scan(content, data_asset, written, more)
    raise TypeError(f"expected a verification or a scan of Soda, not {type(content).__name__}")


def _contract(found: Any, data_asset: str | None, options: dict[str, Any]) -> ValidationResult:
    collection = read(found, "check_collection")
    started, ended = time_of(read(found, "started_timestamp")), time_of(read(found, "ended_timestamp"))
    errors = [said(log) for log in read(found, "log_records", ()) if read(log, "levelno", 0) >= ERROR_LEVEL]
    if not errors and word_of(read(found, "status")) == "error":
        errors = [text_of(read(found, "error", "Soda does not say what went wrong"))]
    entries = list(read(found, "check_results"))
    results = [_contract_check(entry, errors) for entry in entries]
    add_errors("contract", results, errors)
    run = read(found, "scan_id") or (started and started.isoformat())
    name = read(collection, "soda_qualified_dataset_name")
    rows = [_figures(entry).get("dataset_rows_tested") for entry in entries]
    fields = result_fields(
        results,
        tool="soda",
        tool_version=installed_version("soda-core"),
        tool_run=() if run is None else (text_of(run), text_of(name)),
        tool_metadata=given(dataset=name, data_timestamp=read(found, "data_timestamp")),
        statistics=ResultStatistics.from_results(
            results,
            total_rows=max((n for n in rows if n is not None), default=0),
            execution_time_ms=duration_ms(started, ended),
        ),
        data_asset=data_asset or text_of(read(collection, "dataset_name", "")),
        own_time=started,
        raw={
            "status": word_of(read(found, "status")),
            "check_collection": collection,
            "check_results": [entry if isinstance(entry, Mapping) else vars(entry) for entry in entries],
            "errors": errors,
        },
        **options,
    )
    return ValidationResult(**fields)


def _contract_check(entry: Any, errors: list[str]) -> ValidatorResult:
    check, figures, value = read(entry, "check"), _figures(entry), read(entry, "threshold_value")
    kind, attributes = text_of(read(check, "type")), read(check, "attributes", {})
    declared = _declared(read(check, "definition", ""))
    thresholds = [limit for name in ("threshold", "warn_threshold") if (limit := read(check, name)) is not None]
    result = ValidatorResult(
        validator_name=text_of(read(check, "name", kind)),
        success=word_of(read(entry, "outcome")) in PASSED,
        column=read(check, "column_name"),
        count=figures.get(f"{kind}_count"),
        check_id=read(check, "identity"),
        checked=figures.get("check_rows_tested"),
        observed=float(value) if isinstance(value, Decimal) else value,
        expected="; ".join(filter(None, map(_limits, thresholds))) or None,
        owner=attributes.get("owner"),
        details=given(
            type=kind,
            path=read(check, "check_path") or read(check, "relative_path"),
            parameters={name: part for name, part in declared.items() if name not in _NO_PARAMETERS},
            definition=read(check, "definition"),
            attributes=attributes,
            figures=figures,
            missing_columns=read(entry, "expected_column_names_not_actual"),
            unexpected_columns=read(entry, "actual_column_names_not_expected"),
            wrong_types=read(entry, "column_data_type_mismatches"),
        ),
    )
    return judged(result, word_of(read(entry, "outcome")), kind, errors, columns=declared.get("columns") or ())


_NO_PARAMETERS: Final = frozenset({"name", "threshold", "attributes", "qualifier"})


def _declared(definition: str) -> dict[str, Any]:
    """Return the body of the check from the piece of the contract that defines it."""
    import yaml

    try:
        tree = yaml.safe_load(definition)
        while "checks" not in tree:
            tree = tree["columns"][0]
        return dict(tree["checks"][0])
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError):
        return {}


def _limits(threshold: Any) -> str:
    parts = [f"{sign} {limit}" for name, sign in SIGNS.items() if (limit := read(threshold, name)) is not None]
    return ("warn if not " if read(threshold, "level") == "warn" else "") + " and ".join(parts) if parts else ""


def _figures(entry: Any) -> dict[str, Any]:
    figures = read(entry, "diagnostic_metric_values")
    return dict(figures) if isinstance(figures, Mapping) else dict(getattr(figures, "__dict__", {}))


def _is_contract(thing: Any) -> bool:
    return isinstance(read(thing, "check_results"), list) and read(thing, "check_collection") is not None


def _is_session(thing: Any) -> bool:
    found = read(thing, "results")
    return isinstance(found, list) and bool(found) and all(map(_is_contract, found))


def _recognises(thing: Any) -> bool:
    return _is_contract(thing) or _is_session(thing) or is_scan(thing)


IMPORTER: Final = Importer(
    name="soda",
    convert=from_soda,
    recognises=_recognises,
    wants="the result of a contract verification (Soda 4), a Scan or its results file (Soda 3)",
)
