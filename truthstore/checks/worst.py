"""The worst columns, checks, assets or teams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from truthstore.checks.figures import figures

if TYPE_CHECKING:
    from truthstore.checks.query import CheckQuery
    from truthstore.checks.reading import Reading

__all__ = ["Ranked", "worst"]


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A column, check, asset or tag value, and how often its checks did not pass.

    Attributes:
        value: the column, check, asset or tag value.
        count: outcomes of its checks that were not skipped.
        unsuccessful: those among them that did not pass.
        pass_rate: those that passed, as a fraction (0.0 to 1.0) of `count`.
    """

    value: Any
    count: int
    unsuccessful: int
    pass_rate: float


def worst(reading: Reading, by: str, limit: int, query: CheckQuery) -> list[Ranked]:
    """Return what passes least; what always passes, or has no name, is left out."""
    name = "check_id" if by == "check" else by
    rows = figures(reading, query, [name, "status"], None, "count")
    passed: dict[Any, int] = {}
    count: dict[Any, int] = {}
    for row in rows:
        if row[name] is not None and row["status"] != "skipped":
            count[row[name]] = count.get(row[name], 0) + row["count"]
            passed[row[name]] = passed.get(row[name], 0) + (row["count"] if row["status"] == "success" else 0)
    ranked = [
        Ranked(value=value, count=all, unsuccessful=all - passed[value], pass_rate=passed[value] / all)
        for value, all in count.items()
        if passed[value] < all
    ]
    return sorted(ranked, key=lambda one: (one.pass_rate, -one.unsuccessful, one.value))[:limit]
