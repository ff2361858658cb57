"""datacontract-cli: the run of a test, or its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, read, result_fields, shares_failing, shortened
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import sample, storable, text_of

__all__ = ["IMPORTER", "from_datacontract"]

STATUSES: Final = {"warning": "warning", "failed": None, "error": None, "info": "skipped", "skipped": "skipped"}
"""What results other than passed become; any that is not here is none."""
BROKEN: Final = "Error evaluating check"


def from_datacontract(
    outcome: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert the run of a test of datacontract-cli, model by model.

    A check whose SQL broke is an error, although the tool says that it failed; so is one of the whole run, such as a file
    that is missing, and then the checks without a result are ``not_evaluated``. A required column that is missing fails once:
    the tool fills it with nulls and counts these too, which are ``not_evaluated`` here.

    Args:
        outcome: the `Run` that `DataContract.test()` returns, its dict, or the path of the file that
            ``datacontract test --output-format json`` writes.
        data_asset: name of the data checked, for all models; if None, each has its own.
        tags: for queries.
        metadata: added to the values kept of the run itself.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: it does not name a model, and `data_asset` is not given.
    """
    content, written = opened(outcome)
    if not _is_run(content):
        raise TypeError(f"expected a Run of datacontract-cli, not {type(content).__name__}")
    if callable(dump := getattr(content, "model_dump", None)):
        content = dump(mode="json")
    checks: list[Any] = read(content, "checks", [])
    absent = {
        (read(check, "model"), read(check, "field"))
        for check in checks
        if read(check, "type") == "field_is_present" and _result_of(check) == "failed"
    }
    # Errors of the whole run belong to every model.
    of_run = [check for check in checks if read(check, "model") is None]
    by_model: dict[str | None, list[Any]] = {}
    for check in checks:
        if (model := read(check, "model")) is not None:
            by_model.setdefault(text_of(model), []).append(check)
    started, ended = time_of(read(content, "timestampStart")), time_of(read(content, "timestampEnd"))
    verdict = text_of(read(content, "result", "unknown"))
    made = []
    for model, found in (by_model or {None: []}).items():
        results = [_check(check, absent) for check in (*found, *of_run)]
        rows = [r.checked for r in results if r.checked is not None]
        fields = result_fields(
            results
            or [ValidatorResult("data contract", success=False, status="not_evaluated", message="no check ran")],
            tool="datacontract-cli",
            tool_version=read(content, "datacontractCliVersion"),
            tool_run=(text_of(read(content, "runId")),) if read(content, "runId") is not None else (),
            tool_metadata=given(
                contract_version=read(content, "dataContractVersion"),
                server=read(content, "server"),
                result=verdict,
                data_product=read(content, "dataProductId"),
                dry_run=read(content, "dryRun") or None,
            ),
            statistics=ResultStatistics.from_results(
                results,
                total_rows=max(rows, default=0),
                execution_time_ms=(ended - started).total_seconds() * 1_000 if started and ended else 0.0,
            )
            if results
            else None,
            succeeded=False if verdict in {"failed", "error", "unknown"} else None,
            data_asset=data_asset or model or "",
            suite_name=read(content, "dataContractId"),
            own_time=started or written,
            tags=tags,
            metadata=metadata,
            raw=content,
            **options,
        )
        made.append(ValidationResult(**fields))
    return made


def _check(check: Any, absent: set[tuple[Any, Any]]) -> ValidatorResult:
    measured, reason = read(check, "diagnostics", {}), text_of(read(check, "reason", ""))
    kind, column, word = text_of(read(check, "type")), read(check, "field"), _result_of(check)
    value = measured.get("value")
    by_rows = measured.get("metric") in {"missing_count", "duplicate_count", "invalid_count"}
    result = ValidatorResult(
        validator_name=text_of(read(check, "name", kind)),
        success=word == "passed",
        column=None if column is None else text_of(column),
        count=measured.get("failed_rows", value) if by_rows else None,
        checked=measured.get("row_count"),
        check_id=read(check, "key"),
        observed=value if value is None or isinstance(value, str | int | float) else text_of(storable(value)),
        expected=measured.get("threshold"),
        details=given(
            type=kind,
            category=read(check, "category"),
            dimension=read(check, "dimension"),
            quality_id=read(check, "qualityId"),
            tags=read(check, "tags"),
            engine=read(check, "engine"),
            implementation=shortened(text_of(read(check, "implementation", "")), 1_000) or None,
            definition=read(check, "qualityDefinition"),
            measured=measured,
            sample_values=sample(read(check, "failedSamples", ())),
        ),
    )
    if result.success:
        result.count = result.count or 0
        return result
    result.status = STATUSES.get(word, "not_evaluated")
    if kind != "field_is_present" and (read(check, "model"), column) in absent:
        result.status, reason = "not_evaluated", "the column is missing"
    elif word == "error" or reason.startswith(BROKEN) or (kind == "general" and word == "failed"):
        result.issue_type, result.count, result.message = VALIDATOR_ERROR, 0, "could not run"
        result.details["sample_message"] = shortened(reason, 1_000)
        return result
    if result.status in {"skipped", "not_evaluated"}:
        result.count = result.checked = result.observed = None
        result.message = reason or result.status
        return result
    result.issue_type = kind
    result.message = shares_failing(result.count, result.checked or 0, ()) if result.count else reason or "failed"
    result.count = result.count or 0
    return result


def _result_of(check: Any) -> str:
    found = read(check, "result", "unknown")
    return text_of(getattr(found, "value", found)).lower()


def _is_run(thing: Any) -> bool:
    return read(thing, "datacontractCliVersion") is not None and isinstance(read(thing, "checks", []), list)


def _recognises(thing: Any) -> bool:
    return made_by(thing, "datacontract") or _is_run(thing)


IMPORTER: Final = Importer(
    name="datacontract-cli",
    convert=from_datacontract,
    recognises=_recognises,
    wants="the Run of a test, or its JSON",
)
