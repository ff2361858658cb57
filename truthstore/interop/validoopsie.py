"""Validoopsie: the results of a `Validate`, in which a second validation of one class on one column takes the place of the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Unpack

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import made_by, opened
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ValidatorResult
from truthstore.items.conversion import (
    ImportOptions,
    given,
    installed_version,
    read,
    result_fields,
    shares_failing,
    shortened,
)
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult
from truthstore.model.values import sample, text_of

__all__ = ["IMPORTER", "from_validoopsie"]

SUMMARY: Final = "Summary"
LOST: Final = "Validoopsie lost the figures: a later validation of the same class and column took their place"


def from_validoopsie(
    outcome: object,
    data_asset: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> ValidationResult:
    """Convert the results of Validoopsie.

    Every validation that the summary names is a check, in its order. One whose entry was overwritten by a later one of the same
    class and column keeps the verdict that the summary has, without figures, and says so. A validation whose column is missing is
    an error. The impact is the severity; a failure of low impact is a failure all the same, as in Validoopsie.

    Args:
        outcome: a `Validate`, its `results`, or the path of a file with them as JSON.
        data_asset: name of the data checked.
        run_id: the id to store it under; if None it is derived from the results.
        tags: for queries.
        metadata: added to the result's own.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `outcome` is none of these.
        ValueError: nothing was validated.
    """
    content, written = opened(outcome)
    found = content if isinstance(content, Mapping) else read(content, "results")
    if not _is_results(found):
        raise TypeError(f"expected the results of Validoopsie, not {type(content).__name__}")
    names, failed = list(found[SUMMARY]["validations"]), Counter(found[SUMMARY]["failed_validation"])
    if not names:
        raise ValueError("these results have no validations, so that nothing is known")
    last = {name: position for position, name in enumerate(names)}
    kept = {name: _check(found[name]) for name in last if name in found}
    failed -= Counter(name for name, check in kept.items() if not check.success)
    results: list[ValidatorResult] = []
    for position, name in enumerate(names):
        if name in kept and last[name] == position:
            results.append(kept[name])
        else:
            results.append(_lost(name, found.get(name, {}), failed=failed[name] > 0))
            failed[name] -= 1
    entries = [found[name] for name in last if name in found]
    times = [time for entry in entries if (time := time_of(entry.get("timestamp"), "timestamp")) is not None]
    fields = result_fields(
        results,
        tool="validoopsie",
        tool_version=installed_version("validoopsie"),
        statistics=ResultStatistics.from_results(
            results, total_rows=max((check.checked or 0 for check in results), default=0)
        ),
        data_asset=data_asset,
        run_id=run_id,
        own_time=min(times, default=written),
        tags=tags,
        metadata=metadata,
        raw=found,
        **options,
    )
    return ValidationResult(**fields)


def _check(entry: Mapping[str, Any]) -> ValidatorResult:
    said: Mapping[str, Any] = entry.get("result") or {}
    message, rows = text_of(said.get("message") or ""), said.get("frame_row_number")
    check = ValidatorResult(
        text_of(entry["validation"]),
        success=said.get("status") == "Success",
        column=None if entry.get("column") is None else text_of(entry["column"]),
        count=said.get("failed_number"),
        checked=rows,
        expected=None if not said.get("threshold") else f"at most {said['threshold']:.0%} failing",
        details=given(impact=entry.get("impact")),
    )
    if check.success:
        return check
    if said.get("status") != "Fail":
        check.status, check.count, check.checked, check.message = "not_evaluated", None, None, "it has no status"
        return check
    items = sample(said.get("failing_items") or ())
    check.details |= given(sample_values=items)
    if message.startswith("ERROR"):
        check.issue_type, check.count, check.message = VALIDATOR_ERROR, 0, "could not run"
        check.details |= given(sample_message=shortened(message, 1_000))
        return check
    check.status, check.severity, check.issue_type = "failure", entry.get("impact"), check.validator_name
    check.count = check.count or 0
    check.message = shares_failing(check.count, rows or 0, ())
    check.details |= given(sample_message=shares_failing(check.count, rows or 0, items))
    return check


def _lost(name: str, other: Mapping[str, Any], *, failed: bool) -> ValidatorResult:
    """Return a check of which the summary alone knows; another entry may tell its class and column."""
    kind, _, column = name.partition("_")
    check = ValidatorResult(
        text_of(other.get("validation") or kind),
        success=not failed,
        column=text_of(other.get("column") or column) or None,
        count=0 if failed else None,
        details={"lost": LOST},
    )
    if failed:
        check.issue_type, check.message = check.validator_name, LOST
    return check


def _is_results(thing: Any) -> bool:
    summary = thing.get(SUMMARY) if isinstance(thing, Mapping) else None
    return isinstance(summary, Mapping) and all(
        isinstance(summary.get(part), list) for part in ("validations", "failed_validation")
    )


IMPORTER: Final = Importer(
    name="validoopsie",
    convert=from_validoopsie,
    recognises=lambda thing: (
        _is_results(thing) or (made_by(thing, "validoopsie") and _is_results(read(thing, "results")))
    ),
    wants="a Validate, or its results",
)
