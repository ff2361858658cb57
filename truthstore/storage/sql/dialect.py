"""The few things in which the databases differ that queries are compiled for."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from truthstore.model.aggregate import DAY, HOUR, MINUTE
from truthstore.model.fields import EPOCH, MICROSECOND
from truthstore.model.query import from_microseconds

__all__ = ["CATALOG", "MYSQL", "POSTGRESQL", "SQLITE", "Converters", "Dialect"]

Converters: TypeAlias = Mapping[type, Callable[[Any], Any]]

MAX_FLOAT: Final = sys.float_info.max
NAIVE_EPOCH: Final = EPOCH.replace(tzinfo=None)
BELOW_MAX: Final = math.nextafter(MAX_FLOAT, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one database writes a query, and how it keeps values. In text, ``{}`` stands for a column.

    Attributes:
        kind: ``sqlite``, ``postgresql`` or ``mysql`` (MariaDB too).
        minute: the minute of a time.
        hour: the UTC hour of a time.
        day: the UTC day of a time.
        quote: stands around names.
        live: the condition that a row is no tombstone.
        nulls: follow ASC and DESC, so that NULL is the lowest value.
        number: a bool as a number that can be summed up.
        listed: so many values a statement lists after IN; None for any number.
        many: the condition that a column has one of more values, which are one parameter, made by `array`.
        ends_first: look up the last value of a page before the page. MariaDB and MySQL sort everything that matches,
            because ids do not fit into an index beside the field that the order goes by; the value is found in the
            index alone, and rows beyond it are left out.
        write: an index value to the database's, by type; types that are not named are kept as they are.
        read: a database's value to the index value, by type.
    """

    kind: str
    minute: str
    hour: str
    day: str
    quote: str = '"'
    live: str = "deleted = 0"
    nulls: tuple[str, str] = ("", "")
    number: str = "{}"
    listed: int | None = None
    many: str = ""
    array: Callable[[list[Any]], Any] = list
    ends_first: bool = False
    write: Converters = field(default_factory=dict)
    read: Converters = field(default_factory=dict)

    def quoted(self, name: str) -> str:
        """Return a name as the database writes identifiers."""
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"


def _json(values: list[Any]) -> str:
    import json  # rare: long lists only

    # JSON has no infinity; SQLite reads a number beyond all floats as one.
    infinities = {math.inf: "9e999", -math.inf: "-9e999"}
    return f"[{','.join(infinities.get(value) or json.dumps(value, ensure_ascii=False) for value in values)}]"


def _to_text(value: int) -> str:
    """Return UTC microseconds as text of one length, which sorts as the times do."""
    return from_microseconds(value).isoformat(" ", "microseconds")[:26]


def _to_naive(value: int) -> datetime:
    return from_microseconds(value).replace(tzinfo=None)


def _from_time(value: datetime) -> int:
    return (value - (EPOCH if value.tzinfo else NAIVE_EPOCH)) // MICROSECOND


def _from_text(value: str) -> int:
    return _from_time(datetime.fromisoformat(value))


def _to_finite(value: float) -> float:
    """Return a float that MariaDB and MySQL, which have no infinity, can keep: the greatest float stands for it.

    So that the greatest float itself is not taken for infinity, it is kept as the one before it.
    """
    if math.isinf(value):
        return math.copysign(MAX_FLOAT, value)
    return math.copysign(BELOW_MAX, value) if abs(value) == MAX_FLOAT else value


def _from_finite(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) == MAX_FLOAT else value


# SQLite's % takes the sign of the dividend; times before 1970 need the floor.
_FLOOR: Final = "({{}} - (({{}} % {0}) + {0}) % {0})"

CATALOG: Final = Dialect(
    kind="sqlite",
    minute=_FLOOR.format(MINUTE),
    hour=_FLOOR.format(HOUR),
    day=_FLOOR.format(DAY),
    listed=50,
    many="{} IN (SELECT value FROM json_each(?))",
    array=_json,
    read={bool: bool},
)
"""SQLite as the index of files: times are integers."""

SQLITE: Final = replace(
    CATALOG,
    minute="substr({}, 1, 16) || ':00.000000'",
    hour="substr({}, 1, 13) || ':00:00.000000'",
    day="substr({}, 1, 10) || ' 00:00:00.000000'",
    write={datetime: _to_text},
    read={bool: bool, datetime: _from_text},
)
"""SQLite as a store: times are text that other tools read."""

POSTGRESQL: Final = Dialect(
    kind="postgresql",
    minute="date_trunc('minute', {}, 'UTC')",
    hour="date_trunc('hour', {}, 'UTC')",
    day="date_trunc('day', {}, 'UTC')",
    live="deleted IS FALSE",
    nulls=(" NULLS FIRST", " NULLS LAST"),
    number="CAST({} AS INTEGER)",
    listed=0,
    many="{} = ANY (?)",
    write={datetime: from_microseconds},
    read={datetime: _from_time},
)

MYSQL: Final = Dialect(
    kind="mysql",
    minute="TIMESTAMP(DATE({}), MAKETIME(HOUR({}), MINUTE({}), 0))",
    hour="TIMESTAMP(DATE({}), MAKETIME(HOUR({}), 0, 0))",
    day="TIMESTAMP(DATE({}))",
    quote="`",
    ends_first=True,
    write={datetime: _to_naive, float: _to_finite},
    read={bool: bool, datetime: _from_time, float: _from_finite},
)
