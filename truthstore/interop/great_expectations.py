"""Great Expectations 1.x: results of a suite, of one expectation, of a checkpoint, and their JSON dicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, read, result_fields, shares_failing
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import SAMPLE_SIZE, name_of, sample, storable, text_of

__all__ = ["IMPORTER", "from_great_expectations", "from_great_expectations_checkpoint"]

SEVERITIES: Final = {"critical": "critical", "warning": "medium", "info": "low"}
TRACEBACK_LENGTH: Final = 2_000


def from_great_expectations(
    result: object,
    data_asset: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    execution_time_ms: float | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert the result of Great Expectations for one suite, or for a single expectation.

    Every expectation becomes an entry. Severities: critical stays, warning becomes medium, info low; so a run in which
    only warnings failed has the status ``warning``. An expectation that raised is an error, not a failure. A check over
    several columns names them joined by ``", "``. Values and indexes of failing rows are kept as far as the result
    holds them (its `result_format` decides), 20 of each.

    Args:
        result: an `ExpectationSuiteValidationResult`, an `ExpectationValidationResult`, or the `to_json_dict()` of
            either.
        data_asset: name of the data checked; the asset's name in Great Expectations if None.
        run_id: the id to store it under. If None, it is derived from what Great Expectations knows of the run, so that
            the same run gets the same id again; `batch.validate()` gives no run id, and then it is new.
        tags: for queries.
        metadata: added to the values kept of the result itself.
        execution_time_ms: how long the run took, in milliseconds; Great Expectations does not say.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `result` is none of these.
        ValueError: it does not name its data asset, and `data_asset` is not given.
    """
    result, written = opened(result)
    if read(result, "expectation_config") is not None:
        found: Any = [result]
    elif read(result, "run_results") is not None:
        raise TypeError("a checkpoint has one result per suite: use from_great_expectations_checkpoint()")
    else:
        found = read(result, "results")
    # Other tools' reports have `results` too.
    if not _says_success(result) or not isinstance(found, list | tuple) or not all(map(_is_outcome, found)):
        raise TypeError(f"expected a result of Great Expectations, not {type(result).__name__}")
    results = [_expectation(outcome) for outcome in found]
    notes = read(result, "meta", {})
    batch = notes.get("active_batch_definition") or {}
    own_time = time_of(notes.get("validation_time") or read(notes.get("run_id"), "run_time"))
    suite_name = name_of(read(result, "suite_name"))
    asset = data_asset or read(result, "asset_name") or read(batch, "data_asset_name")
    fields = result_fields(
        results,
        tool="great_expectations",
        tool_version=notes.get("great_expectations_version"),
        tool_run=_identity(result, notes, suite_name),
        tool_metadata=given(
            batch=batch,
            batch_parameters=notes.get("batch_parameters"),
            validation_id=notes.get("validation_id"),
            checkpoint_id=notes.get("checkpoint_id"),
            suite_parameters=read(result, "suite_parameters"),
            result_url=read(result, "result_url"),
        ),
        statistics=ResultStatistics.from_results(
            results,
            total_rows=_extent(results, "expect_table_row_count", "element_count"),
            total_columns=_extent(results, "expect_table_column_count"),
            execution_time_ms=execution_time_ms,
        ),
        succeeded=read(result, "success"),
        data_asset="" if asset is None else text_of(asset),
        suite_name=suite_name,
        run_id=run_id,
        own_time=own_time or written,
        tags=tags,
        metadata=metadata,
        raw=result,
        **options,
    )
    return ValidationResult(**fields)


