"""Great Expectations 1.x: results of a suite, of one expectation, of a checkpoint, and their JSON dicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Unpack

from truthstore.interop.great_expectations_checks import check_of
from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, read, result_fields
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import name_of, storable, text_of

__all__ = ["IMPORTER", "from_great_expectations", "from_great_expectations_checkpoint"]


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
    several columns names them joined by ``", "``. The number of rows that failed is 0 if a failure does not tell it, and None if a
    check passed under a tolerance. Values and indexes of failing rows are kept as far as the result
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
    results = [check_of(outcome) for outcome in found]
    notes = read(result, "meta", {})
    batch = notes.get("active_batch_definition") or {}
    own_time = time_of(notes.get("validation_time") or read(notes.get("run_id"), "run_time"))
    if own_time is None and isinstance(result, Mapping):  # a document, of which nothing else tells the time
        own_time = time_of(read(notes.get("batch_markers"), "ge_load_time"))
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

    Great Expectations keeps one result for each suite and batch id. A validation whose result was lost by that, such as that of the
    first of two files of one asset, follows at the end, as not evaluated.

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
    checkpoint = read(checkpoint_result, "checkpoint_config")
    name = read(checkpoint_result, "name") or read(checkpoint, "name")
    notes = given(checkpoint_name=name) | dict(metadata or {})
    results = [
        from_great_expectations(found, data_asset, tags=tags, metadata=notes, **options)
        for found in run_results.values()
    ]
    kept = {str(result.metadata.get("validation_id")) for result in results}
    for definition in read(checkpoint, "validation_definitions", ()):
        if results and str(read(definition, "id")) not in kept:
            results.append(_lost(definition, results[0], data_asset, tags, notes, options.get("run_time")))
    return results


def _lost(
    definition: Any,
    other: ValidationResult,
    data_asset: str | None,
    tags: Mapping[str, str] | None,
    metadata: Mapping[str, Any],
    run_time: datetime | None,
) -> ValidationResult:
    """Return the result of a validation whose place another one of the same run has taken."""
    name, suite = text_of(read(definition, "name")), read(definition, "suite")
    check = ValidatorResult(
        f"validation {name}",
        success=False,
        status="not_evaluated",
        message="Great Expectations lost this validation: it keeps one for each suite and batch id. Give its batch another asset",
    )
    fields = result_fields(
        [check],
        tool="great_expectations",
        tool_version=other.metadata.get("tool_version"),
        tool_run=(str(other.metadata["tool_run_id"]), "lost", str(read(definition, "id", name))),
        tool_metadata=given(validation_id=read(definition, "id"), checkpoint_id=other.metadata.get("checkpoint_id")),
        data_asset=data_asset or text_of(read(read(definition, "asset"), "name", other.data_asset)),
        suite_name=name_of(read(suite, "name")),
        own_time=other.run_time,
        run_time=run_time,
        tags=tags,
        metadata=metadata,
    )
    return ValidationResult(**fields)


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


def _extent(results: Iterable[ValidatorResult], table_check: str, figure: str = "") -> int:
    """Return the rows or columns of the table: the observed value of a check of just that, or the largest figure of any check."""
    largest = 0
    for result in results:
        observed = result.details.get("observed_value")
        if "row_condition" in result.details.get("kwargs", {}):
            continue  # it saw a part of the table
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
    batch = json.dumps(storable([notes.get("batch_parameters"), notes.get("active_batch_definition")]), sort_keys=True)
    rest = (suite_name, notes.get("validation_id"), notes.get("checkpoint_id"), batch)
    return ["/".join(str(part) for part in first if part is not None), *(str(part) for part in rest)]


def _from_either(thing: Any, data_asset: str | None, **options: Unpack[ImportOptions]) -> Any:
    if read(thing, "run_results") is not None:
        return from_great_expectations_checkpoint(thing, data_asset, **options)
    return from_great_expectations(thing, data_asset, **options)


def _recognises(thing: Any) -> bool:
    found = read(thing, "results")
    return made_by(thing, "great_expectations") or (
        _says_success(thing)
        and (
            _is_outcome(thing)
            or (isinstance(found, list) and all(map(_is_outcome, found)) and (bool(found) or "meta" in thing))
        )
    )


IMPORTER: Final = Importer(
    name="great_expectations",
    convert=_from_either,
    recognises=_recognises,
    wants="the result of a checkpoint, a suite or an expectation, its to_json_dict(), or a stored validation (JSON)",
)
