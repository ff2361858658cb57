"""The checks of a run as rows: the unit that people ask about."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreQueryError
from truthstore.items.checks import ValidatorResult, status_of
from truthstore.model.fields import MAX_INT, MIN_INT, to_microseconds
from truthstore.model.projection import Projection

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import FieldValue

__all__ = ["CHECKS", "check_ids", "has_checks", "identity", "require_checks"]

MAX_TEXT: Final = 1_000
"""So many characters of a text are kept in a row; the rest is in the result."""

FIELDS: Final[Mapping[str, type]] = {
    "check_id": str,
    "name": str,
    "column": str,
    "columns": str,
    "tool": str,
    "status": str,
    "severity": str,
    "owner": str,
    "failed": int,
    "checked": int,
    "observed": str,
    "expected": str,
    "execution_time_ms": float,
    "interval_start": datetime,
    "interval_end": datetime,
}

_to_json: Final = msgspec.json.Encoder(order="sorted", enc_hook=str).encode


def check_ids(result: Any) -> list[str]:
    """Return the identity of each check of a `ValidationResult`, in their order.

    It is what the tool calls the check, or else ``column name(parameters)``. Two that are equal get an ordinal, in the
    order of the document: ``amount not_null`` and ``amount not_null #2``.
    """
    seen: dict[str, int] = {}
    ids: list[str] = []
    for check in result.results:
        id = check.check_id or identity(check.validator_name, check.column, check.details.get("parameters"))
        if len(id) > MAX_TEXT or not id.isprintable():
            # What is cut off, such as the end of a long statement, must still tell two checks apart.
            cut = f"{id[: MAX_TEXT - 20]}… {zlib.crc32(id.encode(errors='replace')):08x}" if len(id) > MAX_TEXT else id
            id = _text(cut)
        number = seen.get(id, 0) + 1
        one = id if number == 1 else f"{id} #{number}"
        while one in seen:  # a tool may call a check so itself
            number += 1
            one = f"{id} #{number}"
        seen[id] = number
        seen.setdefault(one, 1)
        ids.append(one)
    return ids


def identity(name: str, column: str | None, parameters: Any) -> str:
    """Return what a check is known by that its tool gives no name: ``column name(parameters)``."""
    id = name if column is None else f"{column} {name}"
    return f"{id}({_to_json(parameters).decode()})" if parameters and isinstance(parameters, Mapping) else id


def _rows(result: Any) -> Iterator[tuple[FieldValue, ...]]:
    tool = result.metadata.get("tool")
    period = tuple(
        None if time is None else to_microseconds(time) for time in (result.interval_start, result.interval_end)
    )
    tool = _text(tool) if isinstance(tool, str) else None
    for id, check in zip(check_ids(result), result.results, strict=True):
        # Written out, for there are twenty of these in a run: a state that nothing but `success` says is not looked up.
        passed = check.success and check.status is None
        status = "success" if passed else status_of(check)._value_
        column, severity, columns, taken = check.column, check.severity, check.columns, check.execution_time_ms
        yield (
            id,
            _text(check.validator_name),
            None if column is None else _text(column),
            None if columns is None else _text(", ".join(columns)),
            tool,
            status,
            None if severity is None else _text(severity),
            None if check.owner is None else _text(check.owner),
            _failed(check, status),
            None if check.checked is None else _whole(check.checked),
            None if check.observed is None else _text(check.observed),
            None if check.expected is None else _text(check.expected),
            taken if taken and taken == taken else None,  # noqa: PLR0124  # a NaN is none, as in any index
            *period,
        )


def _failed(check: ValidatorResult, status: str) -> int | None:
    """Return how many values failed; None if nobody knows, which no figure stands for."""
    count = check.count
    if count is None or (not count and status != "success") or status in {"skipped", "not_evaluated"}:
        return None
    return _whole(count)


def _whole(value: int) -> int:
    """Return a number within the 64 bits that every index has."""
    return min(max(value, MIN_INT), MAX_INT)


def _text(value: str | float) -> str:
    """Return a text as every index can keep it, cut to its beginning if it is long."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return text if text.isprintable() else text.replace("\0", "\ufffd")


CHECKS: Final = Projection(
    name="checks",
    of=_rows,
    fields=FIELDS,
    item="run_id",
    inherits=("run_time", "data_asset", "suite_name"),
    series=("data_asset", "check_id"),
    lookups=(("check_id",), ()),
    content=("observed", "expected"),
    states=("status", "severity"),
    is_total=True,
)
"""The rows of the default collection."""


def has_checks(collection: Collection[Any]) -> bool:
    """Return whether the items of a collection have checks."""
    projection = collection.projection
    return projection is not None and projection.fields.keys() >= CHECKS.fields.keys()


def require_checks(collection: Collection[Any]) -> None:
    """Check that the items of a collection have checks.

    Raises:
        StoreQueryError: they have not.
    """
    if not has_checks(collection):
        raise StoreQueryError(
            f"{collection.name} holds no checks: ask a store of validation results", collection=collection.name
        )
