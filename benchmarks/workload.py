"""What the benchmarks store: results of 20 checks, about 5 kB of JSON, three tags, spread over 50 assets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import truthound.stores as peer
from truthound.stores import results as peer_results

from truthstore import ResultStatus, ValidationResult, ValidatorResult

ASSETS = 50
CHECKS = 20
STATUSES = ("success", "failure", "success", "warning", "success")
START = datetime(2026, 1, 1, tzinfo=UTC)


def result(number: int) -> ValidationResult:
    """The result with this number: newer than the one before, for the next asset."""
    return ValidationResult(
        run_id=f"run-{number:08d}",
        run_time=START + timedelta(seconds=number),
        data_asset=f"warehouse.sales.table_{number % ASSETS:02d}",
        status=ResultStatus(STATUSES[number // ASSETS % len(STATUSES)]),
        results=[_check(number, position) for position in range(CHECKS)],
        tags={"environment": "production", "team": f"team-{number % 7}", "pipeline": f"nightly-{number % 11}"},
    )


def results(count: int, start: int = 0) -> Iterator[ValidationResult]:
    """So many results, one after the other."""
    return map(result, range(start, start + count))


def _check(number: int, position: int) -> ValidatorResult:
    success = (number + position) % 4 != 0
    return ValidatorResult(
        validator_name="between" if position % 2 else "not_null",
        success=success,
        column=f"amount_{position:02d}",
        issue_type=None if success else "out_of_range",
        count=0 if success else 17 + position,
        severity=None if success else "high",
        message=f"amount_{position:02d} lies between 0 and 1,000 in all rows but {number % 1_000}",
        details={"minimum": 0, "maximum": 1_000, "observed": [position, number % 1_000], "fraction": 0.125},
        execution_time_ms=1.5 + position,
    )


def peer_result(number: int) -> Any:
    """The same result as Truthound's own class."""
    ours = result(number)
    figures = ours.statistics
    return peer_results.ValidationResult(
        run_id=ours.run_id,
        run_time=ours.run_time,
        data_asset=ours.data_asset,
        status=peer_results.ResultStatus(ours.status.value),
        results=[
            peer_results.ValidatorResult(
                validator_name=check.validator_name,
                success=check.success,
                column=check.column,
                issue_type=check.issue_type,
                count=check.count or 0,
                severity=check.severity,
                message=check.message,
                details=check.details,
                execution_time_ms=check.execution_time_ms,
            )
            for check in ours.results
        ],
        statistics=peer_results.ResultStatistics(
            **{field.name: getattr(figures, field.name) for field in fields(peer_results.ResultStatistics)},
        ),
        tags=ours.tags,
    )


def peer_folder(folder: Path, count: int) -> Any:
    """Truthound's filesystem store with so many results in it.

    It saves the first by itself. Saving the rest through it would take minutes, because every save writes its list of
    results anew; so their files and their lines in that list are copies of the first, with the numbers changed.
    """
    store = peer.get_store("filesystem", base_path=str(folder))
    store.save(peer_result(0))
    (listing,) = folder.rglob("_index.json")
    first = result(0)
    (file,) = folder.rglob(f"{first.run_id}*")
    document = file.read_text()
    ((_, line),) = json.loads(listing.read_text()).items()
    lines = {}
    for number in range(count):
        one = result(number)
        own = {"data_asset": one.data_asset, "run_time": one.run_time.isoformat(), "status": one.status.value}
        lines[one.run_id] = line | own | {"file": file.name.replace(first.run_id, one.run_id), "tags": one.tags}
        file.with_name(file.name.replace(first.run_id, one.run_id)).write_text(
            document.replace(first.run_id, one.run_id)
        )
    listing.write_text(json.dumps(lines, indent=2))
    reopened = peer.get_store("filesystem", base_path=str(folder))
    if len(reopened.list_ids()) != count:
        raise RuntimeError(f"the peer sees {len(reopened.list_ids())} of {count} results")
    return reopened