def from_great_expectations_checkpoint(
    checkpoint_result: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert each validation of a checkpoint, in its order.

    Args:
        checkpoint_result: a `CheckpointResult`.
        data_asset: name of the data checked, for all of them; if None, each keeps its own.
        tags: for queries.
        metadata: added to each; the checkpoint's name is kept as ``checkpoint_name``.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `checkpoint_result` is not one.
    """
    run_results = read(checkpoint_result, "run_results")
    if not isinstance(run_results, Mapping):
        raise TypeError(f"expected a CheckpointResult, not {type(checkpoint_result).__name__}")
    name = read(checkpoint_result, "name") or read(read(checkpoint_result, "checkpoint_config"), "name")
    notes = given(checkpoint_name=name) | dict(metadata or {})
    return [
        from_great_expectations(found, data_asset, tags=tags, metadata=notes, **options)
        for found in run_results.values()
    ]


def _says_success(result: Any) -> bool:
    return "success" in result if isinstance(result, Mapping) else hasattr(result, "success")


def _is_outcome(outcome: Any) -> bool:
    """Return whether this is the result of one expectation."""
    config = read(outcome, "expectation_config")
    return (
        _says_success(outcome)
        and isinstance(read(config, "type") or read(config, "expectation_type"), str)
        and all(isinstance(part, Mapping) for part in (read(config, "kwargs", {}), read(outcome, "result", {})))
    )


def _expectation(outcome: Any) -> ValidatorResult:
    config = read(outcome, "expectation_config", {})
    # A figure that is not a number was not measured.
    measured = {
        name: value
        for name, value in read(outcome, "result", {}).items()
        if not (isinstance(value, float) and isnan(value))
    }
    parameters = {name: value for name, value in read(config, "kwargs", {}).items() if name != "batch_id"}
    name = text_of(read(config, "type") or read(config, "expectation_type"))
    columns = _columns(parameters)
    success = bool(read(outcome, "success", default=False))
    result = ValidatorResult(
        validator_name=name,
        success=success,
        column=", ".join(columns) or None,
        # An expectation about the table as a whole counts one where it fails.
        count=int(measured.get("unexpected_count") or (0 if success or "unexpected_count" in measured else 1)),
        details=given(
            expectation_id=read(config, "id"),
            kwargs=parameters,
            columns=columns if len(columns) > 1 else None,
            severity=read(config, "severity"),
            description=read(config, "description"),
            notes=read(config, "notes"),
            meta=read(config, "meta"),
            **_measured(measured),
        ),
    )
    if success:
        return result
    severity = read(config, "severity")
    if raised := _exceptions(read(outcome, "exception_info", {})):
        result.issue_type, result.count = VALIDATOR_ERROR, 0
        result.message = "could not run"
        result.details["sample_message"] = "; ".join(dict.fromkeys(message for message, _ in raised))
        result.details["exception_traceback"] = raised[0][1][-TRACEBACK_LENGTH:]
    else:
        result.issue_type = name.removeprefix("expect_")
        result.message = _message(result, read(config, "description"), samples=False)
        result.details["sample_message"] = _message(result, read(config, "description"), samples=True)
    if severity is not None:
        word = str(getattr(severity, "value", severity)).lower()
        result.severity = SEVERITIES.get(word, word)
    return result


def _columns(parameters: Mapping[str, Any]) -> list[str]:
    """Return the columns of an expectation, under any of the parameters for them."""
    for one_or_more in (("column",), ("column_A", "column_B")):
        if all(isinstance(parameters.get(name), str) for name in one_or_more):
            return [text_of(parameters[name]) for name in one_or_more]
    several = parameters.get("column_list")
    return [text_of(name) for name in several] if isinstance(several, list | tuple) else []


def _measured(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the observed values: figures as they are, lists of failing values cut to a sample."""
    values = measured.get("unexpected_list") or measured.get("partial_unexpected_list") or ()
    indexes = measured.get("unexpected_index_list") or measured.get("partial_unexpected_index_list") or ()
    kept = ("observed_value", "element_count", "missing_count", "unexpected_percent", "unexpected_percent_nonmissing")
    return {
        "sample_values": sample(values),
        "sample_indexes": sample(indexes),
        "sample_counts": (measured.get("partial_unexpected_counts") or [])[:SAMPLE_SIZE],
        "result_details": measured.get("details"),
        **{name: measured.get(name) for name in kept},
    }


def _message(result: ValidatorResult, description: Any, *, samples: bool) -> str:
    details = result.details
    observed = details.get("observed_value")
    if "element_count" in details:
        shown = details.get("sample_values", ()) if samples else ()
        found = shares_failing(result.count or 0, details["element_count"], shown)
    elif observed is not None and (samples or not isinstance(observed, list | dict)):
        found = f"observed {observed}"
    else:
        found = "failed"
    return found if description is None else f"{text_of(description)}: {found}"


def _exceptions(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return message and traceback of the exception. The info is one exception, or one for each metric that failed."""
    entries = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, Mapping)]
    return [
        (
            text_of(entry.get("exception_message") or "unknown exception"),
            text_of(entry.get("exception_traceback") or ""),
        )
        for entry in entries
        if entry.get("raised_exception")
    ]


def _extent(results: Iterable[ValidatorResult], table_check: str, figure: str = "") -> int:
    """Return the rows or columns of the table: the observed value of a check of just that, or the largest figure of any check."""
    largest = 0
    for result in results:
        observed = result.details.get("observed_value")
        if result.validator_name.startswith(table_check) and isinstance(observed, int):
            return observed
        largest = max(largest, int(result.details.get(figure, 0)))
    return largest


def _identity(result: Any, notes: Mapping[str, Any], suite_name: str | None) -> list[str]:
    """Return the identity of this run, the tool's run id first; empty if the result has none."""
    run = notes.get("run_id")
    time, own = time_of(read(run, "run_time")), read(result, "id")
    if time is None and own is None:
        return []
    first = (read(run, "run_name"), time.isoformat() if time else None, own)
    batch = json.dumps(storable(notes.get("batch_parameters")), sort_keys=True)
    rest = (suite_name, notes.get("validation_id"), notes.get("checkpoint_id"), batch)
    return ["/".join(str(part) for part in first if part is not None), *(str(part) for part in rest)]


def _from_either(thing: Any, data_asset: str | None, **options: Unpack[ImportOptions]) -> Any:
    if read(thing, "run_results") is not None:
        return from_great_expectations_checkpoint(thing, data_asset, **options)
    return from_great_expectations(thing, data_asset, **options)


def _recognises(thing: Any) -> bool:
    found = read(thing, "results")
    return made_by(thing, "great_expectations") or (
        _says_success(thing) and (_is_outcome(thing) or (isinstance(found, list) and all(map(_is_outcome, found))))
    )


IMPORTER: Final = Importer(
    name="great_expectations",
    convert=_from_either,
    recognises=_recognises,
    wants="the result of a checkpoint, a suite or an expectation, its to_json_dict(), or a stored validation (JSON)",
)
