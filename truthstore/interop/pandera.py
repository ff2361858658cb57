"""Pandera: the errors of a schema's validation, or its success; schemas of pandas and of polars."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.interop.pandera_failures import failure_of
from truthstore.interop.pandera_schema import (
    DeclaredCheck,
    absent_columns,
    declared_checks,
    is_table,
    several_of,
)
from truthstore.items.artefacts import column_names, made_by
from truthstore.items.checks import ResultStatistics, ValidatorResult
from truthstore.items.conversion import (
    ImportOptions,
    given,
    installed_version,
    read,
    result_fields,
)
from truthstore.items.results import ValidationResult
from truthstore.items.run_ids import new_run_id
from truthstore.model.values import name_of

__all__ = ["IMPORTER", "from_pandera"]

FAILURE_CASES: Final = frozenset({"schema_context", "check", "failure_case"})
REFUSED: Final = (BaseException, Mapping, list, tuple, str, bytes, int, float)


def from_pandera(
    outcome: object,
    data_asset: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    schema: object = None,
    lazy: bool = True,
    depth: str | None = None,
    head: int | None = None,
    tail: int | None = None,
    sample: int | None = None,
    execution_time_ms: float | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert the errors raised by a pandera schema's `validate`, or the table returned.

    Checks that failed come from the errors, checks that passed from the schema: what it demands and no error mentions.
    Pandera has no severities: what concerns the shape of the table (a missing column, a wrong type) is critical, what
    concerns values is high. A check that raised is an error, not a failure. Failing values are kept, 20 of each check;
    their indexes too, with pandas. Pandera names neither a run nor its time, so every conversion gets a new id.

    What did not run is not evaluated, and has not passed: checks of columns that are missing, all where validation is disabled, checks of
    values where its depth leaves them out (as with a polars LazyFrame), where it looked at a part of the table, or where invalid rows
    were dropped. pandera's objects do not say so: convert under the configuration that validation had, or give `depth`, and `head`,
    `tail` or `sample` as you gave them to `validate`. Checks with `raise_warning`, which only warn, are not listed; their names are kept
    in the metadata as ``unreported_checks``.

    Args:
        outcome: a `SchemaErrors` or `SchemaError`, or, if validation succeeded, the table that it returned, or None.
        data_asset: name of the data checked.
        run_id: the id to store it under; a new one if None.
        tags: for queries.
        metadata: added to the result's own.
        schema: the schema, or a model class. Needed to list the checks that passed; `SchemaErrors` brings its own, and so does a
            table that passed.
        lazy: validation ran with ``lazy=True``. If not, pandera stopped at the first failure, and nothing is
            known of the other checks. A `SchemaError` is never lazy.
        depth: ``"SCHEMA_ONLY"``, ``"DATA_ONLY"`` or ``"SCHEMA_AND_DATA"``; pandera's configuration of now if None.
        head: as given to `validate`.
        tail: as given to `validate`.
        sample: as given to `validate`.
        execution_time_ms: how long validation took, in milliseconds; pandera does not say.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: `outcome` is a success that does not say what was checked, and `schema` is not given, or errors that were
            pickled, which keep texts alone; or a table that cannot have passed.
    """
    if callable(to_schema := getattr(schema, "to_schema", None)):
        schema = to_schema()
    errors: list[Any] = getattr(outcome, "schema_errors", None) or []
    if not errors and hasattr(outcome, "reason_code"):
        errors, lazy = [outcome], False
    if not errors and isinstance(outcome, REFUSED):
        raise TypeError(
            f"expected what pandera's validate raised or returned (SchemaErrors, SchemaError, a table or None), "
            f"not {type(outcome).__name__}; of an error give the error itself, not its args, message or data"
        )
    if column_names(outcome) >= FAILURE_CASES:
        raise TypeError(
            "this is a table of failure cases, not what validate returned: give the SchemaErrors that holds it"
        )
    if any(isinstance(error.schema, str) for error in errors):
        raise ValueError(
            "these errors were pickled, which keeps texts alone: convert them in the process that validated"
        )
    table = read(outcome, "data") if errors else outcome
    if schema is None:
        # A table that passed keeps the schema that it passed.
        schema = (
            read(outcome, "schema") if hasattr(outcome, "schema_errors") else read(read(outcome, "pandera"), "schema")
        )
    if schema is None and not errors:
        raise ValueError("nothing says what was checked: give schema")
    rows, columns = _shape(table)
    failed = [failure_of(error, rows) for error in errors]
    declared = [] if schema is None or (errors and not lazy) else declared_checks(schema, table)
    if not errors and (absent := absent_columns(schema, table)):
        raise ValueError(
            f"this table has no column {absent[0]!r:.80}, so it did not pass: give the error that was raised"
        )
    is_part = head is not None or tail is not None or sample is not None
    depth, why = _depth(outcome, table, schema, depth, is_part=is_part)
    results = _others(declared, failed, depth, why, in_pandas=not made_by(table, "polars")) + failed
    for check in results:
        check.check_id = ".".join(filter(None, (name_of(read(schema, "name")), check.column, check.validator_name)))
    fields = result_fields(
        results,
        tool="pandera",
        tool_version=installed_version("pandera"),
        tool_metadata=given(
            unreported_checks=[check.label for check in declared if check.warns],
            schema_title=read(schema, "title"),
            schema_metadata=read(schema, "metadata"),
            complete=None if lazy or not errors else False,
        ),
        statistics=ResultStatistics.from_results(
            results, total_rows=rows, total_columns=columns, execution_time_ms=execution_time_ms
        ),
        data_asset=data_asset or "",
        suite_name=name_of(read(schema, "name")),
        run_id=run_id or new_run_id(options.get("run_time")),
        tags=tags,
        metadata=metadata,
        raw=read(outcome, "failure_cases") if errors else None,
        **options,
    )
    return ValidationResult(**fields)


