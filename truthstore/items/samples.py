"""What of the data itself a result keeps: samples are shown, hidden in some columns, or left out.

Importers put failing values into details that begin with ``sample_``, and a message that shows values into
``sample_message``, beside a `message` without any. Here it is decided which of them stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from truthstore.items.checks import ValidatorResult

__all__ = ["hide_samples"]

REDACTED: Final = "[REDACTED]"
OF_VALUES: Final = frozenset({"exception_traceback"})
"""Details that may hold values, beside those that begin with ``sample_``."""


def hide_samples(results: Iterable[ValidatorResult], *, samples: bool, redact: Iterable[str]) -> None:
    """Leave out or replace the values of the data in results, in place.

    Args:
        results: what an importer made.
        samples: keep failing values, and the messages that show them.
        redact: patterns of column names, in any case: ``"*email*"``. Values of those columns are replaced, and so are
            those of which nobody says the column.
    """
    patterns = [redact.lower()] if isinstance(redact, str) else [pattern.lower() for pattern in redact]
    for result in results:
        message = result.details.pop("sample_message", None)
        if not samples:
            result.details = {name: value for name, value in result.details.items() if not _is_value(name, value)}
        elif not patterns or not _redact(result, patterns):
            result.message = message or result.message


def _is_value(name: str, value: Any) -> bool:
    """Return whether a detail holds values; a measured list does, a measured number is a figure."""
    return _may_show(name) or (name == "observed_value" and isinstance(value, list | dict))


def _may_show(name: str) -> bool:
    return name.startswith("sample_") or name in OF_VALUES


def _redact(result: ValidatorResult, patterns: list[str]) -> bool:
    """Replace values that must not be seen; return whether the message may show one."""
    columns = result.columns or (() if result.column is None else result.column.split(", "))
    hidden = any(_matches(column, patterns) for column in columns)
    mask = hidden or not columns
    before = result.details
    result.details = {
        name: _masked(value, patterns, mask=mask and name != "sample_indexes")
        if _is_value(name, value) or (hidden and name == "observed_value")
        else value
        for name, value in before.items()
    }
    if hidden and result.observed is not None:
        result.observed = REDACTED
    return mask or result.details != before


def _masked(value: Any, patterns: list[str], *, mask: bool) -> Any:
    """Return a value with what belongs to a hidden column replaced: by the names in a row, or all of it."""
    if isinstance(value, Mapping):
        if value.keys() == {"value", "count"}:
            return {"value": _masked(value["value"], patterns, mask=mask), "count": value["count"]}
        return {
            name: REDACTED if _matches(name, patterns) else _masked(inner, patterns, mask=False)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner, patterns, mask=mask) for inner in value]
    return REDACTED if mask and value is not None else value


def _matches(column: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(column.lower(), pattern) for pattern in patterns)
