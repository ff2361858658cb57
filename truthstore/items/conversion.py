"""Shared by the modules of all tools: reading their objects, and making a result of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata as distributions
from typing import Any, Final, TypedDict
from xml.etree.ElementTree import Element, tostring

from truthstore.items.artefacts import ParquetRows
from truthstore.items.checks import ResultStatistics, ResultStatus, ValidatorResult
from truthstore.items.run_ids import derived_run_id, new_run_id
from truthstore.items.samples import hide_samples
from truthstore.model.values import capped, storable, storable_mapping, text_of

__all__ = [
    "ImportOptions",
    "given",
    "installed_version",
    "provenance",
    "read",
    "result_fields",
    "shares_failing",
    "shortened",
]


class ImportOptions(TypedDict, total=False):
    """What every ``from_<tool>`` takes as keywords.

    Attributes:
        run_time: when the checks ran; what the tool says if left out, or the time of its file, or now.
        samples: False leaves out failing values, and messages that show them.
        redact: patterns of column names, in any case, such as ``"*email*"``: values of these columns are replaced.
        keep_raw: True keeps all that the tool handed out, under ``metadata["raw"]``.
    """

    run_time: datetime | None
    samples: bool
    redact: Sequence[str]
    keep_raw: bool


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


PROVENANCE: Final = {
    "git_sha": re.compile(r"(^|_)(sha1?|commit|commit_id|revision|sourceversion)$"),
    "branch": re.compile(r"(^|_)(branch|branch_name|ref_name|sourcebranchname)$"),
    "ci_run": re.compile(r"(^|_)(run_id|build_id|buildid|build_number|pipeline_id|job_id)$"),
    "host": re.compile(r"(^|_)(host|hostname)$"),
}
"""Names under which people and CI systems say where a result comes from."""


def provenance(said: Mapping[str, Any] | None) -> dict[str, str]:
    """Return commit, branch, CI run and host from what an artefact says of its environment; anything else is left out."""
    found: dict[str, str] = {}
    for name, value in (said or {}).items():
        for meaning, pattern in PROVENANCE.items():
            if (
                pattern.search(re.sub(r"[^a-z0-9]+", "_", name.lower()))
                and isinstance(value, str | int)
                and value != ""
            ):
                found.setdefault(meaning, text_of(value))
    return found


def shares_failing(count: int, total: int, samples: Sequence[Any]) -> str:
    """Build a message for people: the number of values that failed, and examples."""
    share = f"{count:,} of {total:,} values" if total else f"{count:,} {'value' if count == 1 else 'values'}"
    different = dict.fromkeys(shortened(repr(value)) for value in samples if value is not None)
    return f"{share} failed" + (f", such as {', '.join(list(different)[:3])}" if different else "")


def shortened(text: str, length: int = 80) -> str:
    """Return a value as messages show it."""
    return text if len(text) <= length else text[: length - 1] + "…"


_DOCUMENTS: Final = (Mapping, list, tuple, str, ParquetRows, Element)


def _document(raw: Any) -> Any:
    """Return all that a tool handed out as builtins: XML as its text, a table as its rows."""
    if isinstance(raw, Element):
        return text_of(tostring(raw, encoding="unicode"))
    return storable(raw.rows() if isinstance(raw, ParquetRows) else raw)


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
    own_time: datetime | None = None,
    run_time: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    raw: Any = None,
    samples: bool = True,
    redact: Sequence[str] = (),
    keep_raw: bool = False,
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
        run_id: the id; if None it is derived from the asset and `tool_run`, or else from the content of a document
            (a dict, a list, a text or a file). What a process handed out without saying when, is a new run.
        own_time: when the checks ran, as the tool or its file says.
        run_time: the caller's word on that; now if both are None.
        tags: for queries.
        metadata: the caller's; wins over the tool's.
        environment: where it ran, as the tool says.
        raw: all that the tool handed out.
        samples: see `ImportOptions`.
        redact: see `ImportOptions`.
        keep_raw: see `ImportOptions`.
    """
    if not data_asset:
        raise ValueError(f"this {tool} result does not say what was checked: give data_asset")
    if keep_raw and (redact or not samples):
        raise ValueError("keep_raw keeps every value: it does not go with redact or samples=False")
    known_time = run_time or own_time
    when = known_time or datetime.now(UTC)
    document = _document(raw) if keep_raw or (run_id is None and not tool_run) else None
    if run_id is None:
        if tool_run:
            run_id = derived_run_id(when, tool, data_asset, *tool_run)
        elif document is None or not (known_time or isinstance(raw, _DOCUMENTS)):
            run_id = new_run_id(when)
        else:
            content = json.dumps(document, sort_keys=True, ensure_ascii=False)
            run_id = derived_run_id(known_time, tool, data_asset, content)
    hide_samples(results, samples=samples, redact=redact)
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
            **({"raw": document} if keep_raw else {}),
            **storable_mapping(metadata or {}),
        },
        "runtime_environment": given(**(environment or {})),
        "suite_name": None if suite_name is None else text_of(suite_name),
    }
