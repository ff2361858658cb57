"""Column types: strings that sort by code point, times to the microsecond, floats with infinities, on each database."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Boolean, DateTime, Double, Integer, LargeBinary, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql, postgresql

from truthstore.model.fields import EPOCH, MICROSECOND
from truthstore.model.query import from_microseconds

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.types import TypeEngine

__all__ = ["BODY", "COUNTER", "FIELD_TYPES", "KEY", "LONG", "NUMBER", "WORDS", "Exact", "Moment", "Real"]

MAX_FLOAT: Final = sys.float_info.max
BELOW_MAX: Final = math.nextafter(MAX_FLOAT, 0.0)


class Moment(TypeDecorator[int]):
    """UTC microseconds, kept as the database's own time so that other tools read it."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's most precise time; SQLite has none, and gets ISO text."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True, precision=6))
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Microseconds to the database's value."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return self.as_text(value)
        moment = from_microseconds(value)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """The database's value to microseconds."""
        return None if value is None else self.as_number(value)

    @staticmethod
    def as_text(value: int) -> str:
        """Microseconds as SQLite keeps them: text of one length, which sorts as the times do."""
        return from_microseconds(value).isoformat(" ", "microseconds")[:26]

    @staticmethod
    def as_number(value: str | datetime) -> int:
        """What a database gave as microseconds."""
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return ((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


class Real(TypeDecorator[float]):
    """A 64-bit float on MariaDB and MySQL, which have no infinity: the greatest float stands for it.

    So that the greatest float itself is not taken for infinity, it is kept as the one before it.
    """

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """A float to the database's value."""
        if value is None:
            return None
        if math.isinf(value):
            return math.copysign(MAX_FLOAT, value)
        return math.copysign(BELOW_MAX, value) if abs(value) == MAX_FLOAT else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The database's value to a float."""
        return math.copysign(math.inf, value) if value is not None and abs(value) == MAX_FLOAT else value


class Exact(TypeDecorator[str]):
    """A string compared by code point, exactly: "a", "A" and "a " are three.

    Args:
        length: at most so many characters; None for any length.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's string type with its collation by code point."""
        kind: TypeEngine[str]
        if dialect.name == "postgresql":
            kind = postgresql.VARCHAR(self.length, collation="C") if self.length else postgresql.TEXT(collation="C")
        elif dialect.name == "sqlite":
            kind = Text()
        else:
            # A URL that says mysql may lead to MariaDB, which has no collation of MySQL's name.
            collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
            kind = mysql.TEXT(charset="utf8mb4", collation=collation)
            if self.length:
                kind = mysql.VARCHAR(self.length, charset="utf8mb4", collation=collation)
        return dialect.type_descriptor(kind)


# Made by this library of ASCII letters and digits: never longer, never anything else.
KEY: Final = (
    String(22)
    .with_variant(postgresql.VARCHAR(22, collation="C"), "postgresql")
    .with_variant(mysql.VARCHAR(22, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
)
WORDS: Final = (
    Text()
    .with_variant(postgresql.TSVECTOR(), "postgresql")
    .with_variant(mysql.LONGTEXT(charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
)
LONG: Final = (
    Text()
    .with_variant(postgresql.TEXT(collation="C"), "postgresql")
    .with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")
)
BODY: Final = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
NUMBER: Final = BigInteger()
COUNTER: Final = BigInteger().with_variant(Integer(), "sqlite")

FIELD_TYPES: Final[dict[type, TypeEngine[Any]]] = {
    str: Exact(),
    int: BigInteger(),
    bool: Boolean(create_constraint=False),
    float: Double().with_variant(Real(), "mysql", "mariadb"),
    datetime: Moment(),
}
