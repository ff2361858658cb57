"""Shared by the modules of all tools: reading their objects, and making a result of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata as distributions
from typing import Any

from truthstore.items.checks import ResultStatistics, ResultStatus, ValidatorResult
from truthstore.items.run_ids import derived_run_id, new_run_id
from truthstore.model.values import capped, storable_mapping, text_of

__all__ = ["given", "installed_version", "read", "result_fields", "shares_failing", "shortened"]


def read(source: Any, name: str, default: Any = None) -> Any:
    """Return the attribute of an object, or the entry of a dict; the default if it is missing or None."""
    value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    return default if value is None else value


def given(**values: Any) -> dict[str, Any]:
    """Return storable values: without None and empty containers, long lists cut to 100 entries."""
    kept: dict[str, Any] = capped(
        storable_mapping({name: value for name, value in values.items() if value is not None and not _empty(value)})
    )
    return kept


def _empty(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes) and len(value) == 0


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return distributions.version(distribution)
    except distributions.PackageNotFoundError:
        return None


def shares_failing(count: int, total: int, samples: Sequence[Any]) -> str:
    """Build a message for people: the number of values that failed, and examples."""
    share = f"{count:,} of {total:,} values" if total else f"{count:,} {'value' if count == 1 else 'values'}"
    different = dict.fromkeys(shortened(repr(value)) for value in samples if value is not None)
    return f"{share} failed" + (f", such as {', '.join(list(different)[:3])}" if different else "")


def shortened(text: str, length: int = 80) -> str:
    """Return a value as messages show it."""
    return text if len(text) <= length else text[: length - 1] + "…"


def result_fields(
    results: list[ValidatorResult],
    *,
    tool: str,
    data_asset: str,
    tool_version: str | None = None,
    tool_run: Sequence[str] = (),
    tool_metadata: Mapping[str, Any] | None = None,
    statistics: ResultStatistics | None = None,
    succeeded: bool | None = None,
    suite_name: str | None = None,
    run_id: str | None = None,
    run_time: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the fields of the `ValidationResult` that a ``from_<tool>`` function returns.

    Args:
        results: the results of the checks.
        tool: name of the tool.
        data_asset: the data checked.
        tool_version: its version, if known.
        tool_run: identity of this run among all of the tool, its own run id first; empty if it has none.
        tool_metadata: further values kept of the tool's result.
        statistics: the figures; counted from `results` if None.
        succeeded: the tool's own verdict. If it says no where nothing failed, the status is failure all the same.
        suite_name: name of the suite or schema.
        run_id: the id; if None it is derived from `tool_run` and the asset, or else new.
        run_time: when the checks ran; now if None.
        tags: for queries.
        metadata: the caller's; wins over the tool's.
    """
    if not data_asset:
        raise ValueError(f"this {tool} result does not say what was checked: give data_asset")
    when = run_time or datetime.now(UTC)
    if run_id is None:
        run_id = derived_run_id(when, tool, data_asset, *tool_run) if tool_run else new_run_id(when)
    status = ResultStatus.of(results)
    if succeeded is False and status is ResultStatus.SUCCESS:
        status = ResultStatus.FAILURE
    return {
        "run_id": run_id,
        "run_time": when,
        "data_asset": data_asset,
        "status": status,
        "results": results,
        "statistics": statistics or ResultStatistics.from_results(results),
        "tags": dict(tags or {}),
        "metadata": {
            **given(tool=tool, tool_version=tool_version, tool_run_id=tool_run[0] if tool_run else None),
            **storable_mapping(tool_metadata or {}),
            **storable_mapping(metadata or {}),
        },
        "suite_name": None if suite_name is None else text_of(suite_name),
    }