def _others(
    declared: list[DeclaredCheck], failed: list[ValidatorResult], depth: str, why: str, *, in_pandas: bool
) -> list[ValidatorResult]:
    """Return the declared checks that no error mentions: as passed if they ran, else as not evaluated."""
    missing = {result.column for result in failed if result.validator_name == "column_in_dataframe"}
    mentioned = {(result.column, result.validator_name) for result in failed}
    # These two fail column by column, but are demanded of the whole table.
    mentioned |= {(None, name) for _, name in mentioned if name in {"column_in_schema", "column_ordered"}}
    others: list[ValidatorResult] = []
    for check in declared:
        if check.warns or (check.column, check.name) in mentioned:
            continue
        # To pandera, missing values in pandas are a matter of the schema.
        of_values = check.of_values and not (in_pandas and check.name == "not_nullable")
        ran = check.column not in missing and depth in {"SCHEMA_AND_DATA", "DATA_ONLY" if of_values else "SCHEMA_ONLY"}
        passed = ValidatorResult(
            check.name, success=ran, column=check.column, columns=several_of(check.column), details=check.details
        )
        if not ran:
            passed.status = "not_evaluated"
            passed.message = "the column is missing" if check.column in missing else why
        others.append(passed)
    return others


def _depth(outcome: Any, table: Any, schema: Any, said: str | None, *, is_part: bool) -> tuple[str, str]:
    """Return what ran, in pandera's words or ``NOTHING``, and why not all.

    Little in the outcome says it: so it is what the caller says, or else the configuration that holds now.
    """
    module = sys.modules.get("pandera.config")
    config = None if module is None else module.get_config_context(None)
    found_in_data = "DATA" in (read(outcome, "message", ()) if hasattr(outcome, "schema_errors") else ())
    depth = said or read(read(config, "validation_depth"), "value")
    if depth is None:
        depth = "SCHEMA_ONLY" if type(table).__name__ == "LazyFrame" and not found_in_data else "SCHEMA_AND_DATA"
    if not hasattr(outcome, "reason_code") and not hasattr(outcome, "schema_errors"):
        if read(schema, "drop_invalid_rows"):
            return "SCHEMA_ONLY", "rows may have been dropped"
        marked = read(read(table, "pandera"), "schema") is not None
        if is_table(schema) and read(table, "pandera") is not None and not marked:
            return "NOTHING", "validation was disabled, or this is not the table that it returned"
        if said is None and read(config, "validation_enabled", default=True) is False:
            return "NOTHING", "validation was disabled"
    if is_part:
        return ("NOTHING" if depth == "DATA_ONLY" else "SCHEMA_ONLY"), "validation looked at a part of the table"
    return str(depth).upper(), f"validation had the depth {depth}"


def _shape(table: Any) -> tuple[int, int]:
    """Return rows and columns of a table, 0 if they are not known without computing it."""
    shape = getattr(table, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return 0, 0
    return int(shape[0]), int(shape[1]) if len(shape) > 1 else 1


def _recognises(thing: Any) -> bool:
    return (
        made_by(thing, "pandera")
        or column_names(thing) >= FAILURE_CASES
        or read(read(thing, "pandera"), "schema") is not None
    )


IMPORTER: Final = Importer(
    name="pandera",
    convert=from_pandera,
    recognises=_recognises,
    wants="SchemaErrors, SchemaError or a table that a schema has validated",
)
