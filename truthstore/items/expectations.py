"""Expectations about data: suites of them, kept beside their results.

A suite belongs to one data asset. Kept in a versioned store, its history says who expected what, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from truthstore.items.item import Item
from truthstore.model.collection import Collection

__all__ = ["SUITES", "Expectation", "ExpectationSuite"]


class Expectation(Item, msgspec.Struct, omit_defaults=True):
    """One statement about the data, in the words of the tool that checks it.

    Attributes:
        expectation_type: the kind of check: ``expect_column_values_to_not_be_null``, ``not_null``, ``in_range``.
        column: the column it is about, or None for the whole table.
        kwargs: the parameters of the check.
        meta: notes, owner, links.
        enabled: it is to be checked.
        mostly: the fraction of values (0.0 to 1.0) that must hold, or None for all of them.

    Raises:
        ValueError: `mostly` is outside 0.0 to 1.0.
    """

    expectation_type: str
    column: str | None = None
    kwargs: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    enabled: bool = True
    mostly: float | None = None

    def __post_init__(self) -> None:
        if self.mostly is not None and not 0.0 <= self.mostly <= 1.0:
            raise ValueError(f"mostly is a fraction from 0.0 to 1.0, not {self.mostly}")


def _now() -> datetime:
    return datetime.now(UTC)


class ExpectationSuite(Item, msgspec.Struct, omit_defaults=True):
    """A named set of expectations about one data asset.

    Attributes:
        name: the id under which it is stored.
        data_asset: the data that the expectations are about: a table, a file, a topic.
        expectations: in the order in which they are checked.
        meta: notes, owner, links.
        created_at: when it was made; now, in UTC, if left out.
        updated_at: when it was last changed by `add_expectation`. A naive time means local time.
        tags: for queries.
    """

    name: str
    data_asset: str
    expectations: list[Expectation] = []
    meta: dict[str, Any] = {}
    created_at: datetime = msgspec.field(default_factory=_now)
    updated_at: datetime = msgspec.field(default_factory=_now)
    tags: dict[str, str] = {}

    @classmethod
    def create(
        cls,
        name: str,
        data_asset: str,
        expectations: Iterable[Expectation] = (),
        *,
        meta: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Self:
        """Build a suite, created and updated at this moment."""
        now = _now()
        return cls(name, data_asset, list(expectations), dict(meta or {}), now, now, dict(tags or {}))

    @property
    def id(self) -> str:
        """The id under which it is stored: `name`."""
        return self.name

    def add_expectation(self, expectation: Expectation) -> Self:
        """Append an expectation; return the suite, so that calls can be chained."""
        self.expectations.append(expectation)
        self.updated_at = _now()
        return self


SUITES: Collection[ExpectationSuite] = Collection.of(
    ExpectationSuite,
    name="suites",
    id="name",
    time="updated_at",
    tags="tags",
    index={"data_asset": str, "created_at": datetime},
    text=("name", "data_asset", "expectations.expectation_type", "expectations.column"),
)
"""The collection of expectation suites."""
