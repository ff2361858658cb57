"""The query of checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from truthstore.errors import StoreQueryError
from truthstore.items.checks import CheckStatus
from truthstore.model.query import TIME_ALIAS, StoreQuery

__all__ = ["ALL", "CheckQuery"]

PLAIN: Final = ("name", "column", "tool", "severity", "run_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckQuery:
    """Conditions, order and page of a search for checks. Every condition must hold; one that is not given always holds.

    `check_id` finds what was recorded under an alias too, and `owner` heeds whom a check was assigned to. `where` and
    `order_by` look at what the runs recorded.

    Attributes:
        data_asset: the data checked.
        check_id: identity of the check, old or new.
        name: the rule.
        column: the column.
        tool: the tool.
        status: one of `CheckStatus`, or several.
        severity: the severity.
        owner: the owner.
        run_id: the run.
        tags: tags of the run.
        start_time: earliest run time, inclusive; a naive time means local time.
        end_time: latest run time, inclusive.
        where: conditions on the fields of checks, as in `StoreQuery`.
        order_by: a field of checks, or ``id``: the run's id and the check's place in it.
        ascending: smallest first.
        limit: at most so many; None means all, 0 none.
        after: continue after the check for which `Checks.cursor` made this.

    Raises:
        StoreQueryError: no check has such a status, or two conditions on one field.
        TypeError, ValueError: a value of the wrong type, or a negative limit.
    """

    data_asset: str | None = None
    check_id: str | None = None
    name: str | None = None
    column: str | None = None
    tool: str | None = None
    status: str | Iterable[str] | None = None
    severity: str | None = None
    owner: str | None = None
    run_id: str | None = None
    tags: Mapping[str, str] | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    where: Mapping[str, Any] | None = None
    order_by: str = TIME_ALIAS
    ascending: bool = False
    limit: int | None = None
    after: str | None = None

    def __post_init__(self) -> None:
        if self.status is not None:
            several = (self.status,) if isinstance(self.status, str) else tuple(self.status)
            object.__setattr__(self, "status", tuple(map(_status, several)))
        for name in (*PLAIN, "check_id", "owner"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a string, not {type(value).__name__}")
        self.stored((self.check_id,) if self.check_id is not None else (), self.owner)  # which checks the rest

    def stored(self, recorded: Iterable[str], owner: str | None) -> StoreQuery:
        """Return the query of the rows.

        Args:
            recorded: the identities under which the check may have been recorded; without any, all.
            owner: the owner that must have been recorded.
        """
        wanted: dict[str, Any] = {name: value for name in PLAIN if (value := getattr(self, name)) is not None}
        if ids := tuple(recorded):
            wanted["check_id"] = ids[0] if len(ids) == 1 else ("in", ids)
        if self.status is not None:
            several = tuple(self.status)
            wanted["status"] = several[0] if len(several) == 1 else ("in", several)
        if owner is not None:
            wanted["owner"] = owner
        where = self.where or {}
        if twice := sorted(wanted.keys() & where.keys()):
            raise StoreQueryError(f"{twice[0]} is given twice, also in where: give one condition")
        _check_where(where)
        return StoreQuery(
            data_asset=self.data_asset,
            start_time=self.start_time,
            end_time=self.end_time,
            tags=self.tags,
            where={**where, **wanted},
            order_by=self.order_by,
            ascending=self.ascending,
            limit=self.limit,
            after=self.after,
        )


def _check_where(where: Mapping[str, Any]) -> None:
    """Refuse a comparison with a status that no check can have."""
    given = where.get("status")
    if isinstance(given, str):
        _status(given)
    elif isinstance(given, tuple | list) and len(given) == 2:  # noqa: PLR2004  # operator and value
        sign, value = given
        for one in value if sign == "in" and not isinstance(value, str) else (value,):
            if one is not None and sign in {"==", "!=", "in"}:
                _status(one)


def _status(value: Any) -> str:
    try:
        return CheckStatus(value).value
    except ValueError:
        raise StoreQueryError(f"no check has the status {value!r:.80}, only {', '.join(CheckStatus)}") from None


ALL: Final = CheckQuery()
"""All checks of all runs, newest first."""
